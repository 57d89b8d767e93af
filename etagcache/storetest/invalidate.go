package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// Keys that a store may have to treat differently from others.
var (
	longKey    = "example.com/" + strings.Repeat("long/", 100)
	oddKeys    = []string{"generation", "generation/a", "generation:{1}", longKey + "a", longKey + "b", "a*b", "a?b", "a[b]", `a\b`, "a^b", "a#b"}
	plainKeys  = []string{"example.com", "example.com/docs", "example.com/docs/a", "example.com/docs/a/b", "example.org/docs/a"}
	everything = append(append([]string(nil), oddKeys...), plainKeys...)
)

var invalidateMatchingRules = []rule{
	{"the entries below a prefix are invalidated and no others are", func(g *gateways) {
		before := g.fill(everything)
		for _, prefix := range append([]string{"", "example.com/", "example.com/docs/a", "nothing", longKey + strings.Repeat("x", 300)}, everything...) {
			n := g.invalidateMatching(prefix, func(string, bool) bool { return true })
			invalidated := 0
			for _, key := range everything {
				after := g.readAt(key)
				switch below := strings.HasPrefix(key, prefix); {
				case below:
					g.moved(before[key], after)
					g.knows(after)
					g.seenAt(key)
					after = g.readAt(key)
				case len(key) <= 100 && !strings.HasPrefix(key, "generation"):
					g.unmoved(before[key], after) // the rest may be invalidated needlessly
				}
				if after.Epoch != before[key].Epoch {
					invalidated++
				}
				before[key] = after
			}
			if n != invalidated {
				g.Fatalf("%q: it returned %d, but %d were invalidated", prefix, n, invalidated)
			}
		}
	}},

	{"an entry that does not match is not invalidated", func(g *gateways) {
		before := g.fill(everything)
		asked := map[string]bool{}
		n := g.invalidateMatching("example.com/docs", func(key string, whole bool) bool {
			if !whole {
				g.Errorf("%s is not reported as whole", key)
			}
			asked[key] = true
			return key == "example.com/docs/a"
		})
		if n != 1 || len(asked) != 3 {
			g.Fatalf("it returned %d after calls for %v", n, asked)
		}
		for _, key := range everything {
			if after := g.readAt(key); key == "example.com/docs/a" {
				g.moved(before[key], after)
			} else {
				g.unmoved(before[key], after)
			}
		}
	}},

	{"matches receives at least the beginning of a long key", func(g *gateways) {
		g.fill(everything)
		shown := 0
		g.invalidateMatching(longKey, func(key string, whole bool) bool {
			if !strings.HasPrefix(longKey+"a", key) && !strings.HasPrefix(longKey+"b", key) || whole && len(key) <= len(longKey) {
				g.Errorf("matches received %s, whole: %v", key, whole)
			}
			shown++
			return false
		})
		if shown < 2 {
			g.Fatalf("matches was called %d times", shown)
		}
	}},

	{"claims and passes outlive an invalidation but leave nothing known", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(long)
		g.invalidateMatching("GET ", func(string, bool) bool { return true })
		g.refuseClaim()
		g.check("renew", g.a.Renew(g.ctx, grant, long), nil)
		o := tagged("w", "2")
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: &o}, nil)
		g.knows(g.read())
		pass, _ := g.pass(long)
		g.invalidateMatching("GET ", func(string, bool) bool { return true })
		g.refuseClaim()
		g.settle(pass, etagcache.Settlement{}, nil)
		g.idle(g.read())
	}},

	{"a slow read does not bring back what was invalidated", func(g *gateways) {
		before := g.read()
		g.invalidateMatching("", func(string, bool) bool { return true })
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
	}},

	{"an invalidation wakes the waiters", func(g *gateways) {
		g.claim(long)
		g.prompt(func() func() {
			return func() { g.invalidateMatching("", func(string, bool) bool { return true }) }
		})
	}},

	{"no entry is left out while others are created", func(g *gateways) {
		keys := make([]string, 400)
		for i := range keys {
			keys[i] = fmt.Sprintf("example.com/%d", i)
		}
		before := g.fill(keys)
		ctx, cancel := context.WithCancel(g.ctx)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_, err := g.b.Read(ctx, fmt.Sprintf("example.com/new/%d/%d", worker, i), long)
					if err != nil && ctx.Err() == nil {
						g.Errorf("read: %v", err)
						return
					}
				}
			})
		}
		g.invalidateMatching("example.com/", func(string, bool) bool { return true })
		cancel()
		wg.Wait()
		for _, key := range keys {
			g.moved(before[key], g.readAt(key))
		}
	}},

	{"a call whose context is done invalidates nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		before := g.read()
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		_, err := g.a.InvalidateMatching(ctx, "", func(string, bool) bool { return true }, long)
		g.check("invalidate matching", err, context.Canceled)
		g.unmoved(before, g.read())
	}},
}

// fill stores an observation for each key and returns the entries.
func (g *gateways) fill(keys []string) map[string]etagcache.Entry {
	g.Helper()
	entries := make(map[string]etagcache.Entry)
	for _, key := range keys {
		g.seenAt(key)
		entries[key] = g.readAt(key)
	}
	return entries
}

func (g *gateways) seenAt(key string) {
	g.Helper()
	g.check("observe", g.a.Observe(g.ctx, key, g.readAt(key), tagged("v", "1"), long), nil)
}

func (g *gateways) readAt(key string) etagcache.Entry {
	g.Helper()
	e, err := g.a.Read(g.ctx, key, long)
	g.check("read", err, nil)
	return e
}

func (g *gateways) invalidateMatching(prefix string, matches func(key string, whole bool) bool) int {
	g.Helper()
	n, err := g.b.InvalidateMatching(g.ctx, prefix, matches, long)
	g.check("invalidate matching", err, nil)
	return n
}
