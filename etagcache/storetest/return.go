package storetest

import "github.com/caddy-preconditions/preconditions/etagcache"

var unchanged = etagcache.Settlement{Unchanged: true}

// returnRules are about the variants of a resource after writes without a condition that
// the backend has refused.
var returnRules = []rule{
	{"what was known before a pass that changed nothing is known after it", func(g *gateways) {
		g.write("r")
		g.seen(tagged("w", "2"))
		before := g.read()
		grant, during := g.pass(long)
		g.knows(during)
		g.knows(g.read())
		g.receipt("")
		g.settle(grant, unchanged, nil)
		after := g.read()
		g.moved(during, after)
		g.knows(after, tagged("v", "1"), tagged("w", "2"))
		g.receipt("r")
		if !after.Variants.Of("v").Since.Equal(before.Variants.Of("v").Since) {
			g.Fatalf("known since %v, before since %v", after.Variants.Of("v").Since, before.Variants.Of("v").Since)
		}
		g.seen(tagged("v", "1"))
		g.claim(long)
	}},

	{"what was known before several passes that changed nothing is known after them", func(g *gateways) {
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}} {
			g.seen(tagged("v", "1"))
			var grants [3]etagcache.Grant
			for i := range grants {
				grants[i], _ = g.pass(long)
			}
			for _, i := range order {
				g.knows(g.read())
				g.settle(grants[i], unchanged, nil)
			}
			g.knows(g.read(), tagged("v", "1"))
		}
		// One after the other, so that there is always one.
		grant, _ := g.pass(long)
		for range 5 {
			next, _ := g.pass(long)
			g.settle(grant, unchanged, nil)
			grant = next
		}
		g.settle(grant, unchanged, nil)
		g.knows(g.read(), tagged("v", "1"))
	}},

	{"a repeated end of a pass that changed nothing does nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.pass(long)
		g.settle(grant, unchanged, nil)
		before := g.read()
		g.settle(grant, etagcache.Settlement{}, nil)
		g.unmoved(before, g.read())
		g.knows(g.read(), tagged("v", "1"))
	}},

	{"a read that began before a refused pass stores nothing after it", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		grant, during := g.pass(long)
		g.settle(grant, unchanged, nil)
		g.observe(before, tagged("v", "2"), etagcache.ErrStale)
		g.observe(during, tagged("v", "2"), etagcache.ErrStale)
		g.knows(g.read(), tagged("v", "1"))
	}},
}

// noReturnRules are about passes that were not all refused.
var noReturnRules = []rule{
	{"nothing is known after passes if anything may have changed meanwhile", func(g *gateways) {
		for name, change := range changesDuringAPass {
			g.seen(tagged("v", "1"))
			first, _ := g.pass(long)
			change(g)
			g.knows(g.read())
			last, _ := g.pass(long)
			g.settle(first, unchanged, nil)
			g.settle(last, unchanged, nil)
			e := g.read()
			g.idle(e)
			if len(e.Variants) > 0 {
				g.Fatalf("%s: something is known: %+v", name, e)
			}
		}
	}},
}

// changesDuringAPass are changes after which what was known before is no longer true.
var changesDuringAPass = map[string]func(g *gateways){
	"a pass that changed something": func(g *gateways) {
		grant, _ := g.pass(long)
		g.settle(grant, etagcache.Settlement{}, nil)
	},
	"a pass that changed something, between others that did not": func(g *gateways) {
		a, _ := g.pass(long)
		b, _ := g.pass(long)
		c, _ := g.pass(long)
		g.settle(a, unchanged, nil)
		g.settle(b, etagcache.Settlement{}, nil)
		g.settle(c, unchanged, nil)
	},
	"a pass that expired": func(g *gateways) {
		_, e := g.pass(short)
		g.lapse(e.Epoch)
	},
	"an invalidation": func(g *gateways) { g.invalidate() },
	"an invalidation of everything": func(g *gateways) {
		g.check("invalidate all", g.a.InvalidateAll(g.ctx, long), nil)
	},
	"an invalidation by name": func(g *gateways) {
		g.invalidateMatching("", func(string, bool) bool { return true })
	},
}

// returnOfSpentRules are about the states that refused passes might have replaced.
var returnOfSpentRules = []rule{
	{"several passes that changed nothing have spent nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		first, _ := g.pass(lagging)
		second, e := g.pass(lagging)
		g.spent(e, tagged("v", "1"))
		g.settle(first, unchanged, nil)
		g.spent(g.read(), tagged("v", "1"))
		g.settle(second, unchanged, nil)
		e = g.read()
		g.nothingSpent(e)
		g.knows(e, tagged("v", "1"))
		g.seen(tagged("v", "1"))
	}},
}

// noReturnOfSpentRules are about spent states and passes that were not all refused.
var noReturnOfSpentRules = []rule{
	{"what one of several passes may have replaced stays spent", func(g *gateways) {
		for _, end := range []func(first, second etagcache.Grant){
			func(first, second etagcache.Grant) {
				g.settle(first, etagcache.Settlement{}, nil)
				g.settle(second, unchanged, nil)
			},
			func(first, second etagcache.Grant) {
				g.settle(second, etagcache.Settlement{}, nil)
				g.settle(first, unchanged, nil)
			},
			func(first, second etagcache.Grant) {
				g.settle(first, unchanged, nil)
				g.settle(second, etagcache.Settlement{}, nil)
			},
			func(first, second etagcache.Grant) {
				g.invalidate()
				third, _ := g.pass(lagging)
				g.settle(third, unchanged, nil)
				g.settle(second, unchanged, nil)
				g.settle(first, unchanged, nil)
			},
		} {
			o := tagged("v", etagcache.NewToken()) // one that isn't spent already
			g.seen(o)
			first, _ := g.pass(lagging)
			second, _ := g.pass(lagging)
			end(first, second)
			e := g.read()
			g.knows(e)
			if !e.IsSpent(o.Observed) {
				g.Fatalf("not spent: %+v", e)
			}
		}
	}},
}
