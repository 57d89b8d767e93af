package preconditions_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// twoNodes are two Caddy processes that share a Redis in front of one backend.
// They are of this very test binary, so that the race detector is in them if it
// is in the test.
func twoNodes(t testing.TB, options string, backend http.Handler) nodes {
	t.Helper()
	return twoNodesAt(t, usedRedis(t).Addr, options, backend)
}

// twoNodesFarFromRedis are two nodes whose calls to Redis arrive late, and may
// overtake each other.
func twoNodesFarFromRedis(t testing.TB, options string, backend http.Handler) nodes {
	t.Helper()
	return twoNodesAt(t, delayed(t, usedRedis(t).Addr, 20*time.Millisecond), options, backend)
}

// usedRedis is a Redis that has lost nothing: the grace that begins when it is used
// for the first time is over.
func usedRedis(t testing.TB) *redistest.Server {
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

func twoNodesAt(t testing.TB, redis, options string, backend http.Handler) nodes {
	t.Helper()
	// The time that Redis is given must not decide a test on a busy machine.
	store := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", redis)
	var urls nodes
	for _, m := range startNodes(t, 2, guarded(store+options, serve(t, backend))) {
		urls = append(urls, m.url)
	}
	return urls
}

// onEveryStore runs a test in front of one node with its own memory, and of two
// that share a Redis.
func onEveryStore(t *testing.T, test func(t *testing.T, deploy deployment)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, oneNode) })
	t.Run("redis", func(t *testing.T) { test(t, twoNodes) })
}

// delayed returns an address that leads to another one. What is sent there
// waits up to the given time.
func delayed(t testing.TB, address string, most time.Duration) string {
	t.Helper()
	l := listen(t)
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

// carry carries what comes from one connection to the other, piece by piece.
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
