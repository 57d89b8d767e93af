package caddytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

var timeCalls = regexp.MustCompile(`cmdstat_time:calls=(\d+)`)

// StoreCalls returns how many calls of stores the server has answered: each of them asks for
// the time, in a script or beside plain commands.
func StoreCalls(t testing.TB, c *redis.Client) (calls int) {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range timeCalls.FindAllStringSubmatch(info, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(fmt.Errorf("reading %q: %w", match[0], err))
		}
		calls += n
	}
	return calls
}

// SiteOfRedis starts a site in front of a backend, whose options must name the server. It
// returns once the site has contacted the server by itself, so that what a test counts are
// the calls of its own requests.
func SiteOfRedis(t *testing.T, server *redistest.Server, options string, backend http.Handler) (base string) {
	t.Helper()
	c := server.Client()
	last, since := StoreCalls(t, c), time.Time{}
	base = Site(t, options, backend)
	Eventually(t, "the site has contacted Redis", func() bool {
		if calls := StoreCalls(t, c); calls != last {
			last, since = calls, time.Now()
		}
		return !since.IsZero() && time.Since(since) > 300*time.Millisecond
	})
	return base
}

// UsedRedis starts a Redis that was used before: the grace that begins with the
// first use, because the Redis might have lost data, is over.
func UsedRedis(t testing.TB) *redistest.Server {
	t.Helper()
	server := redistest.Start(t)
	EndGrace(t, server.Addr)
	return server
}

// UsedMiniredis is like UsedRedis, in this process.
func UsedMiniredis(t testing.TB) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.RunT(t)
	EndGrace(t, m.Addr())
	return m
}

// EndGrace lets the grace pass that begins with the first use of a Redis under each of
// the prefixes, or under the default one. No handler may have used it before: it would
// have begun a longer grace.
func EndGrace(t testing.TB, address string, prefixes ...string) {
	t.Helper()
	if len(prefixes) == 0 {
		prefixes = []string{""}
	}
	for _, prefix := range prefixes {
		endGrace(t, redis.NewClient(&redis.Options{Addr: address, DisableIdentity: true}), prefix)
	}
}

// endGrace does so for one prefix, and closes the client.
func endGrace(t testing.TB, client *redis.Client, prefix string) {
	t.Helper()
	const key = "first"
	prefix = cmp.Or(prefix, "caddy:preconditions:")
	store := etagcache.NewRedis(client, etagcache.RedisOptions{Prefix: prefix, Timeout: 5 * time.Second})
	defer store.Close()
	terms := etagcache.Terms{Lease: time.Minute, Retention: time.Hour, Grace: time.Millisecond}
	for {
		grant, entry, err := store.Pass(context.Background(), key, terms)
		if err == nil {
			err = store.Settle(context.Background(), grant, etagcache.Settlement{}, terms)
			if err == nil {
				err = client.Del(context.Background(), prefix+key).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, etagcache.ErrBusy) {
			t.Fatal(err)
		}
		if err := store.Wait(context.Background(), key, entry); err != nil {
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
