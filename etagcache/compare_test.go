package etagcache_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// The same calls have the same effect on both stores. In every fourth run, the
// gateways don't agree on the lag.
func TestStoresAgree(t *testing.T) {
	var refused, spent, doubts int
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, open := openMiniredis(t)
				c := comparison{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), mixed: seed%4 == 0, redis: open(), memory: etagcache.NewMemory(0)}
				c.compare() // begins the generation when the memory begins
				for range 150 {
					c.call()
					if c.IntN(3) > 0 {
						time.Sleep(time.Duration(c.IntN(10_000)) * time.Millisecond)
					}
					c.compare()
				}
				refused += c.refused
				spent += c.spent
				doubts += c.doubts
			})
		})
	}
	if refused == 0 || spent == 0 || doubts == 0 {
		t.Fatalf("%d observations were refused, %d entries had spent states, %d a doubt", refused, spent, doubts)
	}
}

// comparison makes the same calls to both stores.
type comparison struct {
	*testing.T
	*rand.Rand
	memory, redis etagcache.Store
	mixed         bool

	grants []grants
	before []entries // some of the entries that were read
	done   []string  // the calls so far

	refused, spent, doubts int // how often that was seen
}

type (
	grants  struct{ memory, redis etagcache.Grant }
	entries struct{ memory, redis etagcache.Entry }
)

func (c *comparison) terms() etagcache.Terms {
	t := etagcache.Terms{Lease: 10 * time.Second, Retention: 24 * time.Hour, Lag: 20 * time.Second}
	if c.mixed {
		t.Lag = []time.Duration{20 * time.Second, 30 * time.Second, 0}[c.IntN(3)]
	}
	return t
}

func (c *comparison) observation() etagcache.Observation {
	o := observation(string("vw"[c.IntN(2)]))
	o.Vary = []string{"accept", "accept", "accept", "cookie"}[c.IntN(4)]
	switch o.ETag.Opaque = fmt.Sprint(c.IntN(22)); c.IntN(10) {
	case 0:
		o.Observed = validator.Observed{}
	case 1:
		o.Observed = validator.Observed{Representation: validator.Representation{State: validator.Absent}}
	case 2:
		o.ETag = validator.ETag{}
	case 3:
		o.ETag.Weak = true
	case 4, 5, 6:
		o.Own, o.Backend = false, validator.ETag{Opaque: fmt.Sprint(c.IntN(2)), Weak: true, Valid: true}
	}
	return o
}

func (c *comparison) identities() []string {
	if c.IntN(6) == 0 {
		return []string{etagcache.AnyState}
	}
	var identities []string
	for range c.IntN(4) {
		identities = append(identities, c.observation().Identity())
	}
	return identities
}

// call makes one call, at random.
func (c *comparison) call() {
	c.Helper()
	ctx, t := c.Context(), c.terms()
	n := c.IntN(100)
	c.done = append(c.done, fmt.Sprintf("%d with a lag of %v at %v", n, t.Lag, time.Now()))
	var g grants
	if len(c.grants) > 0 {
		g = c.grants[c.IntN(len(c.grants))]
	}
	switch {
	case n < 30:
		o, before := c.observation(), c.before[c.IntN(len(c.before))]
		c.both(c.memory.Observe(ctx, "k", before.memory, o, t), c.redis.Observe(ctx, "k", before.redis, o, t))
	case n < 50:
		before := c.before[len(c.before)-1]
		m, e1, err1 := c.memory.Claim(ctx, "k", before.memory.Epoch, t)
		r, e2, err2 := c.redis.Claim(ctx, "k", before.redis.Epoch, t)
		c.both(err1, err2)
		c.same(e1, e2)
		if err1 == nil {
			c.grants = append(c.grants, grants{m, r})
		}
	case n < 60:
		m, e1, err1 := c.memory.Pass(ctx, "k", t)
		r, e2, err2 := c.redis.Pass(ctx, "k", t)
		c.both(err1, err2)
		c.same(e1, e2)
		if err1 == nil {
			c.grants = append(c.grants, grants{m, r})
		}
	case n < 85:
		s := etagcache.Settlement{Unchanged: c.IntN(3) == 0, Proven: c.IntN(3) == 0, Replaced: c.identities(), Receipt: "r"}
		if c.IntN(2) == 0 {
			o := c.observation()
			s.Observation = &o
		}
		c.both(c.memory.Settle(ctx, g.memory, s, t), c.redis.Settle(ctx, g.redis, s, t))
	case n < 89:
		identities := c.identities()
		c.both(c.memory.Spend(ctx, g.memory, identities, t), c.redis.Spend(ctx, g.redis, identities, t))
	case n < 93:
		c.both(c.memory.Renew(ctx, g.memory, t), c.redis.Renew(ctx, g.redis, t))
	case n < 96:
		c.both(c.memory.Invalidate(ctx, "k", t), c.redis.Invalidate(ctx, "k", t))
	case n < 98:
		all := func(string, bool) bool { return true }
		_, err1 := c.memory.InvalidateMatching(ctx, "", all, t)
		_, err2 := c.redis.InvalidateMatching(ctx, "", all, t)
		c.both(err1, err2)
	case !c.mixed: // Redis finds out later, and the lag of that call counts for the grants
		c.both(c.memory.InvalidateAll(ctx, t), c.redis.InvalidateAll(ctx, t))
	}
}

// compare reads both entries.
func (c *comparison) compare() {
	c.Helper()
	t := c.terms()
	e1, err1 := c.memory.Read(c.Context(), "k", t)
	e2, err2 := c.redis.Read(c.Context(), "k", t)
	c.both(err1, err2)
	c.same(e1, e2)
	if n := len(c.before); n > 0 {
		last := c.before[n-1]
		if (last.memory.Epoch == e1.Epoch) != (last.redis.Epoch == e2.Epoch) {
			c.fatal("one epoch has moved", e1, e2)
		}
	}
	if c.IntN(3) == 0 || len(c.before) == 0 {
		c.before = append(c.before, entries{e1, e2})
	} else {
		c.before[len(c.before)-1] = entries{e1, e2}
	}
	if len(c.before) > 4 {
		c.before = c.before[1:]
	}
}

// both fails the test unless both errors are the same.
func (c *comparison) both(memory, redis error) {
	c.Helper()
	if !errors.Is(memory, redis) || !errors.Is(redis, memory) {
		c.fatal("different errors", memory, redis)
	}
	if errors.Is(memory, etagcache.ErrSpent) {
		c.refused++
	}
}

// same fails the test unless both entries are the same, but for their epochs and a
// millisecond.
func (c *comparison) same(memory, redis etagcache.Entry) {
	c.Helper()
	near := func(a, b time.Duration) bool { return (a - b).Abs() <= time.Millisecond }
	if !near(memory.Busy, redis.Busy) || !near(memory.Doubt, redis.Doubt) || memory.Receipt != redis.Receipt {
		c.fatal("different entries", memory, redis)
	}
	if len(slices.Collect(memory.Spent.All())) > 0 {
		c.spent++
	}
	if memory.Doubt > 0 {
		c.doubts++
	}
	// A state may be spent for a last millisecond in one of the stores only.
	for _, state := range slices.AppendSeq(slices.Collect(memory.Spent.All()), redis.Spent.All()) {
		if !near(memory.Spent.Left(state.Identity), redis.Spent.Left(state.Identity)) {
			c.fatal("different states are spent", memory, redis)
		}
	}
	variants := func(e etagcache.Entry) (v []string) {
		for _, s := range e.Variants {
			v = append(v, fmt.Sprintf("%s %v %+v", s.Key, s.Age, s.Representation.ETag)+fmt.Sprint(s.State, s.Own, s.LastModified.Unix(), s.Since.UnixMilli()))
		}
		slices.Sort(v)
		return append(v, e.Vary)
	}
	if len(memory.Variants) > 0 && !reflect.DeepEqual(variants(memory), variants(redis)) || len(memory.Variants) != len(redis.Variants) {
		c.fatal("different variants", memory, redis)
	}
}

func (c *comparison) fatal(what string, memory, redis any) {
	c.Helper()
	for _, call := range c.done {
		c.Log(call)
	}
	c.Fatalf("%s\nmemory: %+v\nredis:  %+v", what, memory, redis)
}
