package etagcache_test

import (
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// A longer grace extends a running one, and a shorter one doesn't shorten it.
func TestRedisLongestGraceCounts(t *testing.T) {
	c := newClocked(t)
	a, b := c.open(), c.open()
	c.busyFor(a, graced, graced.Grace)
	for _, terms := range []etagcache.Terms{endless, graced, day} {
		if e := c.read(b, terms); e.Busy != endless.Grace {
			t.Fatalf("busy for %v", e.Busy)
		}
	}
	c.pass(endless.Grace)
	c.idle(a, graced)
	c.idle(b, endless) // it is too late to extend it
}

// After a loss, a grace is as long as the longest one that the gateway who notices has
// heard of. The holder of a longer lease renews it later than the others would expect.
func TestRedisRemembersTheLongestGrace(t *testing.T) {
	m, open := openMiniredis(t)
	a, b := open(), open()
	grant, _ := claimWith(t, b, day)
	same(t, b.Renew(t.Context(), grant, endless), nil)
	_, err := a.Read(t.Context(), "k", graced) // hears of it
	same(t, err, nil)
	m.FlushAll()
	e, err := a.Read(t.Context(), "k", graced)
	if err != nil || e.Busy <= endless.Grace-time.Minute {
		t.Fatalf("got %+v, %v", e, err)
	}
	same(t, b.Renew(t.Context(), grant, endless), nil)
	busy(t, a, "k", graced)
	same(t, b.Settle(t.Context(), grant, etagcache.Settlement{}, endless), nil)
}

// A server that comes back with an older file knows the longest grace, even if the
// gateway who notices has only just started.
func TestRedisMarkerKeepsTheLongestGrace(t *testing.T) {
	m, open := openMiniredis(t)
	_, err := open().Read(t.Context(), "k", endless)
	same(t, err, nil)
	m.HDel("caddy:preconditions:generation", "id") // the generation is over
	e, err := open().Read(t.Context(), "k", graced)
	if err != nil || e.Busy <= endless.Grace-time.Minute {
		t.Fatalf("got %+v, %v", e, err)
	}
}

// Once a loss is over, gateways that were there before it no longer count.
func TestRedisForgetsTheLongestGraceAfterALoss(t *testing.T) {
	m, open := openMiniredis(t)
	now := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	m.SetTime(now)
	store := open()
	_, err := store.Read(t.Context(), "k", endless)
	same(t, err, nil)
	for _, want := range []time.Duration{endless.Grace, graced.Grace} {
		m.FlushAll()
		e, err := store.Read(t.Context(), "k", graced)
		if err != nil || e.Busy != want {
			t.Fatalf("busy for %v, want %v, %v", e.Busy, want, err)
		}
		now = now.Add(2 * endless.Grace)
		m.SetTime(now)
		_, err = store.Read(t.Context(), "k", graced)
		same(t, err, nil)
	}
}
