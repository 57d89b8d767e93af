package etagcache_test

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// clocked is a simulated Redis whose clock a test sets, and what opens a store there.
type clocked struct {
	*testing.T
	open func() *etagcache.Redis
	set  func(time.Time)
	now  time.Time
}

func newClocked(t *testing.T) *clocked {
	m, open := openMiniredis(t)
	c := &clocked{T: t, open: open, set: m.SetTime, now: time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)}
	c.pass(0)
	return c
}

// pass moves the clock, perhaps back.
func (c *clocked) pass(d time.Duration) {
	c.now = c.now.Add(d)
	c.set(c.now)
}

func (c *clocked) read(s etagcache.Store, t etagcache.Terms) etagcache.Entry {
	c.Helper()
	e, err := s.Read(c.Context(), "k", t)
	same(c.T, err, nil)
	return e
}

// busyFor checks for how long the resource is busy at most, and that it is busy at all.
func (c *clocked) busyFor(s etagcache.Store, t etagcache.Terms, most time.Duration) {
	c.Helper()
	if e := c.read(s, t); e.Busy <= 0 || e.Busy > most {
		c.Fatalf("busy for %v, want at most %v", e.Busy, most)
	}
}

func (c *clocked) idle(s etagcache.Store, t etagcache.Terms) {
	c.Helper()
	if e := c.read(s, t); e.Busy != 0 {
		c.Fatalf("busy for %v", e.Busy)
	}
}

var (
	shortTerms = etagcache.Terms{Lease: 3 * time.Second, Retention: 24 * time.Hour}
	longTerms  = etagcache.Terms{Lease: time.Minute, Retention: 24 * time.Hour, Lag: time.Minute}
)

// step is how far a clock is set back: longer than any term.
const step = time.Hour

// A clock that was set back extends a claim by the lease at most. The longest lease of
// all gateways counts, because nobody knows whose claim it is.
func TestRedisClockSetBackDuringAClaim(t *testing.T) {
	c := newClocked(t)
	a, b := c.open(), c.open()
	grant, _ := claimWith(t, a, longTerms)
	c.pass(-step)
	c.busyFor(b, shortTerms, longTerms.Lease)
	c.pass(longTerms.Lease - time.Second)
	c.busyFor(b, shortTerms, time.Second)
	same(t, a.Renew(t.Context(), grant, longTerms), nil)
	c.pass(-step)
	c.pass(shortTerms.Lease)
	same(t, a.Renew(t.Context(), grant, longTerms), nil)
	c.pass(longTerms.Lease)
	c.idle(b, shortTerms)
	same(t, a.Settle(t.Context(), grant, etagcache.Settlement{}, longTerms), etagcache.ErrLost)
}

func claimWith(t *testing.T, s etagcache.Store, terms etagcache.Terms) (etagcache.Grant, etagcache.Entry) {
	t.Helper()
	e, err := s.Read(t.Context(), "k", terms)
	same(t, err, nil)
	grant, e, err := s.Claim(t.Context(), "k", e.Epoch, terms)
	same(t, err, nil)
	return grant, e
}

// A clock that was set back extends a grace by its own length at most.
func TestRedisClockSetBackDuringAGrace(t *testing.T) {
	c := newClocked(t)
	s := c.open()
	graced := shortTerms
	graced.Grace = 10 * time.Second
	c.busyFor(s, graced, graced.Grace)
	c.pass(time.Second - step)
	c.busyFor(s, shortTerms, graced.Grace)
	c.pass(graced.Grace)
	c.idle(s, shortTerms)
	c.pass(-step) // to a time before the generation began
	c.busyFor(s, shortTerms, graced.Grace)
	c.pass(graced.Grace)
	c.idle(s, shortTerms)
}

// A reservation for a claim doesn't keep passes out until the clock has caught up.
func TestRedisClockSetBackDuringAReservation(t *testing.T) {
	c := newClocked(t)
	s := c.open()
	pass, e, err := s.Pass(t.Context(), "k", shortTerms)
	same(t, err, nil)
	_, _, err = s.Claim(t.Context(), "k", e.Epoch, shortTerms)
	same(t, err, etagcache.ErrBusy)
	same(t, s.Settle(t.Context(), pass, etagcache.Settlement{}, shortTerms), nil)
	_, _, err = s.Pass(t.Context(), "k", shortTerms)
	same(t, err, etagcache.ErrBusy)
	c.pass(-step)
	_, _, err = s.Pass(t.Context(), "k", shortTerms)
	same(t, err, nil)
}

// What is spent stays spent for the lag at most after a clock was set back, and for the
// whole lag.
func TestRedisClockSetBackWhileStatesAreSpent(t *testing.T) {
	for name, replace := range map[string]func(s etagcache.Store){
		"a write": func(s etagcache.Store) {
			grant, _ := claimWith(t, s, longTerms)
			same(t, s.Settle(t.Context(), grant, etagcache.Settlement{}, longTerms), nil)
		},
		"an invalidation":        func(s etagcache.Store) { same(t, s.Invalidate(t.Context(), "k", longTerms), nil) },
		"an invalidation of all": func(s etagcache.Store) { same(t, s.InvalidateAll(t.Context(), longTerms), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClocked(t)
			s := c.open()
			o := observation("v")
			same(t, s.Observe(t.Context(), "k", c.read(s, longTerms), o, longTerms), nil)
			replace(s)
			c.pass(-step)
			if e := c.read(s, shortTerms); !e.IsSpent(o.Observed) {
				t.Fatalf("got %+v", e)
			}
			c.pass(longTerms.Lag - time.Millisecond)
			if e := c.read(s, shortTerms); !e.IsSpent(o.Observed) {
				t.Fatalf("got %+v", e)
			}
			c.pass(2 * time.Millisecond)
			if e := c.read(s, shortTerms); e.IsSpent(o.Observed) {
				t.Fatalf("got %+v", e)
			}
		})
	}
}

// What was stored before a clock was set back doesn't count as fresh.
func TestRedisClockSetBackAgesValidators(t *testing.T) {
	c := newClocked(t)
	s := c.open()
	same(t, s.Observe(t.Context(), "k", c.read(s, shortTerms), observation("v"), shortTerms), nil)
	c.pass(-time.Minute)
	if e := c.read(s, shortTerms); e.Variants.Of("v").Age < step {
		t.Fatalf("got %+v", e)
	}
}

// After a clock was set back, no state gets a date that an earlier one had: neither one
// that is observed nor, before that, one that nobody knows (Entry.Latest).
func TestRedisClockSetBackRepeatsNoDate(t *testing.T) {
	another := observation("v")
	another.ETag.Opaque += "2"
	replacements := map[string]func(c *clocked, s etagcache.Store){
		"a claim": func(c *clocked, s etagcache.Store) {
			grant, _ := claimWith(c.T, s, shortTerms)
			same(c.T, s.Settle(c.Context(), grant, etagcache.Settlement{Observation: &another}, shortTerms), nil)
		},
		"a pass": func(c *clocked, s etagcache.Store) {
			grant, _, err := s.Pass(c.Context(), "k", shortTerms)
			same(c.T, err, nil)
			same(c.T, s.Settle(c.Context(), grant, etagcache.Settlement{}, shortTerms), nil)
		},
		"a lost write": func(c *clocked, s etagcache.Store) {
			claimWith(c.T, s, shortTerms)
			c.pass(shortTerms.Lease)
		},
		"an invalidation": func(c *clocked, s etagcache.Store) {
			same(c.T, s.Invalidate(c.Context(), "k", shortTerms), nil)
		},
		"somebody else": func(*clocked, etagcache.Store) {},
	}
	for name, replace := range replacements {
		t.Run(name, func(t *testing.T) {
			c := newClocked(t)
			s := c.open()
			same(t, s.Observe(t.Context(), "k", c.read(s, shortTerms), observation("v"), shortTerms), nil)
			before := c.read(s, shortTerms).Variants.Of("v").Since
			c.pass(-step)
			replace(c, s)
			e := c.read(s, shortTerms)
			if e.Latest.Before(before) {
				t.Fatalf("got %+v", e)
			}
			err := s.Observe(t.Context(), "k", e, another, shortTerms)
			if err != nil && !errors.Is(err, etagcache.ErrStale) {
				t.Fatal(err)
			}
			for range 2 { // storing it again doesn't change its date
				c.pass(time.Second)
				e = c.read(s, shortTerms)
				same(t, s.Observe(t.Context(), "k", e, another, shortTerms), nil)
				e = c.read(s, shortTerms)
				if since := e.Variants.Of("v").Since; !since.Equal(before.Add(time.Second)) || !e.Latest.Equal(since) {
					t.Fatalf("since %v, want a second after %v", since, before)
				}
			}
			c.pass(2 * step)
			same(t, s.Invalidate(t.Context(), "k", shortTerms), nil)
			same(t, s.Observe(t.Context(), "k", c.read(s, shortTerms), another, shortTerms), nil)
			if since := c.read(s, shortTerms).Variants.Of("v").Since; !since.Equal(c.now) {
				t.Fatalf("since %v, want now", since)
			}
		})
	}
}
