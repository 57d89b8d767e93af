package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// spentPendingRules are about states that a write in flight, or a change that is only
// reported, may have replaced.
var spentPendingRules = []rule{
	{"what a claim may have replaced is spent when its lease expires", func(g *gateways) {
		g.seen(tagged("v", "1"))
		_, claimed := g.claim(laggingShort)
		g.nothingSpent(claimed)
		after := g.lapse(claimed.Epoch)
		g.spent(after, tagged("v", "1"))
		for state := range after.Spent.All() {
			if state.Left > lagging.Lag+time.Millisecond {
				g.Fatalf("spent for %v", state.Left)
			}
		}
	}},

	{"what a claim announces is spent when its lease expires, and not if nothing was changed", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, claimed, err := g.a.Claim(g.ctx, key, g.read().Epoch, lagging, ids(tagged("v", "2"), tagged("v", "3"))...)
		g.check("claim", err, nil)
		g.spent(claimed, tagged("v", "2"), tagged("v", "3"))
		g.atLeast(claimed, lagging.Lag+lagging.Lease/2)
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		g.nothingSpent(g.read())
		_, claimed, err = g.a.Claim(g.ctx, key, g.read().Epoch, laggingShort, ids(tagged("v", "2"))...)
		g.check("claim", err, nil)
		g.spent(claimed, tagged("v", "2"))
		g.spent(g.lapse(claimed.Epoch), tagged("v", "1"), tagged("v", "2"))
	}},

	{"a refused claim announces nothing", func(g *gateways) {
		grant, claimed := g.claim(lagging)
		_, _, err := g.b.Claim(g.ctx, key, claimed.Epoch, lagging, ids(tagged("v", "1"))...)
		g.check("second claim", err, etagcache.ErrBusy)
		g.settle(grant, etagcache.Settlement{}, nil)
		_, _, err = g.b.Claim(g.ctx, key, claimed.Epoch, lagging, ids(tagged("v", "1"))...)
		g.check("late claim", err, etagcache.ErrStale)
		g.nothingSpent(g.read())
	}},

	{"the lag after a lease is that of its holder", func(g *gateways) {
		g.seen(tagged("v", "1"))
		_, claimed := g.claim(laggingShort)
		g.terms = long
		g.spent(g.lapse(claimed.Epoch), tagged("v", "1"))
	}},

	{"a waiter that notices the end of a lease loses nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		_, e := g.claim(laggingShort)
		g.waitUntilMoved(g.b, e)
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"what a pass may replace is spent until the lag after its end", func(g *gateways) {
		g.seen(tagged("v", "1"))
		first, e := g.pass(lagging)
		g.spent(e, tagged("v", "1"))
		g.atLeast(e, lagging.Lag+lagging.Lease/2)
		second, _ := g.pass(lagging)
		g.settle(first, etagcache.Settlement{}, nil)
		e = g.read()
		g.spent(e, tagged("v", "1"))
		g.atLeast(e, lagging.Lag+lagging.Lease/2)
		g.tick(e.Now) // the end is later than that
		ended := g.read().Now
		g.settle(second, etagcache.Settlement{}, nil)
		e = g.read()
		g.spent(e, tagged("v", "1"))
		g.atLeast(e, ended.Add(lagging.Lag).Sub(e.Now))
	}},

	{"what a pass may have replaced is spent when its lease expires", func(g *gateways) {
		g.seen(tagged("v", "1"))
		_, e := g.pass(laggingShort)
		g.spent(g.lapse(e.Epoch), tagged("v", "1"))
	}},

	{"a renewed pass keeps states spent for longer", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.pass(laggingShort)
		g.check("renew", g.a.Renew(g.ctx, grant, lagging), nil)
		e := g.read()
		g.spent(e, tagged("v", "1"))
		g.atLeast(e, lagging.Lag+lagging.Lease/2)
	}},

	{"a pass that changed nothing has spent nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.pass(lagging)
		g.settle(grant, etagcache.Settlement{Unchanged: true, Replaced: ids(tagged("w", "2"))}, nil)
		g.nothingSpent(g.read())
		g.seen(tagged("v", "1"))
	}},

	{"a pass that changed nothing does not speak for other passes", func(g *gateways) {
		unchanged := etagcache.Settlement{Unchanged: true}
		g.seen(tagged("v", "1"))
		first, _ := g.pass(lagging)
		second, _ := g.pass(lagging)
		g.settle(second, unchanged, nil)
		g.settle(first, etagcache.Settlement{}, nil)
		g.spent(g.read(), tagged("v", "1"))

		g.seen(tagged("v", "2"))
		first, _ = g.pass(lagging)
		second, _ = g.pass(lagging)
		g.settle(first, etagcache.Settlement{}, nil)
		g.settle(second, unchanged, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("v", "2"))

		g.seen(tagged("v", "3"))
		_, e := g.pass(laggingShort)
		second, e2 := g.pass(lagging)
		g.moved(e, e2)
		g.lapse(e2.Epoch)
		g.settle(second, unchanged, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("v", "2"), tagged("v", "3"))
	}},

	{"a reported change spends what was known", func(g *gateways) {
		all := func(string, bool) bool { return true }
		for i, invalidate := range []func(){
			g.invalidate,
			func() {
				_, err := g.b.InvalidateMatching(g.ctx, "GET ", all, lagging)
				g.check("invalidate matching", err, nil)
			},
			func() { g.check("invalidate all", g.b.InvalidateAll(g.ctx, lagging), nil) },
		} {
			o := tagged("v", fmt.Sprint(i))
			g.seen(o)
			before := g.read()
			invalidate()
			after := g.read()
			g.moved(before, after)
			g.knows(after)
			if !after.IsSpent(o.Observed) {
				g.Fatalf("invalidation %d: got %+v", i, after)
			}
			g.observe(after, o, etagcache.ErrSpent)
			invalidate()
		}
		g.spent(g.read(), tagged("v", "0"), tagged("v", "1"), tagged("v", "2"))
	}},

	{"an invalidation of all entries counts from its own time", func(g *gateways) {
		now := func() time.Time { return g.readAt(key + "&clock").Now }
		g.seen(tagged("v", "1"))
		before := now()
		g.check("invalidate all", g.a.InvalidateAll(g.ctx, lagging), nil)
		after := now()
		for !now().After(after.Add(5 * time.Millisecond)) {
			time.Sleep(time.Millisecond)
		}
		e := g.read()
		ends := e.Now.Add(e.Spent.Left(tagged("v", "1").Identity()))
		if ends.Before(before.Add(lagging.Lag)) || ends.After(after.Add(lagging.Lag+2*time.Millisecond)) {
			g.Fatalf("spent until %v, invalidated between %v and %v", ends, before, after)
		}
	}},

	{"a change reported during a write is spent until the lag after its end", func(g *gateways) {
		for i, s := range []etagcache.Settlement{{}, {Unchanged: true}} {
			o := tagged("v", fmt.Sprint(i))
			g.seen(o)
			grant, _ := g.claim(lagging)
			g.invalidate()
			e := g.read()
			if left := e.Spent.Left(o.Identity()); left <= lagging.Lag+lagging.Lease/2 {
				g.Fatalf("spent for %v", left)
			}
			g.settle(grant, s, nil)
			if e = g.read(); !e.IsSpent(o.Observed) {
				g.Fatalf("got %+v", e)
			}
		}
	}},

	{"what only reads say is not spent", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		before := g.read()
		g.observe(before, tagged("v", "3"), nil) // a change
		g.nothingSpent(g.read())
		o := tagged("v", "4")
		o.Vary = "cookie"
		g.seen(o)
		g.nothingSpent(g.read())
		before = g.read()
		o.Variant = "w"
		g.observe(before, o, nil)
		o.ETag.Opaque = "5"
		g.observe(before, o, etagcache.ErrStale) // a contradiction
		g.nothingSpent(g.read())
	}},

	{"a displaced variant is not spent until a write", func(g *gateways) {
		for i := range etagcache.MaxVariants + 1 {
			g.seen(tagged(fmt.Sprint(i), fmt.Sprint(i%2)))
		}
		g.nothingSpent(g.read())
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{}, nil)
		if e := g.read(); e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond {
			g.Fatalf("got %+v", e)
		}
	}},

	{"a holder can announce what its write may replace", func(g *gateways) {
		for i, end := range []func(etagcache.Grant){
			func(grant etagcache.Grant) { g.settle(grant, etagcache.Settlement{}, nil) },
			func(grant etagcache.Grant) {
				g.check("renew", g.a.Renew(g.ctx, grant, laggingShort), nil)
				g.lapse(g.read().Epoch)
			},
		} {
			for j, take := range []func(etagcache.Terms) (etagcache.Grant, etagcache.Entry){g.claim, g.pass} {
				g.seen(tagged("v", fmt.Sprint("known", i, j)))
				o := tagged("v", fmt.Sprint(i, j))
				grant, before := take(lagging)
				for range 2 {
					g.check("spend", g.b.Spend(g.ctx, grant, ids(o), lagging), nil)
				}
				e := g.read()
				g.unmoved(before, e)
				if left := e.Spent.Left(o.Identity()); left <= lagging.Lag+lagging.Lease/2 {
					g.Fatalf("spent for %v", left)
				}
				end(grant)
				e = g.read()
				if left := e.Spent.Left(o.Identity()); left <= lagging.Lag/2 || left > lagging.Lag+time.Millisecond {
					g.Fatalf("spent for %v after the end: %+v", left, e)
				}
				g.observe(e, o, etagcache.ErrSpent)
			}
		}
	}},

	{"an unchanged settlement takes an announcement back", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		for _, take := range []func(etagcache.Terms) (etagcache.Grant, etagcache.Entry){g.claim, g.pass} {
			grant, _ := take(lagging)
			announced := ids(tagged("v", "1"), tagged("v", "2"), tagged("v", "3"))
			g.check("spend", g.a.Spend(g.ctx, grant, announced, lagging), nil)
			g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
			g.spent(g.read(), tagged("v", "1"))
		}
		g.seen(tagged("v", "2"))
		// Not if others may have written meanwhile.
		grant, _ := g.claim(lagging)
		g.check("spend", g.a.Spend(g.ctx, grant, ids(tagged("v", "3")), lagging), nil)
		g.invalidate()
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("v", "2"), tagged("v", "3"))
	}},

	{"a grant that is not held can't announce anything", func(g *gateways) {
		announce := func(grant etagcache.Grant) {
			g.Helper()
			g.check("spend", g.a.Spend(g.ctx, grant, ids(tagged("v", "1")), lagging), etagcache.ErrLost)
		}
		announce(etagcache.Grant{Key: key + "&d", Token: "x"})
		grant, _ := g.claim(lagging)
		forged := grant
		forged.Pass = true
		announce(forged)
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		g.check("spend", g.a.Spend(ctx, grant, ids(tagged("v", "1")), lagging), context.Canceled)
		g.settle(grant, etagcache.Settlement{}, nil)
		announce(grant)
		grant, e := g.claim(laggingShort)
		g.lapse(e.Epoch)
		announce(grant)
		g.nothingSpent(g.read())
	}},
}
