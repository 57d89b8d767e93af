package caddytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

var evalCalls = regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`)

// ScriptCalls returns how many scripts the server has run.
func ScriptCalls(t *testing.T, c *redis.Client) (calls int) {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range evalCalls.FindAllStringSubmatch(info, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(fmt.Errorf("reading %q: %w", match[0], err))
		}
		calls += n
	}
	return calls
}

// UsedRedis starts a Redis that was used before: the grace that begins with the
// first use, because the Redis might have lost data, is over.
func UsedRedis(t testing.TB) *redistest.Server {
	t.Helper()
	server := redistest.Start(t)
	store := etagcache.NewRedis(server.Client(), etagcache.RedisOptions{Timeout: 5 * time.Second})
	terms := etagcache.Terms{Lease: time.Minute, Retention: time.Hour, Grace: time.Millisecond}
	for {
		grant, entry, err := store.Pass(context.Background(), "first", terms)
		if err == nil {
			err = store.Settle(context.Background(), grant, etagcache.Settlement{}, terms)
			if err != nil {
				t.Fatal(err)
			}
			return server
		}
		if !errors.Is(err, etagcache.ErrBusy) {
			t.Fatal(err)
		}
		if err := store.Wait(context.Background(), "first", entry); err != nil {
			t.Fatal(err)
		}
	}
}

// delayed returns an address that forwards to the given one. Each piece of what is
// sent there is delayed by up to most.
func delayed(t testing.TB, address string, most time.Duration) string {
	t.Helper()
	l := Listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close()
				continue
			}
			go carry(from, to, 0)
			go carry(to, from, most)
		}
	}()
	return l.Addr().String()
}

// carry copies from one connection to the other, and delays each piece.
func carry(to, from net.Conn, most time.Duration) {
	defer to.Close()
	var b [64 << 10]byte
	for {
		n, err := from.Read(b[:])
		if most > 0 {
			time.Sleep(rand.N(most))
		}
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// TakeAway stops a Redis until back is called.
func TakeAway(t testing.TB, m *miniredis.Miniredis) (back func()) {
	m.Close()
	return func() {
		t.Helper()
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}
