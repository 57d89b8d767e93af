package storetest

import (
	"fmt"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// spentBoundsRules are about how long states are spent, and how many.
var spentBoundsRules = []rule{
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
		oldest := e.Now.Add(e.Spent.Left(first[0].Identity()))

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
			if len(spentIn(e)) != etagcache.MaxSpent || e.Doubt <= lagging.Lag+lagging.Lease/2 {
				g.Fatalf("got %+v", e)
			}
		}
		g.settle(grant, etagcache.Settlement{}, nil)
		e := g.read()
		if len(spentIn(e)) != etagcache.MaxSpent || e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond {
			g.Fatalf("got %+v", e)
		}
	}},

	{"states that are over make room", func(g *gateways) {
		g.terms = brief
		for i := range etagcache.MaxSpent + 1 {
			g.replace(tagged("v", fmt.Sprint(i)))
		}
		for e := g.read(); e.Doubt > 0 || len(spentIn(e)) > 0; e = g.read() {
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
		if e.Doubt <= lagging.Lag/2 || e.Doubt > lagging.Lag+time.Millisecond || len(spentIn(e)) > 0 {
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
			if e := g.read(); e.Busy > 0 { // gateways may have heard of the grace
				g.lapse(e.Epoch)
			}
		}
	}},
}
