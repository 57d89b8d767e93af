package storetest

import "github.com/caddy-preconditions/preconditions/etagcache"

var nextRules = []rule{
	{"a claim that follows a settlement is held", func(g *gateways) {
		g.write("") // a server that doesn't know the scripts yet gets them one by one
		grant, _ := g.claim(long)
		o := tagged("v", "1")
		for range 3 {
			var after etagcache.Entry
			next := g.settleNext(grant, etagcache.Settlement{Observation: &o, After: &after})
			if next.Key != key || next.Token == "" || next.Token == grant.Token || next.Pass {
				g.Fatalf("got %+v", next)
			}
			if after.Epoch != etagcache.SettledEpoch(grant.Token) || after.Busy != 0 {
				g.Fatalf("after the settlement: %+v", after)
			}
			g.knows(after, o)
			now := g.read()
			if now.Epoch != next.Token || now.Busy <= long.Lease/2 || now.Busy > long.Lease {
				g.Fatalf("after the claim: %+v", now)
			}
			g.knows(now, o)
			g.refuseClaim()
			g.refusePass()
			g.check("renew", g.a.Renew(g.ctx, next, long), nil)
			grant = next
		}
		g.settle(grant, etagcache.Settlement{}, nil)
		g.idle(g.read())
	}},

	{"no claim follows if something else has moved the epoch", func(g *gateways) {
		for _, move := range []func(){
			g.invalidate,
			func() { g.check("invalidate all", g.b.InvalidateAll(g.ctx, long), nil) },
		} {
			grant, _ := g.claim(long)
			move()
			if next := g.settleNext(grant, etagcache.Settlement{}); next.Token != "" {
				g.Fatalf("got %+v", next)
			}
			g.idle(g.read())
		}
	}},

	{"no claim follows while there are passes", func(g *gateways) {
		one, _ := g.pass(long)
		two, _ := g.pass(long)
		if next := g.settleNext(one, etagcache.Settlement{Unchanged: true}); next.Token != "" {
			g.Fatalf("got %+v", next)
		}
		g.check("renew", g.a.Renew(g.ctx, two, long), nil)
		g.settle(two, etagcache.Settlement{}, nil)
		g.idle(g.read())
	}},

	{"no claim follows a claim that was lost", func(g *gateways) {
		grant, claimed := g.claim(short)
		g.lapse(claimed.Epoch)
		var next etagcache.Grant
		g.settle(grant, etagcache.Settlement{Next: &next}, etagcache.ErrLost)
		if next.Token != "" {
			g.Fatalf("got %+v", next)
		}
		g.idle(g.read())
	}},
}

// settleNext ends a claim or pass, and returns the claim that follows, if any.
func (g *gateways) settleNext(grant etagcache.Grant, s etagcache.Settlement) (next etagcache.Grant) {
	g.Helper()
	s.Next = &next
	g.check("settle", g.a.Settle(g.ctx, grant, s, g.terms), nil)
	return next
}
