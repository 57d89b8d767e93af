package etagcache_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
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

// Nothing that somebody puts into Redis keeps writers out for longer than the longest lease
// or grace that a gateway may ask for.
func TestRedisStoredTermsAreBounded(t *testing.T) {
	const most, aDay = time.Hour, "86400000"
	tomorrow := strconv.FormatInt(time.Now().Add(24*time.Hour).UnixMilli(), 10)
	for name, put := range map[string][]string{
		"a grace":                  {"caddy:preconditions:generation", "grace", aDay, "until", tomorrow},
		"a lease":                  {"caddy:preconditions:k", "c:x", tomorrow + ".0000001"},
		"a long lease":             {"caddy:preconditions:k", "c:x", tomorrow + "." + aDay},
		"a lease without a length": {"caddy:preconditions:k", "c:x", tomorrow},
	} {
		s := redistest.Start(t)
		c := plain(s)
		_, err := open(t, c, "").Read(t.Context(), "k", day)
		same(t, err, nil)
		for i := 1; i < len(put); i += 2 {
			same(t, s.Client().HSet(t.Context(), put[0], put[i], put[i+1]).Err(), nil)
		}
		if e, err := open(t, c, "").Read(t.Context(), "k", day); err != nil || e.Busy <= 0 || e.Busy > most {
			t.Errorf("%s: busy for %s, %v", name, e.Busy, err)
		}
	}
	t.Run("after a loss", func(t *testing.T) {
		m, open := openMiniredis(t)
		_, err := open().Read(t.Context(), "k", graced)
		same(t, err, nil)
		m.HSet("caddy:preconditions:generation", "grace", aDay)
		m.HDel("caddy:preconditions:generation", "id") // the generation is over
		if e, err := open().Read(t.Context(), "k", graced); err != nil || e.Busy <= graced.Grace || e.Busy > most {
			t.Errorf("busy for %s, %v", e.Busy, err)
		}
	})
}
