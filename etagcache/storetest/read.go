package storetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

var readRules = []rule{
	{"a read creates an entry and later reads return it", func(g *gateways) {
		first := g.read()
		g.idle(first)
		g.knows(first)
		second, err := g.b.Read(g.ctx, key, long)
		g.check("read", err, nil)
		g.unmoved(first, second)
	}},

	{"epochs are never reused", func(g *gateways) {
		epochs := map[string]bool{}
		fresh := func(e etagcache.Entry) {
			g.Helper()
			if epochs[e.Epoch] {
				g.Fatalf("epoch %q is reused", e.Epoch)
			}
			epochs[e.Epoch] = true
		}
		fresh(g.read())
		for range 3 {
			g.seen(tagged("v", "1"))
			g.seen(tagged("v", "2"))
			fresh(g.read())
			grant, e := g.claim(long)
			fresh(e)
			g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
			fresh(g.read())
			grant, e = g.claim(long)
			fresh(e)
			g.invalidate()
			fresh(g.read())
			g.settle(grant, etagcache.Settlement{}, nil)
			fresh(g.read())
			_, e = g.claim(short)
			fresh(e)
			fresh(g.lapse(e.Epoch))
			grant, e = g.pass(long)
			fresh(e)
			g.settle(grant, etagcache.Settlement{}, nil)
			fresh(g.read())
		}
	}},

	{"entries are independent", func(g *gateways) {
		const other = key + "&d"
		before, err := g.a.Read(g.ctx, other, long)
		g.check("read", err, nil)
		g.seen(tagged("v", "1"))
		g.claim(long)
		g.invalidate()
		after, err := g.a.Read(g.ctx, other, long)
		g.check("read", err, nil)
		g.unmoved(before, after)
		g.idle(after)
		g.knows(after)
	}},

	{"an invalidation of all entries leaves none out", func(g *gateways) {
		g.check("invalidate all", g.a.InvalidateAll(g.ctx, long), nil) // without entries
		const claimed = key + "&claimed"
		var keys []string
		before := map[string]etagcache.Entry{}
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("%s&%d", key, i))
		}
		read := func(k string) etagcache.Entry {
			g.Helper()
			e, err := g.a.Read(g.ctx, k, long)
			g.check("read", err, nil)
			return e
		}
		for _, k := range keys {
			g.check("observe", g.a.Observe(g.ctx, k, read(k), tagged("v", "1"), long), nil)
			before[k] = read(k)
		}
		g.check("observe", g.a.Observe(g.ctx, claimed, read(claimed), tagged("v", "1"), long), nil)
		grant, held, err := g.a.Claim(g.ctx, claimed, read(claimed).Epoch, long)
		g.check("claim", err, nil)

		g.check("invalidate all", g.b.InvalidateAll(g.ctx, long), nil)
		g.check("observe", g.a.Observe(g.ctx, keys[0], before[keys[0]], tagged("v", "1"), long), etagcache.ErrStale)
		_, _, err = g.a.Claim(g.ctx, keys[1], before[keys[1]].Epoch, long)
		g.check("claim", err, etagcache.ErrStale)
		for _, k := range keys {
			after := read(k)
			g.moved(before[k], after)
			g.knows(after)
			g.idle(after)
			g.unmoved(after, read(k))
		}
		g.check("wait", g.a.Wait(g.ctx, claimed, held), nil)
		g.moved(held, read(claimed))
		_, _, err = g.b.Pass(g.ctx, claimed, long)
		g.check("pass", err, etagcache.ErrBusy)
		g.check("renew", g.a.Renew(g.ctx, grant, long), nil)
		g.check("settle", g.a.Settle(g.ctx, grant, etagcache.Settlement{Unchanged: true}, long), nil)
		g.knows(read(claimed))
	}},

	{"an unused entry is forgotten after its retention", func(g *gateways) {
		brief := etagcache.Terms{Lease: time.Hour, Retention: 30 * time.Millisecond}
		before, err := g.a.Read(g.ctx, key, brief)
		g.check("read", err, nil)
		err = g.a.Observe(g.ctx, key, before, tagged("v", "1"), brief)
		if err != nil {
			g.check("observe", err, etagcache.ErrStale) // already forgotten
		}
		time.Sleep(brief.Retention + time.Millisecond)
		after := g.read()
		g.moved(before, after)
		g.knows(after)
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
	}},

	{"an entry with a claim is not forgotten", func(g *gateways) {
		brief := etagcache.Terms{Lease: time.Hour, Retention: time.Millisecond}
		for {
			e, err := g.a.Read(g.ctx, key, brief)
			g.check("read", err, nil)
			_, _, err = g.a.Claim(g.ctx, key, e.Epoch, brief)
			if err == nil {
				break
			}
			g.check("claim", err, etagcache.ErrStale) // forgotten before
		}
		time.Sleep(5 * time.Millisecond)
		g.refuseClaim()
	}},

	{"keys that differ in one byte have different entries", func(g *gateways) {
		long1, long2 := strings.Repeat("k", 5000)+"1", strings.Repeat("k", 5000)+"2"
		epochs := map[string]string{}
		for _, k := range []string{"", "k", "K", "k ", "k\x00", "k\n", "k\xff", "{k}", "ключ", "*", long1, long2} {
			e, err := g.a.Read(g.ctx, k, long)
			g.check("read", err, nil)
			if other, ok := epochs[e.Epoch]; ok {
				g.Fatalf("%.10q and %.10q have the same entry", other, k)
			}
			epochs[e.Epoch] = k
			again, err := g.b.Read(g.ctx, k, long)
			g.check("read", err, nil)
			g.unmoved(e, again)
		}
	}},

	{"a read returns what was stored", func(g *gateways) {
		var want []etagcache.Observation
		add := func(own bool, r validator.Representation) {
			variant := fmt.Sprintf("%d\x00 %%\xff\"{:", len(want))
			want = append(want, etagcache.Observation{
				Variant:  variant,
				Vary:     "accept, \xe4",
				Observed: validator.Observed{Own: own, Representation: r},
			})
		}
		add(false, validator.Representation{})
		add(false, validator.Representation{State: validator.Absent})
		add(true, validator.Representation{State: validator.Present})
		for _, opaque := range []string{"", "a", `W/"`, `"`, " a  b ", "\x80\xff", "ä€", strings.Repeat("x", 3000)} {
			for _, weak := range []bool{false, true} {
				add(weak, validator.Representation{
					State: validator.Present,
					ETag:  validator.ETag{Opaque: opaque, Weak: weak, Valid: true},
				})
			}
		}
		for _, seconds := range []int64{-1, 0, 1, 1 << 31, 1763769600} {
			add(false, validator.Representation{
				State:        validator.Present,
				LastModified: time.Unix(seconds, 0),
				WeakDate:     seconds%2 == 0,
			})
		}
		for _, o := range want {
			g.seen(o)
		}
		g.knows(g.read(), want...)
		// Each comes back equal, so observing it again changes nothing.
		for _, o := range want {
			g.seen(o)
		}
		g.knows(g.read(), want...)
	}},

	{"a call whose context is done has no effect", func(g *gateways) {
		before := g.read()
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		_, err := g.a.Read(ctx, key, long)
		g.check("read", err, context.Canceled)
		err = g.a.Observe(ctx, key, before, tagged("v", "1"), long)
		g.check("observe", err, context.Canceled)
		_, _, err = g.a.Claim(ctx, key, before.Epoch, long)
		g.check("claim", err, context.Canceled)
		_, _, err = g.a.Pass(ctx, key, long)
		g.check("pass", err, context.Canceled)
		g.check("invalidate", g.a.Invalidate(ctx, key, long), context.Canceled)
		g.check("invalidate all", g.a.InvalidateAll(ctx, long), context.Canceled)
		g.check("wait", g.a.Wait(ctx, key, before), context.Canceled)
		g.unmoved(before, g.read())
		grant, claimed := g.claim(long)
		g.check("renew", g.a.Renew(ctx, grant, long), context.Canceled)
		g.check("settle", g.a.Settle(ctx, grant, etagcache.Settlement{}, long), context.Canceled)
		g.unmoved(claimed, g.read())
		g.refuseClaim()
	}},
}
