package storetest

import (
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var peekRules = []rule{
	{"a peek creates nothing", func(g *gateways) {
		for range 2 {
			if p := g.peek(); p.Known || p.Epoch != "" || len(p.Variants) > 0 || p.Busy > 0 {
				g.Fatalf("got %+v", p)
			}
		}
		if n := g.invalidateMatching("", func(string, bool) bool { return true }); n != 0 {
			g.Fatalf("there are %d entries", n)
		}
	}},

	{"a peek shows what a read shows, and moves nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		p := g.peek()
		g.unmoved(before, p.Entry)
		g.knows(p.Entry, tagged("v", "1"))
		g.idle(p.Entry)
		if !p.Known || p.Claimed || p.Passes != 0 {
			g.Fatalf("got %+v", p)
		}
		after := g.read()
		g.unmoved(before, after)
		g.knows(after, tagged("v", "1"))
	}},

	{"a peek is no use", func(g *gateways) {
		before := g.read()
		first := g.peek()
		if first.Kept <= 0 || first.Kept > long.Retention {
			g.Fatalf("it is kept for %v", first.Kept)
		}
		for now := before.Now; !now.After(before.Now.Add(2 * time.Millisecond)); { // reading this entry might be use
			time.Sleep(time.Millisecond)
			e, err := g.a.Read(g.ctx, key+"&other", long)
			g.check("read", err, nil)
			now = e.Now
		}
		if again := g.peek(); again.Kept >= first.Kept {
			g.Fatalf("it is kept for %v, and was for %v", again.Kept, first.Kept)
		}
	}},

	{"a peek tells a claim from passes", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		if p := g.peek(); !p.Claimed || p.Passes != 0 || p.Busy <= 0 || p.Busy > long.Lease {
			g.Fatalf("with a claim: got %+v", p)
		}
		g.settle(grant, etagcache.Settlement{}, nil)
		first, _ := g.pass(long)
		second, _ := g.pass(long)
		if p := g.peek(); p.Claimed || p.Passes != 2 || p.Busy <= 0 || len(p.Variants) > 0 {
			g.Fatalf("with passes: got %+v", p)
		}
		g.settle(first, etagcache.Settlement{}, nil)
		if p := g.peek(); p.Passes != 1 {
			g.Fatalf("with one of them: got %+v", p)
		}
		g.settle(second, etagcache.Settlement{}, nil)
		if p := g.peek(); p.Passes != 0 || p.Claimed || p.Busy > 0 || !p.Known {
			g.Fatalf("without them: got %+v", p)
		}
	}},

	{"a peek shows nothing that was invalidated", func(g *gateways) {
		for _, invalidate := range []func() error{
			func() error { return g.b.Invalidate(g.ctx, key, g.terms) },
			func() error { return g.b.InvalidateAll(g.ctx, g.terms) },
		} {
			g.seen(tagged("v", "1"))
			grant, _ := g.claim(long)
			g.check("invalidate", invalidate(), nil)
			if p := g.peek(); !p.Known || len(p.Variants) > 0 || !p.Claimed {
				g.Fatalf("got %+v", p)
			}
			g.settle(grant, etagcache.Settlement{}, nil)
			g.seen(tagged("v", "1"))
			g.check("invalidate", invalidate(), nil)
			if p := g.peek(); len(p.Variants) > 0 || p.Busy > 0 {
				g.Fatalf("got %+v", p)
			}
		}
	}},
}

func (g *gateways) peek() etagcache.Peeked {
	g.Helper()
	p, err := g.b.Peek(g.ctx, key)
	g.check("peek", err, nil)
	return p
}
