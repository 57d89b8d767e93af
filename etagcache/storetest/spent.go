package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

var (
	// lagging has a lag that outlasts any test in real time.
	lagging = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Lag: time.Hour}
	// laggingShort has in addition a lease that a test can wait for.
	laggingShort = etagcache.Terms{Lease: 40 * time.Millisecond, Retention: 24 * time.Hour, Lag: time.Hour}
	// brief has a lag that a test can wait for.
	brief = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Lag: 60 * time.Millisecond}
)

// withLag returns rules whose terms have a lag.
func withLag(rules []rule) []rule {
	rules = slices.Clone(rules)
	for i, r := range rules {
		rules[i].test = func(g *gateways) {
			g.terms = lagging
			r.test(g)
		}
	}
	return rules
}

var spentRules = []rule{
	{"what a write replaced is spent for all gateways", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		grant, claimed := g.claim(lagging)
		g.nothingSpent(claimed)
		g.settle(grant, etagcache.Settlement{}, nil)
		after, err := g.b.Read(g.ctx, key, lagging)
		g.check("read", err, nil)
		g.spent(after, tagged("v", "1"), tagged("w", "2"))
		for _, left := range after.Spent {
			if left > lagging.Lag+time.Millisecond {
				g.Fatalf("spent for %v", left)
			}
		}
	}},

	{"an observation of a spent state stores nothing and moves nothing", func(g *gateways) {
		g.replace(tagged("v", "1"))
		before := g.read()
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		g.observe(before, tagged("w", "1"), etagcache.ErrSpent) // the state counts, not the variant
		o := tagged("v", "1")
		o.Own = false
		g.observe(before, o, etagcache.ErrSpent)
		o.ETag.Weak = true
		g.observe(before, o, etagcache.ErrSpent)
		// The caller need not have a lag itself, nor tell what it knew.
		g.check("observe", g.b.Observe(g.ctx, key, before, tagged("v", "1"), long), etagcache.ErrSpent)
		before.Spent = nil
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		after := g.read()
		g.unmoved(before, after)
		g.knows(after)
		g.spent(after, tagged("v", "1"))
		g.observe(after, tagged("v", "2"), nil)
		g.knows(g.read(), tagged("v", "2"))
	}},

	{"with what is known a spent state is still spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		before := g.read()
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		g.unmoved(before, g.read())
		g.knows(g.read(), tagged("v", "2"))
	}},

	{"a stale or early observation of a spent state is refused as ever", func(g *gateways) {
		before := g.read()
		g.replace(tagged("v", "1"))
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
		g.claim(lagging)
		before = g.read()
		before.Spent = nil
		g.observe(before, tagged("v", "1"), etagcache.ErrBusy)
	}},

	{"absent and dated states are spent as well", func(g *gateways) {
		absent := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Absent},
		}}
		dated := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Present, LastModified: time.Unix(1763769600, 0)},
		}}
		for _, o := range []etagcache.Observation{absent, dated} {
			g.replace(o)
			g.observe(g.read(), o, etagcache.ErrSpent)
		}
		g.spent(g.read(), absent, dated)
		dated.LastModified = dated.LastModified.Add(time.Second)
		g.seen(dated)
	}},

	{"a state without validators is never spent", func(g *gateways) {
		present := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Present},
		}}
		g.replace(etagcache.Observation{Variant: "v"})
		g.replace(present)
		g.nothingSpent(g.read())
		g.seen(present)
	}},

	{"an unchanged settlement spends nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Unchanged: true, Replaced: ids(tagged("w", "2"))}, nil)
		after := g.read()
		g.nothingSpent(after)
		g.knows(after, tagged("v", "1"))
	}},

	{"a settlement can name further states", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Replaced: ids(tagged("w", "2"), tagged("v", "1"))}, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("w", "2"))
		pass, _ := g.pass(lagging)
		g.settle(pass, etagcache.Settlement{Replaced: ids(tagged("w", "3"))}, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("w", "2"), tagged("w", "3"))
	}},

	{"a settlement does not store a spent state", func(g *gateways) {
		g.replace(tagged("v", "1"))
		for name, s := range map[string]etagcache.Settlement{
			"before":                {Observation: observed("v", "1"), Receipt: "r"},
			"by this settlement":    {Observation: observed("v", "2"), Receipt: "r", Replaced: ids(tagged("v", "2"))},
			"for the other variant": {Observation: observed("w", "1"), Receipt: "r"},
		} {
			grant, _ := g.claim(lagging)
			g.settle(grant, s, nil)
			after := g.read()
			if len(after.Variants) != 0 || after.Receipt != "" {
				g.Fatalf("%s: got %+v", name, after)
			}
		}
		g.seen(tagged("v", "3"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "3")}, nil)
		g.knows(g.read())
	}},

	{"an unchanged settlement with a spent state keeps what is known", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: observed("v", "1")}, nil)
		g.knows(g.read(), tagged("v", "2"))
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"a proven state is stored and no longer spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "1"), Proven: true, Receipt: "r"}, nil)
		after := g.read()
		g.knows(after, tagged("v", "1"))
		g.receipt("r")
		g.spent(after, tagged("v", "2"))
		g.seen(tagged("v", "1"))
		g.observe(g.read(), tagged("v", "2"), etagcache.ErrSpent)

		// A write that replaces a state by itself.
		grant, _ = g.claim(lagging)
		g.settle(grant, etagcache.Settlement{
			Observation: observed("v", "1"), Proven: true, Replaced: ids(tagged("v", "1")),
		}, nil)
		g.knows(g.read(), tagged("v", "1"))
		g.spent(g.read(), tagged("v", "2"))

		// And back.
		grant, _ = g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "2"), Proven: true}, nil)
		g.knows(g.read(), tagged("v", "2"))
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"a proven state that is not stored stays spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.invalidate()
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "1"), Proven: true}, nil)
		g.knows(g.read())
		g.spent(g.read(), tagged("v", "1"))
		pass, _ := g.pass(lagging)
		g.settle(pass, etagcache.Settlement{Observation: observed("v", "1"), Proven: true}, nil)
		g.knows(g.read())
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"what a claim may have replaced is spent when its lease expires", func(g *gateways) {
		g.seen(tagged("v", "1"))
		_, claimed := g.claim(laggingShort)
		g.nothingSpent(claimed)
		after := g.lapse(claimed.Epoch)
		g.spent(after, tagged("v", "1"))
		for _, left := range after.Spent {
			if left > lagging.Lag+time.Millisecond {
				g.Fatalf("spent for %v", left)
			}
		}
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
		ends := e.Now.Add(e.Spent[tagged("v", "1").Identity()])
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
			if left := e.Spent[o.Identity()]; left <= lagging.Lag+lagging.Lease/2 {
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
				if left := e.Spent[o.Identity()]; left <= lagging.Lag+lagging.Lease/2 {
					g.Fatalf("spent for %v", left)
				}
				end(grant)
				e = g.read()
				if left := e.Spent[o.Identity()]; left <= lagging.Lag/2 || left > lagging.Lag+time.Millisecond {
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

	{"every reply with an entry tells what is spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		_, e, err := g.b.Claim(g.ctx, key, "x", lagging)
		g.check("claim", err, etagcache.ErrStale)
		g.spent(e, tagged("v", "1"))
		grant, e, err := g.b.Claim(g.ctx, key, e.Epoch, lagging)
		g.check("claim", err, nil)
		g.spent(e, tagged("v", "1"))
		_, e, err = g.b.Claim(g.ctx, key, e.Epoch, lagging)
		g.check("claim", err, etagcache.ErrBusy)
		g.spent(e, tagged("v", "1"))
		_, e, err = g.b.Pass(g.ctx, key, lagging)
		g.check("pass", err, etagcache.ErrBusy)
		g.spent(e, tagged("v", "1"))
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		_, e, err = g.b.Pass(g.ctx, key, lagging)
		g.check("pass", err, nil)
		g.spent(e, tagged("v", "1"))
	}},

	{"a repeated settle spends nothing", func(g *gateways) {
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{}, nil)
		g.seen(tagged("v", "1"))
		g.settle(grant, etagcache.Settlement{Replaced: ids(tagged("v", "2"))}, nil)
		g.nothingSpent(g.read())
		g.knows(g.read(), tagged("v", "1"))
	}},

	{"a state stops being spent by itself", func(g *gateways) {
		g.terms = brief
		g.seen(tagged("v", "1"))
		replaced := g.read().Now
		grant, _ := g.claim(brief)
		g.settle(grant, etagcache.Settlement{}, nil)
		during := g.read()
		for e := during; ; e = g.read() {
			g.unmoved(during, e)
			if !e.IsSpent(tagged("v", "1").Observed) {
				if lasted := e.Now.Sub(replaced); lasted < brief.Lag {
					g.Fatalf("spent for %v only", lasted)
				}
				break
			}
			time.Sleep(time.Millisecond)
		}
		g.nothingSpent(g.read())

		// A response to a request from before may have taken that long.
		if during.IsSpent(tagged("v", "1").Observed) {
			g.observe(during, tagged("v", "1"), etagcache.ErrSpent)
			g.knows(g.read())
		}
		g.seen(tagged("v", "1"))
		g.knows(g.read(), tagged("v", "1"))
	}},

	{"a state that is replaced again is spent anew", func(g *gateways) {
		g.replace(tagged("v", "1"))
		first := g.read()
		g.tick(first.Now)
		now := g.read().Now
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Replaced: ids(tagged("v", "1"))}, nil)
		e := g.read()
		g.atLeast(e, now.Add(lagging.Lag).Sub(e.Now))
	}},

	{"more states than an entry keeps become a doubt", func(g *gateways) {
		var first []etagcache.Observation
		for i := range etagcache.MaxSpent {
			o := tagged("v", fmt.Sprint(i))
			g.replace(o)
			first = append(first, o)
			g.tick(g.read().Now)
		}
		e := g.read()
		g.spent(e, first...)
		oldest := e.Now.Add(e.Spent[first[0].Identity()])

		// The state that would end first gives way.
		next := tagged("v", "next")
		g.replace(next)
		e = g.read()
		if got := e.Now.Add(e.Doubt); got.Sub(oldest).Abs() > time.Millisecond {
			g.Fatalf("a doubt until %v, want %v", got, oldest)
		}
		e.Doubt = 0
		g.spent(e, append(first[1:], next)...)
		g.observe(g.read(), tagged("v", "new"), etagcache.ErrSpent)
	}},

	{"states that are replaced at once become a doubt, too", func(g *gateways) {
		grant, _ := g.claim(lagging)
		var many []string
		for i := range 3 * etagcache.MaxSpent {
			many = append(many, tagged("v", fmt.Sprint(i)).Identity())
		}
		for range 2 {
			g.check("spend", g.a.Spend(g.ctx, grant, many, lagging), nil)
			e := g.read()
			if len(e.Spent) != etagcache.MaxSpent || e.Doubt <= lagging.Lag+lagging.Lease/2 {
				g.Fatalf("got %+v", e)
			}
		}
		g.settle(grant, etagcache.Settlement{}, nil)
		e := g.read()
		if len(e.Spent) != etagcache.MaxSpent || e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond {
			g.Fatalf("got %+v", e)
		}
	}},

	{"states that are over make room", func(g *gateways) {
		g.terms = brief
		for i := range etagcache.MaxSpent + 1 {
			g.replace(tagged("v", fmt.Sprint(i)))
		}
		for e := g.read(); e.Doubt > 0 || len(e.Spent) > 0; e = g.read() {
			time.Sleep(time.Millisecond)
		}
		g.terms = lagging
		g.replace(tagged("v", "1"))
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"an entry is kept while anything is spent", func(g *gateways) {
		g.terms = etagcache.Terms{Lease: time.Hour, Retention: 20 * time.Millisecond, Lag: time.Hour}
		g.writeReplaced(tagged("v", "1"))
		g.terms = etagcache.Terms{Lease: time.Hour, Retention: time.Millisecond, Lag: time.Hour}
		time.Sleep(25 * time.Millisecond)
		g.spent(g.read(), tagged("v", "1"))
		time.Sleep(5 * time.Millisecond)
		g.spent(g.read(), tagged("v", "1"))

		// An entry whose lease expires unnoticed.
		grant, _ := g.pass(g.terms)
		g.check("spend", g.a.Spend(g.ctx, grant, ids(tagged("v", "2")), g.terms), nil)
		g.terms.Lease = 10 * time.Millisecond
		g.check("renew", g.a.Renew(g.ctx, grant, g.terms), nil)
		time.Sleep(25 * time.Millisecond)
		g.spent(g.read(), tagged("v", "1"), tagged("v", "2"))
	}},

	{"without a lag nothing is spent", func(g *gateways) {
		g.terms = long
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.check("spend", g.a.Spend(g.ctx, grant, ids(tagged("v", "2")), long), nil)
		g.nothingSpent(g.read())
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "1"), Replaced: ids(tagged("v", "2"))}, nil)
		g.knows(g.read(), tagged("v", "1"))
		pass, e := g.pass(long)
		g.nothingSpent(e)
		g.settle(pass, etagcache.Settlement{}, nil)
		g.seen(tagged("v", "1"))
		g.invalidate()
		g.seen(tagged("v", "1"))
		_, claimed := g.claim(short)
		g.nothingSpent(g.lapse(claimed.Epoch))
	}},

	{"a doubt can be announced", func(g *gateways) {
		anyState := []string{etagcache.AnyState}
		grant, _ := g.claim(lagging)
		g.check("spend", g.a.Spend(g.ctx, grant, anyState, lagging), nil)
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		g.nothingSpent(g.read())
		grant, _ = g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Replaced: anyState, Observation: observed("v", "1")}, nil)
		e := g.read()
		g.knows(e)
		if e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond || e.Spent != nil {
			g.Fatalf("got %+v", e)
		}
	}},

	{"in doubt only what is proven or unknown is stored", func(g *gateways) {
		doubt := func(s etagcache.Settlement) {
			g.Helper()
			grant, _ := g.claim(lagging)
			s.Replaced = []string{etagcache.AnyState}
			g.settle(grant, s, nil)
		}
		doubt(etagcache.Settlement{Observation: observed("v", "1"), Proven: true, Receipt: "r"})
		e := g.read()
		g.knows(e, tagged("v", "1"))
		g.receipt("r")
		g.observe(e, tagged("v", "1"), etagcache.ErrSpent)
		g.observe(e, tagged("v", "2"), etagcache.ErrSpent)
		g.observe(e, etagcache.Observation{Variant: "w", Vary: "accept", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Present},
		}}, etagcache.ErrSpent)
		g.unmoved(e, g.read())
		g.knows(g.read(), tagged("v", "1"))
		unknown := etagcache.Observation{Variant: "w", Vary: "accept"}
		g.observe(e, unknown, nil)
		g.knows(g.read(), tagged("v", "1"), unknown)
		grant, _ := g.claim(lagging) // granted as ever
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		g.knows(g.read(), tagged("v", "1"), unknown)
	}},

	{"a store whose origin shows the past learns only the present", replicas},
}

// lossOfSpentRules are about losses, for a store that has a grace.
var lossOfSpentRules = []rule{
	{"what was spent is forgotten with the rest", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.lose(g.T)
		g.nothingSpent(g.read())
	}},

	{"what a restored write replaces is a doubt", func(g *gateways) {
		restoring := lagging
		restoring.Grace = graced.Grace
		for _, take := range []func(etagcache.Terms) (etagcache.Grant, etagcache.Entry){g.claim, g.pass} {
			grant, _ := take(lagging)
			g.lose(g.T)
			for range 2 {
				g.check("renew", g.b.Renew(g.ctx, grant, restoring), nil)
			}
			g.terms = long
			e := g.read()
			if e.Doubt <= lagging.Lag+lagging.Lease/2 {
				g.Fatalf("got %+v", e)
			}
			g.lapse(e.Epoch) // the end of the grace
			g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
			e = g.read()
			g.terms = lagging
			if e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond {
				g.Fatalf("got %+v", e)
			}
			g.lose(g.T)
		}
	}},
}

// replace performs a write that replaces o, which is known.
func (g *gateways) replace(o etagcache.Observation) {
	g.Helper()
	g.seen(o)
	grant, _ := g.claim(g.terms)
	g.settle(grant, etagcache.Settlement{}, nil)
	g.knows(g.read())
}

// writeReplaced performs a write that replaces o, which need not be known. It
// doesn't rely on the entry being kept between two calls.
func (g *gateways) writeReplaced(o etagcache.Observation) {
	g.Helper()
	_, e, err := g.a.Claim(g.ctx, key, "", g.terms)
	var grant etagcache.Grant
	for errors.Is(err, etagcache.ErrStale) {
		grant, e, err = g.a.Claim(g.ctx, key, e.Epoch, g.terms)
	}
	g.check("claim", err, nil)
	g.settle(grant, etagcache.Settlement{Replaced: ids(o)}, nil)
}

// spent checks that exactly the given states are spent, for most of the lag at least.
func (g *gateways) spent(e etagcache.Entry, want ...etagcache.Observation) {
	g.Helper()
	identities := ids(want...)
	slices.Sort(identities)
	if got := slices.Sorted(maps.Keys(e.Spent)); !slices.Equal(got, slices.Compact(identities)) || e.Doubt != 0 {
		g.Fatalf("want %q to be spent: %+v", identities, e)
	}
	g.atLeast(e, lagging.Lag/2)
	for _, o := range want {
		if !e.IsSpent(o.Observed) {
			g.Fatalf("not spent: %+v", o)
		}
	}
	if e.IsSpent(tagged("", "never seen").Observed) || e.IsSpent(validator.Observed{}) {
		g.Fatal("everything is spent")
	}
}

func (g *gateways) nothingSpent(e etagcache.Entry) {
	g.Helper()
	if e.Spent != nil || e.Doubt != 0 {
		g.Fatalf("something is spent: %+v", e)
	}
}

// atLeast checks that the states are spent for at least that much longer.
func (g *gateways) atLeast(e etagcache.Entry, want time.Duration) {
	g.Helper()
	for identity, left := range e.Spent {
		if left < want {
			g.Fatalf("%q is spent for another %v, want at least %v", identity, left, want)
		}
	}
}

func ids(observations ...etagcache.Observation) (identities []string) {
	for _, o := range observations {
		identities = append(identities, o.Identity())
	}
	return identities
}

func observed(variant, tag string) *etagcache.Observation {
	o := tagged(variant, tag)
	return &o
}
