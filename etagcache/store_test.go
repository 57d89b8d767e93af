package etagcache_test

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/etagcache/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Suite{
		In: synctest.Test,
		Open: func(*testing.T) (a, b etagcache.Store) {
			m := etagcache.NewMemory(0)
			return m, m
		},
	}.Run(t)
}

func TestRedis(t *testing.T) {
	s := redistest.Start(t)
	config := etagcache.RedisConfig{Addresses: []string{s.Addr}}
	storetest.Suite{
		Open: func(t *testing.T) (a, b etagcache.Store) { return openTwo(t, config) },
		Lose: func(t *testing.T) { flush(t, s) },
	}.Run(t)
}

func flush(t *testing.T, servers ...*redistest.Server) {
	t.Helper()
	for _, s := range servers {
		if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// openTwo returns an empty store, opened by two gateways.
func openTwo(t testing.TB, c etagcache.RedisConfig) (a, b etagcache.Store) {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second) // the machine may be busy
	prefix := etagcache.NewToken() + ":"
	return open(t, c, prefix), open(t, c, prefix)
}

func open(t testing.TB, c etagcache.RedisConfig, prefix string) *etagcache.Redis {
	t.Helper()
	return openWith(t, c, etagcache.RedisOptions{Prefix: prefix})
}

func openWith(t testing.TB, c etagcache.RedisConfig, o etagcache.RedisOptions) *etagcache.Redis {
	t.Helper()
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	o.Timeout = c.Timeout
	return closed(t, etagcache.NewRedis(client, o))
}

// closed closes a store at the end of the test.
func closed[S etagcache.Store](t testing.TB, s S) S {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestStress(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		storetest.Suite{Open: func(*testing.T) (a, b etagcache.Store) {
			m := etagcache.NewMemory(0)
			return m, m
		}}.Stress(t)
	})
	t.Run("redis", func(t *testing.T) {
		s := redistest.Start(t)
		stress(t, etagcache.RedisConfig{Addresses: []string{s.Addr}})
	})
}

func stress(t *testing.T, c etagcache.RedisConfig) {
	t.Helper()
	storetest.Suite{Open: func(t *testing.T) (a, b etagcache.Store) { return openTwo(t, c) }}.Stress(t)
}
