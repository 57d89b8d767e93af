package storetest

import "github.com/caddy-preconditions/preconditions/etagcache"

var settleRules = []rule{
	{"a write that did not happen keeps the variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		grant, claimed := g.claim(long)
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		after := g.read()
		g.moved(claimed, after)
		g.idle(after)
		g.knows(after, tagged("v", "1"), tagged("w", "2"))
	}},

	{"a write that happened drops them", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, claimed := g.claim(long)
		g.settle(grant, etagcache.Settlement{}, nil)
		after := g.read()
		g.moved(claimed, after)
		g.idle(after)
		g.knows(after)
	}},

	{"what the holder saw is stored", func(g *gateways) {
		g.seen(tagged("v", "1"))
		for _, tag := range []string{"2", "2"} {
			grant, _ := g.claim(long)
			o := tagged("w", tag)
			g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
			g.knows(g.read(), tagged("v", "1"), o)
		}
		// Another value tells that the other variant has changed, too.
		grant, _ := g.claim(long)
		o := tagged("w", "3")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read(), o)
		// And so does another Vary.
		grant, _ = g.claim(long)
		o = tagged("x", "4")
		o.Vary = "cookie"
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read(), o)
	}},

	{"what the holder saw before its write is not", func(g *gateways) {
		grant, _ := g.claim(long)
		o := tagged("v", "1")
		g.settle(grant, etagcache.Settlement{Observation: &o}, nil)
		g.knows(g.read())
	}},

	{"nothing stands after a touch", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.touch()
		o := tagged("w", "2")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.idle(g.read())
		g.knows(g.read())
	}},

	{"a repeated settle does nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		before := g.read()
		g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
		g.unmoved(before, g.read())
		g.seen(tagged("w", "2"))
		g.settle(grant, etagcache.Settlement{}, nil)
		g.knows(g.read(), tagged("v", "1"), tagged("w", "2"))
	}},

	{"a late settle does nothing", func(g *gateways) {
		first, _ := g.claim(long)
		g.settle(first, etagcache.Settlement{}, nil)
		second, claimed := g.claim(long)
		g.settle(first, etagcache.Settlement{}, etagcache.ErrLost)
		g.unmoved(claimed, g.read())
		g.settle(second, etagcache.Settlement{}, nil)
	}},
}
