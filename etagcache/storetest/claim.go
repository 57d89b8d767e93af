package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var claimRules = []rule{
	{"a claim moves the epoch and keeps the variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		grant, e := g.claim(long)
		if grant.Key != key || grant.Token == "" || grant.Pass {
			g.Fatalf("got %+v", grant)
		}
		g.moved(before, e)
		g.knows(e, tagged("v", "1"))
		if e.Busy <= long.Lease/2 || e.Busy > long.Lease {
			g.Fatalf("busy for %v", e.Busy)
		}
		g.unmoved(e, g.read())
	}},

	{"only one of many gateways gets a claim", func(g *gateways) {
		epoch := g.read().Epoch
		var granted atomic.Int32
		var wg sync.WaitGroup
		for i := range 32 {
			store := g.a
			if i%2 == 1 {
				store = g.b
			}
			wg.Go(func() {
				_, _, err := store.Claim(g.ctx, key, epoch, long)
				switch {
				case err == nil:
					granted.Add(1)
				case !errors.Is(err, etagcache.ErrBusy):
					g.Errorf("got error %v", err)
				}
			})
		}
		wg.Wait()
		if n := granted.Load(); n != 1 {
			g.Fatalf("%d claims were granted", n)
		}
	}},

	{"a claim excludes other claims and passes", func(g *gateways) {
		grant, _ := g.claim(long)
		g.refuseClaim()
		g.refusePass()
		g.settle(grant, etagcache.Settlement{}, nil)
		g.pass(long) // a claim refused because of a claim reserves nothing
	}},

	{"a claim on an old epoch is stale", func(g *gateways) {
		before := g.read()
		g.invalidate()
		g.seen(tagged("v", "1"))
		_, e, err := g.a.Claim(g.ctx, key, before.Epoch, long)
		g.check("claim", err, etagcache.ErrStale)
		g.moved(before, e)
		g.knows(e, tagged("v", "1"))
		_, _, err = g.a.Claim(g.ctx, key, e.Epoch, long)
		g.check("claim", err, nil)
	}},

	{"a claim on an entry that does not exist is stale", func(g *gateways) {
		_, e, err := g.a.Claim(g.ctx, key, "x", long)
		g.check("claim", err, etagcache.ErrStale)
		g.idle(e)
		_, _, err = g.a.Claim(g.ctx, key, e.Epoch, long)
		g.check("claim", err, nil)
	}},

	{"nothing is known after a lease has expired", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, claimed := g.claim(short)
		after := g.lapse(claimed.Epoch)
		g.idle(after)
		g.knows(after)
		g.check("renew", g.a.Renew(g.ctx, grant, long), etagcache.ErrLost)
		g.settle(grant, etagcache.Settlement{Unchanged: true}, etagcache.ErrLost)
		g.unmoved(after, g.read())
		g.claim(long)
	}},

	{"every call notices that a lease has expired", func(g *gateways) {
		calls := map[string]func(grant etagcache.Grant, claimed etagcache.Entry){
			"claim": func(_ etagcache.Grant, claimed etagcache.Entry) {
				_, e, err := g.b.Claim(g.ctx, key, claimed.Epoch, long)
				g.check("claim", err, etagcache.ErrStale)
				g.moved(claimed, e)
				g.knows(e)
			},
			"pass": func(etagcache.Grant, etagcache.Entry) {
				grant, _, err := g.b.Pass(g.ctx, key, long)
				g.check("pass", err, nil)
				g.settle(grant, etagcache.Settlement{}, nil)
			},
			"observe": func(_ etagcache.Grant, claimed etagcache.Entry) {
				g.observe(claimed, tagged("v", "1"), etagcache.ErrStale)
			},
			"renew": func(grant etagcache.Grant, _ etagcache.Entry) {
				g.check("renew", g.b.Renew(g.ctx, grant, long), etagcache.ErrLost)
			},
			"settle": func(grant etagcache.Grant, _ etagcache.Entry) {
				g.settle(grant, etagcache.Settlement{Unchanged: true}, etagcache.ErrLost)
			},
			"invalidate": func(etagcache.Grant, etagcache.Entry) { g.invalidate() },
		}
		for name, call := range calls {
			g.seen(tagged("v", "1"))
			grant, claimed := g.claim(short)
			time.Sleep(claimed.Busy)
			call(grant, claimed)
			after := g.read()
			if after.Busy != 0 || len(after.Variants) != 0 || after.Epoch == claimed.Epoch {
				g.Fatalf("%s: got %+v", name, after)
			}
		}
	}},

	{"a renewed lease counts from now", func(g *gateways) {
		less := etagcache.Terms{Lease: long.Lease / 2, Retention: long.Retention}
		grant, claimed := g.claim(less)
		g.check("renew", g.b.Renew(g.ctx, grant, long), nil)
		renewed := g.read()
		g.unmoved(claimed, renewed)
		if renewed.Busy <= less.Lease {
			g.Fatalf("busy for %v", renewed.Busy)
		}
		g.check("renew", g.a.Renew(g.ctx, grant, short), nil)
		g.idle(g.lapse(claimed.Epoch))
	}},

	{"a claim outlives an invalidation", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, claimed := g.claim(long)
		g.invalidate()
		invalidated := g.read()
		g.moved(claimed, invalidated)
		g.knows(invalidated)
		g.refuseClaim()
		g.check("renew", g.a.Renew(g.ctx, grant, long), nil)
	}},

	{"a grant that was never given is lost", func(g *gateways) {
		forged := etagcache.Grant{Key: key, Token: "x"}
		for range 2 { // without and with an entry
			g.check("renew", g.a.Renew(g.ctx, forged, long), etagcache.ErrLost)
			g.settle(forged, etagcache.Settlement{}, etagcache.ErrLost)
			g.read()
		}
		grant, _ := g.claim(long)
		forged = grant
		forged.Pass = true
		g.check("renew", g.a.Renew(g.ctx, forged, long), etagcache.ErrLost)
		g.settle(forged, etagcache.Settlement{}, etagcache.ErrLost)
		g.settle(grant, etagcache.Settlement{}, nil)
	}},
}
