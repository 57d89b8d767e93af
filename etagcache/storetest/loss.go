package storetest

import (
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var (
	// endless has a grace that outlasts any test.
	endless = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Grace: time.Hour}
	// graced has a grace that a test can wait for.
	graced = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Grace: 300 * time.Millisecond}
)

var lossRules = []rule{
	{"nothing is known after a loss", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		g.lose(g.T)
		after := g.read()
		g.moved(before, after)
		g.knows(after)
		g.idle(after)
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
	}},

	{"the first call on an empty store begins a grace", func(g *gateways) {
		calls := map[string]func(){
			"read":       func() { _, _ = g.a.Read(g.ctx, key, endless) },
			"observe":    func() { _ = g.a.Observe(g.ctx, key, etagcache.Entry{}, tagged("v", "1"), endless) },
			"claim":      func() { _, _, _ = g.a.Claim(g.ctx, key, "x", endless) },
			"pass":       func() { _, _, _ = g.a.Pass(g.ctx, key, endless) },
			"renew":      func() { _ = g.a.Renew(g.ctx, etagcache.Grant{Key: key, Token: "x", Pass: true}, endless) },
			"settle":     func() { _ = g.a.Settle(g.ctx, etagcache.Grant{Key: key, Token: "x"}, etagcache.Settlement{}, endless) },
			"invalidate": func() { _ = g.a.Invalidate(g.ctx, key, endless) },
		}
		for name, call := range calls {
			g.lose(g.T)
			call()
			if e := g.read(); e.Busy <= long.Lease/2 {
				g.Fatalf("%s began no grace: %+v", name, e)
			}
		}
	}},

	{"nothing is granted or learned during a grace", func(g *gateways) {
		before, err := g.a.Read(g.ctx, key, endless)
		g.check("read", err, nil)
		if before.Busy <= 0 || before.Busy > endless.Grace {
			g.Fatalf("busy for %v", before.Busy)
		}
		g.refuseClaim()
		g.refusePass()
		g.observe(before, tagged("v", "1"), etagcache.ErrBusy)
		g.knows(g.read())
	}},

	{"wait returns when a grace is over", func(g *gateways) {
		begun := time.Now()
		e, err := g.a.Read(g.ctx, key, graced)
		g.check("read", err, nil)
		g.refuseClaim()
		for e.Busy > 0 {
			g.check("wait", g.a.Wait(g.ctx, key, e), nil)
			e = g.read()
		}
		if took := time.Since(begun); took < graced.Grace-5*time.Millisecond { // the clocks differ slightly
			g.Fatalf("the grace was over after %v", took)
		}
		g.pass(long) // a claim refused because of the grace reserves nothing
	}},

	{"an epoch read during a grace is stale after it", func(g *gateways) {
		during, err := g.a.Read(g.ctx, key, graced)
		g.check("read", err, nil)
		after := g.lapse(during.Epoch)
		g.idle(after)
		g.observe(during, tagged("v", "1"), etagcache.ErrStale)
		_, _, err = g.a.Claim(g.ctx, key, during.Epoch, long)
		g.check("claim", err, etagcache.ErrStale)
	}},

	{"renew restores a claim during a grace", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.lose(g.T)
		g.check("renew", g.b.Renew(g.ctx, grant, graced), nil)
		during := g.read()
		if during.Busy <= long.Lease/2 {
			g.Fatalf("busy for %v", during.Busy)
		}
		g.lapse(during.Epoch) // the end of the grace
		g.refuseClaim()
		g.refusePass()
		g.check("renew", g.b.Renew(g.ctx, grant, long), nil)
		o := tagged("w", "2")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		after := g.read()
		g.idle(after)
		g.knows(after) // somebody may have written in the meantime
		g.claim(long)
	}},

	{"renew restores passes during a grace", func(g *gateways) {
		first, _ := g.pass(long)
		second, _ := g.pass(long)
		g.lose(g.T)
		g.check("renew", g.a.Renew(g.ctx, first, graced), nil)
		g.check("renew", g.b.Renew(g.ctx, first, graced), nil)
		g.lapse(g.read().Epoch)
		g.refuseClaim()
		g.check("renew", g.a.Renew(g.ctx, second, long), etagcache.ErrLost) // after the grace
		g.settle(first, etagcache.Settlement{}, nil)
		g.claim(long)
	}},

	{"renew restores only leases that do not exclude each other", func(g *gateways) {
		claim1, _ := g.claim(long)
		g.lose(g.T)
		claim2, _ := g.claim(long)
		g.lose(g.T)
		pass1, _ := g.pass(long)
		pass2, _ := g.pass(long)

		g.lose(g.T)
		g.check("renew", g.a.Renew(g.ctx, claim2, endless), nil)
		for _, grant := range []etagcache.Grant{claim1, pass1} {
			g.check("renew", g.b.Renew(g.ctx, grant, endless), etagcache.ErrLost)
		}
		g.check("renew", g.a.Renew(g.ctx, claim2, endless), nil)

		g.lose(g.T)
		g.check("renew", g.a.Renew(g.ctx, pass1, endless), nil)
		g.check("renew", g.b.Renew(g.ctx, claim1, endless), etagcache.ErrLost)
		g.check("renew", g.b.Renew(g.ctx, pass2, endless), nil)
	}},

	{"renew restores nothing after a grace", func(g *gateways) {
		grant, _ := g.claim(long)
		g.lose(g.T)
		e, err := g.a.Read(g.ctx, key, graced)
		g.check("read", err, nil)
		g.idle(g.lapse(e.Epoch))
		g.check("renew", g.a.Renew(g.ctx, grant, graced), etagcache.ErrLost)
		g.claim(long)
	}},

	{"the end of a forgotten write changes nothing", func(g *gateways) {
		grant, _ := g.claim(long)
		g.lose(g.T)
		g.check("settle", g.a.Settle(g.ctx, grant, etagcache.Settlement{}, endless), etagcache.ErrLost)
		g.refuseClaim()
	}},

	{"a grace outlives an invalidation of all entries", func(g *gateways) {
		grant, _ := g.claim(long)
		g.lose(g.T)
		before, err := g.a.Read(g.ctx, key, endless)
		g.check("read", err, nil)
		g.check("invalidate all", g.a.InvalidateAll(g.ctx, long), nil)
		g.moved(before, g.read())
		g.refusePass()
		g.check("renew", g.a.Renew(g.ctx, grant, long), nil)
	}},
}
