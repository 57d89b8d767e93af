package speed

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// store is the Redis of the sides that have one. A nil store has no cost.
type store struct {
	server *redistest.Server
	client *redis.Client
}

func startStore(b *testing.B) *store {
	server := caddytest.UsedRedis(b)
	return &store{server, server.Client()}
}

// startStoreFor is like startStore, for a version with a different store format. What the
// marker says is the same in all formats so far.
func startStoreFor(b *testing.B, format string) *store {
	s := startStore(b)
	if format != "" {
		if err := s.client.HSet(b.Context(), "caddy:preconditions:generation", "format", format).Err(); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func (s *store) option() string { return "store redis redis://" + s.server.Addr + " {\ntimeout 5s\n}" }

func (s *store) cpu() time.Duration {
	if s == nil {
		return 0
	}
	return caddytest.CPU(s.server.Pid())
}

func (s *store) calls(b *testing.B) int {
	if s == nil {
		return 0
	}
	return caddytest.StoreCalls(b, s.client)
}

// memory returns how many bytes the server uses.
func (s *store) memory(b *testing.B) (used int64) {
	if s == nil {
		return 0
	}
	info, err := s.client.InfoMap(b.Context(), "memory").Result()
	if err == nil {
		used, err = strconv.ParseInt(info["Memory"]["used_memory"], 10, 64)
	}
	if err != nil {
		b.Fatal(err)
	}
	return used
}
