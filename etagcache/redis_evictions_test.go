package etagcache_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// evictionWarnings returns what a store is to warn with, and what it has warned of.
func evictionWarnings(t *testing.T) (warn func(error), warned chan error) {
	t.Helper()
	warned = make(chan error, 10)
	return func(err error) {
		if errors.Is(err, etagcache.ErrEvicts) {
			warned <- err
		}
	}, warned
}

// A server that may evict keys would lose a claim without anybody noticing. The store says
// so once at the first contact, names the policy and what to write, and isn't trusted alone.
func TestRedisThatEvicts(t *testing.T) {
	t.Parallel()
	for policy, evicts := range map[string]bool{"volatile-lru": true, "allkeys-random": true, "noeviction": false} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, "--maxmemory-policy", policy)
			warn, warned := evictionWarnings(t)
			store := openWith(t, plain(s), etagcache.RedisOptions{Warn: warn})
			if _, known := store.Evicts(); known {
				t.Error("it is known before the first contact")
			}
			for range 3 {
				epochOf(t, store, "k")
			}
			if got, known := store.Evicts(); got != evicts || !known || store.Trusted() == evicts {
				t.Errorf("evicts: %v, known: %v, trusted: %v", got, known, store.Trusted())
			}
			if want := map[bool]int{true: 1}[evicts]; len(warned) != want {
				t.Fatalf("%d warnings, want %d", len(warned), want)
			}
			if evicts {
				for _, says := range []string{policy, "CONFIG SET maxmemory-policy noeviction"} {
					if err := <-warned; !strings.Contains(err.Error(), says) {
						t.Errorf("%v doesn't say %s", err, says)
					} else {
						warned <- err
					}
				}
			}
		})
	}
}

// An operator can insist. The store still says what it has found.
func TestRedisThatMayEvict(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	warn, warned := evictionWarnings(t)
	store := openWith(t, plain(s), etagcache.RedisOptions{Warn: warn, AllowEviction: true})
	epochOf(t, store, "k")
	if evicts, _ := store.Evicts(); !evicts || !store.Trusted() || len(warned) != 1 {
		t.Errorf("evicts: %v, trusted: %v, %d warnings", evicts, store.Trusted(), len(warned))
	}
}

// The server is asked again when a call has failed: the next one may reach another server.
// It isn't asked by each call.
func TestRedisThatEvictsAfterAReconnection(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	warn, warned := evictionWarnings(t)
	store := openWith(t, plain(s), etagcache.RedisOptions{Warn: warn})
	epochOf(t, store, "k")
	same(t, s.Client().ConfigSet(t.Context(), "maxmemory-policy", "volatile-ttl").Err(), nil)
	epochOf(t, store, "k")
	if !store.Trusted() {
		t.Fatal("the server was asked again, without a reason")
	}
	s.Kill()
	_, err := store.Read(t.Context(), "k", day)
	unavailable(t, err)
	s.RestartWith("--maxmemory-policy", "volatile-ttl")
	epochOf(t, store, "k")
	if store.Trusted() || len(warned) != 1 {
		t.Errorf("trusted: %v, %d warnings", store.Trusted(), len(warned))
	}
}

// A server that doesn't let the user ask is trusted as before: ErrBlind says so.
func TestRedisThatDoesNotTellWhetherItEvicts(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--maxmemory-policy", "allkeys-lru", "--user", "gate", "on", ">secret", "~*", "&*", "+@all", "-info")
	c := plain(s)
	c.Username, c.Password = "gate", "secret"
	store := openWith(t, c, etagcache.RedisOptions{})
	epochOf(t, store, "k")
	if _, known := store.Evicts(); known || !store.Trusted() {
		t.Error("it is known, or not trusted")
	}
}

// In a cluster, one server that may evict is enough.
func TestRedisClusterThatEvicts(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	same(t, cluster[2].Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lfu").Err(), nil)
	warn, warned := evictionWarnings(t)
	store := openWith(t, etagcache.RedisConfig{Addresses: []string{cluster[0].Addr}, Cluster: true, Timeout: 5 * time.Second},
		etagcache.RedisOptions{Warn: warn})
	epochOf(t, store, "k")
	if store.Trusted() || len(warned) != 1 {
		t.Errorf("trusted: %v, %d warnings", store.Trusted(), len(warned))
	}
}
