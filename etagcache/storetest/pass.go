package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var passRules = []rule{
	{"several passes can be held at once", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		first, e := g.pass(long)
		if first.Key != key || first.Token == "" || !first.Pass {
			g.Fatalf("got %+v", first)
		}
		g.moved(before, e)
		g.knows(e)
		second, both := g.pass(long)
		g.moved(e, both)
		g.settle(first, etagcache.Settlement{}, nil)
		one := g.read()
		g.moved(both, one)
		if one.Busy <= 0 {
			g.Fatal("the second pass has ended, too")
		}
		g.settle(second, etagcache.Settlement{}, nil)
		none := g.read()
		g.moved(one, none)
		g.idle(none)
	}},

	{"passes exclude a claim until all have ended", func(g *gateways) {
		first, _ := g.pass(long)
		second, _ := g.pass(long)
		g.refuseClaim()
		g.settle(first, etagcache.Settlement{}, nil)
		g.refuseClaim()
		g.settle(second, etagcache.Settlement{}, nil)
		g.claim(long)
	}},

	{"nothing is known after a pass", func(g *gateways) {
		grant, _ := g.pass(long)
		o := tagged("v", "1")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read())
	}},

	{"a pass can be renewed and expires otherwise", func(g *gateways) {
		grant, _ := g.pass(long)
		_, both := g.pass(short)
		after := g.lapse(both.Epoch)
		if after.Busy <= short.Lease {
			g.Fatal("the other pass has ended, too")
		}
		g.check("renew", g.b.Renew(g.ctx, grant, short), nil)
		g.idle(g.lapse(after.Epoch))
		g.settle(grant, etagcache.Settlement{}, etagcache.ErrLost)
	}},

	{"passes are refused in favor of a refused claim", func(g *gateways) {
		grant, _ := g.pass(long)
		g.refuseClaim()
		g.refusePass()
		g.settle(grant, etagcache.Settlement{}, nil)
		g.idle(g.read())
		claim, _ := g.claim(long)
		g.settle(claim, etagcache.Settlement{}, nil)
		g.pass(long)
	}},

	{"a refused claim does not exclude passes for longer than a second", func(g *gateways) {
		grant, _ := g.pass(long)
		g.refuseClaim()
		g.settle(grant, etagcache.Settlement{}, nil)
		for {
			_, e, err := g.a.Pass(g.ctx, key, long)
			if err == nil {
				return
			}
			g.check("pass", err, etagcache.ErrBusy)
			if e.Busy <= 0 || e.Busy > time.Second {
				g.Fatalf("busy for %v", e.Busy)
			}
			g.check("wait", g.a.Wait(g.ctx, key, e), nil)
		}
	}},

	{"waiting for a pass does not extend the reservation of a claim", func(g *gateways) {
		g.pass(long)
		g.refuseClaim()
		ctx, cancel := context.WithTimeout(g.ctx, 3*time.Second)
		defer cancel()
		for {
			_, e, err := g.a.Pass(ctx, key, long)
			if err == nil {
				return
			}
			g.check("pass", err, etagcache.ErrBusy)
			g.check("wait", g.a.Wait(ctx, key, e), nil)
		}
	}},

	{"waiting for a claim extends its reservation", func(g *gateways) {
		_, e := g.pass(long)
		g.refuseClaim()
		ctx, cancel := context.WithTimeout(g.ctx, 1200*time.Millisecond)
		defer cancel()
		for {
			err := g.a.Wait(ctx, key, e)
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			g.check("wait", err, nil) // it may return early
		}
		g.refusePass()
	}},
}
