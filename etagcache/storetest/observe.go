package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

var observeRules = []rule{
	{"what one gateway observed is known to all", func(g *gateways) {
		before := g.read()
		g.observe(before, tagged("v", "1"), nil)
		after, err := g.b.Read(g.ctx, key, long)
		g.check("read", err, nil)
		g.unmoved(before, after)
		g.knows(after, tagged("v", "1"))
	}},

	{"a repeated observation changes nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		before := g.read()
		g.seen(tagged("v", "1"))
		g.unmoved(before, g.read())
		g.knows(g.read(), tagged("v", "1"), tagged("w", "2"))
	}},

	{"the time of the last change is by the store's clock", func(g *gateways) {
		since := func() time.Time { return g.read().Variants.Of("v").Since }
		begun := g.read().Now
		g.seen(tagged("v", "1"))
		first := since()
		if first.Before(begun) || first.After(g.read().Now) {
			g.Fatalf("unchanged since %v, want a time between %v and %v", first, begun, g.read().Now)
		}
		g.tick(first)
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		o := tagged("v", "1")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		if got := since(); !got.Equal(first) {
			g.Fatalf("unchanged since %v, want %v as before", got, first)
		}
		g.seen(tagged("v", "2"))
		second := since()
		if !second.After(first) {
			g.Fatalf("after a change it is unchanged since %v, want a time after %v", second, first)
		}
		g.tick(second)
		g.write("")
		if got := since(); !got.After(second) {
			g.Fatalf("after a write it is unchanged since %v, want a time after %v", got, second)
		}
	}},

	{"nothing is stored under an epoch that has moved", func(g *gateways) {
		before := g.read()
		g.invalidate()
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
		g.knows(g.read())
	}},

	{"nothing is stored without a read", func(g *gateways) {
		g.observe(etagcache.Entry{}, tagged("v", "1"), etagcache.ErrStale)
		g.observe(etagcache.Entry{Epoch: "x"}, tagged("v", "1"), etagcache.ErrStale)
		g.knows(g.read())
	}},

	{"a slow read does not bring back what a write changed", func(g *gateways) {
		before := g.read()
		grant, _ := g.claim(long)
		g.settle(grant, etagcache.Settlement{}, nil)
		g.observe(before, tagged("v", "old"), etagcache.ErrStale)
		g.knows(g.read())
	}},

	{"nothing is stored while a write is in flight", func(g *gateways) {
		grant, _ := g.claim(long)
		g.observe(g.read(), tagged("v", "1"), etagcache.ErrBusy)
		g.settle(grant, etagcache.Settlement{}, nil)
		grant, _ = g.pass(long)
		g.observe(g.read(), tagged("v", "1"), etagcache.ErrBusy)
		g.settle(grant, etagcache.Settlement{}, nil)
		g.knows(g.read())
	}},

	{"a change drops the other variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "1"))
		before := g.read()
		g.observe(before, tagged("v", "2"), nil)
		g.moved(before, g.read())
		g.knows(g.read(), tagged("v", "2"))
		g.observe(before, tagged("w", "1"), etagcache.ErrStale)
	}},

	{"any difference is a change", func(g *gateways) {
		o := tagged("v", "1")
		o.LastModified = time.Unix(1763769600, 0)
		differences := []func(*etagcache.Observation){
			func(o *etagcache.Observation) { o.Own = false },
			func(o *etagcache.Observation) { o.WeakDate = true },
			func(o *etagcache.Observation) { o.LastModified = o.LastModified.Add(time.Second) },
			func(o *etagcache.Observation) { o.LastModified = time.Time{} },
			func(o *etagcache.Observation) { o.ETag.Weak = true },
			func(o *etagcache.Observation) { o.ETag.Opaque = "" },
			func(o *etagcache.Observation) { o.ETag = validator.ETag{} },
			func(o *etagcache.Observation) { o.Representation = validator.Representation{State: validator.Absent} },
		}
		for i, differ := range differences {
			g.invalidate()
			g.seen(o)
			before := g.read()
			other := o
			differ(&other)
			g.observe(before, other, nil)
			if after := g.read(); after.Epoch == before.Epoch {
				g.Fatalf("difference %d is not a change", i)
			}
			g.knows(g.read(), other)
		}
	}},

	{"the backend's own tag is kept beside the representation", func(g *gateways) {
		for _, backend := range []validator.ETag{{}, {Opaque: "1", Valid: true}, {Opaque: `a "b`, Weak: true, Valid: true}, {Valid: true}, {}} {
			o := tagged("v", "1")
			o.Own, o.Backend = false, backend
			g.seen(o)
			g.knows(g.read(), o)
			grant, _ := g.claim(long)
			g.settle(grant, etagcache.Settlement{Unchanged: true}, nil)
			g.knows(g.read(), o)
			grant, _ = g.claim(long)
			g.settle(grant, etagcache.Settlement{Observation: &o}, nil)
			g.knows(g.read(), o)
		}
	}},

	{"a different tag of the backend's own is no change", func(g *gateways) {
		with := func(backend string) etagcache.Observation {
			o := tagged("v", "1")
			o.Own, o.Backend = false, validator.ETag{Opaque: backend, Weak: true, Valid: true}
			return o
		}
		g.seen(tagged("w", "2"))
		g.seen(with("1"))
		before := g.read()
		g.tick(before.Now)
		g.observe(before, with("2"), nil)
		g.observe(before, with("3"), nil) // of a read that began before
		after := g.read()
		g.unmoved(before, after)
		g.knows(after, tagged("w", "2"), with("3"))
		if since := after.Variants.Of("v").Since; !since.Equal(before.Variants.Of("v").Since) {
			g.Fatalf("unchanged since %v, want %v", since, before.Variants.Of("v").Since)
		}
	}},

	{"a tag of the backend's own goes with its variant", func(g *gateways) {
		with := func(variant, tag string) etagcache.Observation {
			o := tagged(variant, tag)
			o.Own, o.Backend = false, validator.ETag{Opaque: variant, Weak: true, Valid: true}
			return o
		}
		without := tagged("v", "1")
		without.Own = false
		forgotten := map[string]func(){
			"invalidated": g.invalidate,
			"written":     func() { g.write("") },
			"displaced": func() {
				time.Sleep(2 * time.Millisecond)
				for i := range etagcache.MaxVariants {
					g.seen(with(fmt.Sprint(i), "1"))
				}
				g.seen(without)
			},
			"replaced": func() { g.seen(with("w", "1")); g.seen(with("w", "2")) },
		}
		for name, forget := range forgotten {
			g.invalidate()
			g.seen(with("v", "1"))
			forget()
			g.seen(without)
			if got := g.read().Variants.Of("v").Backend; got.Valid {
				g.Fatalf("%s: the tag is %s", name, got)
			}
		}
	}},

	{"two reads that disagree leave nothing known", func(g *gateways) {
		g.seen(tagged("w", "1"))
		before := g.read()
		g.observe(before, tagged("v", "1"), nil)
		g.observe(before, tagged("v", "2"), etagcache.ErrStale)
		after := g.read()
		g.moved(before, after)
		g.knows(after)
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
	}},

	{"two reads that agree are both accepted", func(g *gateways) {
		before := g.read()
		g.observe(before, tagged("v", "1"), nil)
		g.observe(before, tagged("v", "1"), nil)
		g.unmoved(before, g.read())
		g.knows(g.read(), tagged("v", "1"))
	}},

	{"of two reads that see the same change one is stale", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		g.observe(before, tagged("v", "2"), nil)
		g.observe(before, tagged("v", "2"), etagcache.ErrStale)
		g.knows(g.read(), tagged("v", "2"))
	}},

	{"a different Vary drops the variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		o := tagged("w", "2")
		o.Vary = "accept-language"
		g.observe(before, o, nil)
		g.moved(before, g.read())
		g.knows(g.read(), o)
	}},

	{"the key of a variant is any text", func(g *gateways) {
		o := tagged("m2h9YEIzeGO4wsEc1wMHlQ\naccept: text/html, */*;q=0.8\naccept-language: \xe4\n", "1")
		o.Own, o.Backend = false, validator.ETag{Opaque: "1", Weak: true, Valid: true}
		longest := tagged(strings.Repeat("x", 320), "2")
		g.seen(o)
		g.seen(longest)
		g.knows(g.read(), o, longest)
	}},

	{"the number of variants is bounded", func(g *gateways) {
		variant := func(i int) etagcache.Observation { return tagged(fmt.Sprint(i), "1") }
		g.seen(variant(0))
		before := g.read()
		time.Sleep(2 * time.Millisecond) // this makes variant 0 the oldest
		const more = 3
		for i := 1; i < etagcache.MaxVariants+more; i++ {
			g.observe(g.read(), variant(i), nil)
		}
		after := g.read()
		g.unmoved(before, after)
		if n := len(after.Variants); n != etagcache.MaxVariants {
			g.Fatalf("got %d variants", n)
		}
		if _, ok := after.Variants.Find("0"); ok {
			g.Fatal("the oldest variant is still there")
		}
		newest := variant(etagcache.MaxVariants + more - 1)
		if _, ok := after.Variants.Find(newest.Variant); !ok {
			g.Fatal("the newest variant is missing")
		}
		g.seen(newest) // displaces nothing
		if n := len(g.read().Variants); n != etagcache.MaxVariants {
			g.Fatalf("got %d variants", n)
		}

		// The entry as read before still says what the displaced variant was.
		g.observe(before, variant(0), nil)
		g.unmoved(before, g.read())
		g.observe(before, variant(1), nil)
	}},

	{"a change of a displaced variant is noticed", func(g *gateways) {
		g.seen(tagged("0", "1"))
		before := g.read()
		time.Sleep(2 * time.Millisecond)
		for i := range etagcache.MaxVariants {
			g.seen(tagged(fmt.Sprint(i+1), "1"))
		}
		g.observe(before, tagged("0", "2"), nil)
		g.moved(before, g.read())
		g.knows(g.read(), tagged("0", "2"))
	}},

	{"invalidate drops the variants", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		g.check("invalidate", g.b.Invalidate(g.ctx, key, long), nil)
		g.moved(before, g.read())
		g.knows(g.read())
	}},

	{"an entry that does not exist can be invalidated", func(g *gateways) {
		g.invalidate()
		g.knows(g.read())
	}},
}
