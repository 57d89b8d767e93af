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

	{"a write that happened drops the variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, claimed := g.claim(long)
		g.settle(grant, etagcache.Settlement{}, nil)
		after := g.read()
		g.moved(claimed, after)
		g.idle(after)
		g.knows(after)
	}},

	{"an observation by the holder of a claim is stored", func(g *gateways) {
		g.seen(tagged("v", "1"))
		for _, tag := range []string{"2", "2"} {
			grant, _ := g.claim(long)
			o := tagged("w", tag)
			g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
			g.knows(g.read(), tagged("v", "1"), o)
		}
		// A different value means that the other variant has changed, too.
		grant, _ := g.claim(long)
		o := tagged("w", "3")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read(), o)
		// So does a different Vary.
		grant, _ = g.claim(long)
		o = tagged("x", "4")
		o.Vary = "cookie"
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read(), o)
	}},

	{"an observation after the write is all that is known", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		grant, _ := g.claim(long)
		o := tagged("v", "3")
		g.settle(grant, etagcache.Settlement{Observation: &o}, nil)
		g.knows(g.read(), o)
	}},

	{"an observation by the holder of a pass is not stored", func(g *gateways) {
		grant, _ := g.pass(long)
		o := tagged("v", "1")
		g.settle(grant, etagcache.Settlement{Observation: &o, Receipt: "r"}, nil)
		g.knows(g.read())
		g.receipt("")
	}},

	{"a receipt stays as long as the state that the write led to", func(g *gateways) {
		g.write("r")
		g.receipt("r")
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		g.receipt("r")
		grant, _ := g.claim(long)
		g.receipt("r")
		o := tagged("v", "1")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.receipt("r")
	}},

	{"a receipt is dropped with the state that the write led to", func(g *gateways) {
		for _, end := range []func(){
			g.invalidate,
			func() { g.observe(g.read(), tagged("v", "2"), nil) },
			func() { grant, _ := g.pass(long); g.settle(grant, etagcache.Settlement{}, nil) },
			func() { grant, _ := g.claim(long); g.settle(grant, etagcache.Settlement{}, nil) },
			func() { g.write("") },
			func() { _, e := g.claim(short); g.lapse(e.Epoch) },
			func() { g.check("invalidate all", g.a.InvalidateAll(g.ctx, long), nil) },
		} {
			g.write("r")
			g.receipt("r")
			end()
			g.receipt("")
		}
	}},

	{"nothing is known after an invalidation during the write", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.invalidate()
		o := tagged("w", "2")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.idle(g.read())
		g.knows(g.read())
		grant, _ = g.claim(long)
		g.invalidate()
		g.settle(grant, etagcache.Settlement{Observation: &o, Receipt: "r"}, nil)
		g.knows(g.read())
		g.receipt("")
	}},

	{"the epoch tells whether anything but the write has moved it", func(g *gateways) {
		alone := func(what string, want bool, meanwhile func()) {
			g.Helper()
			grant, claimed := g.claim(long)
			meanwhile()
			g.settle(grant, etagcache.Settlement{}, nil)
			for range 2 {
				if epoch := g.read().Epoch; (epoch == etagcache.SettledEpoch(claimed.Epoch)) != want {
					g.Fatalf("%s: the epoch %q followed %q", what, epoch, claimed.Epoch)
				}
				g.settle(grant, etagcache.Settlement{}, nil) // repeated
			}
		}
		alone("nothing", true, func() {})
		alone("an invalidation", false, g.invalidate)
		alone("an invalidation of all", false, func() { g.check("invalidate all", g.b.InvalidateAll(g.ctx, long), nil) })
		grant, claimed := g.claim(short)
		g.lapse(claimed.Epoch)
		g.settle(grant, etagcache.Settlement{}, etagcache.ErrLost)
		if epoch := g.read().Epoch; epoch == etagcache.SettledEpoch(claimed.Epoch) {
			g.Fatalf("a lapse: the epoch %q followed %q", epoch, claimed.Epoch)
		}
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

// write performs a write that leads to the variant "v" with the tag "1".
func (g *gateways) write(receipt string) {
	g.Helper()
	grant, _ := g.claim(long)
	o := tagged("v", "1")
	g.settle(grant, etagcache.Settlement{Observation: &o, Receipt: receipt}, nil)
}

// receipt fails the test unless the entry has the wanted receipt.
func (g *gateways) receipt(want string) {
	g.Helper()
	if e := g.read(); e.Receipt != want {
		g.Fatalf("got receipt %q, want %q: %+v", e.Receipt, want, e)
	}
}
