package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

var (
	// lagging has a lag that outlasts any test in real time.
	lagging = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Lag: time.Hour}
	// laggingShort has in addition a lease that a test can wait for.
	laggingShort = etagcache.Terms{Lease: 40 * time.Millisecond, Retention: 24 * time.Hour, Lag: time.Hour}
	// brief has a lag that a test can wait for.
	brief = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Lag: 60 * time.Millisecond}
)

// withLag returns rules whose terms have a lag.
func withLag(rules []rule) []rule {
	rules = slices.Clone(rules)
	for i, r := range rules {
		rules[i].test = func(g *gateways) {
			g.terms = lagging
			r.test(g)
		}
	}
	return rules
}

// spentRules are about what a write replaces, and what proves that it is the present.
var spentRules = []rule{
	{"what a write replaced is spent for all gateways", func(g *gateways) {
		g.seen(tagged("v", "1"))
		g.seen(tagged("w", "2"))
		grant, claimed := g.claim(lagging)
		g.nothingSpent(claimed)
		g.settle(grant, etagcache.Settlement{}, nil)
		after, err := g.b.Read(g.ctx, key, lagging)
		g.check("read", err, nil)
		g.spent(after, tagged("v", "1"), tagged("w", "2"))
		for state := range after.Spent.All() {
			if state.Left > lagging.Lag+time.Millisecond {
				g.Fatalf("spent for %v", state.Left)
			}
		}
	}},

	{"an observation of a spent state stores nothing and moves nothing", func(g *gateways) {
		g.replace(tagged("v", "1"))
		before := g.read()
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		g.observe(before, tagged("w", "1"), etagcache.ErrSpent) // the state counts, not the variant
		o := tagged("v", "1")
		o.Own = false
		g.observe(before, o, etagcache.ErrSpent)
		o.ETag.Weak = true
		g.observe(before, o, etagcache.ErrSpent)
		// The caller need not have a lag itself, nor tell what it knew.
		g.check("observe", g.b.Observe(g.ctx, key, before, tagged("v", "1"), long), etagcache.ErrSpent)
		before.Spent = etagcache.Spent{}
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		after := g.read()
		g.unmoved(before, after)
		g.knows(after)
		g.spent(after, tagged("v", "1"))
		g.observe(after, tagged("v", "2"), nil)
		g.knows(g.read(), tagged("v", "2"))
	}},

	{"with what is known a spent state is still spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		before := g.read()
		g.observe(before, tagged("v", "1"), etagcache.ErrSpent)
		g.unmoved(before, g.read())
		g.knows(g.read(), tagged("v", "2"))
	}},

	{"a stale or early observation of a spent state is refused as ever", func(g *gateways) {
		before := g.read()
		g.replace(tagged("v", "1"))
		g.observe(before, tagged("v", "1"), etagcache.ErrStale)
		g.claim(lagging)
		before = g.read()
		before.Spent = etagcache.Spent{}
		g.observe(before, tagged("v", "1"), etagcache.ErrBusy)
	}},

	{"absent and dated states are spent as well", func(g *gateways) {
		absent := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Absent},
		}}
		dated := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Present, LastModified: time.Unix(1763769600, 0)},
		}}
		for _, o := range []etagcache.Observation{absent, dated} {
			g.replace(o)
			g.observe(g.read(), o, etagcache.ErrSpent)
		}
		g.spent(g.read(), absent, dated)
		dated.LastModified = dated.LastModified.Add(time.Second)
		g.seen(dated)
	}},

	{"a state without validators is never spent", func(g *gateways) {
		present := etagcache.Observation{Variant: "v", Observed: validator.Observed{
			Representation: validator.Representation{State: validator.Present},
		}}
		g.replace(etagcache.Observation{Variant: "v"})
		g.replace(present)
		g.nothingSpent(g.read())
		g.seen(present)
	}},

	{"an unchanged settlement spends nothing", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Unchanged: true, Replaced: ids(tagged("w", "2"))}, nil)
		after := g.read()
		g.nothingSpent(after)
		g.knows(after, tagged("v", "1"))
	}},

	{"a settlement can name further states", func(g *gateways) {
		g.seen(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Replaced: ids(tagged("w", "2"), tagged("v", "1"))}, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("w", "2"))
		pass, _ := g.pass(lagging)
		g.settle(pass, etagcache.Settlement{Replaced: ids(tagged("w", "3"))}, nil)
		g.spent(g.read(), tagged("v", "1"), tagged("w", "2"), tagged("w", "3"))
	}},

	{"a settlement does not store a spent state", func(g *gateways) {
		g.replace(tagged("v", "1"))
		for name, s := range map[string]etagcache.Settlement{
			"before":                {Observation: observed("v", "1"), Receipt: "r"},
			"by this settlement":    {Observation: observed("v", "2"), Receipt: "r", Replaced: ids(tagged("v", "2"))},
			"for the other variant": {Observation: observed("w", "1"), Receipt: "r"},
		} {
			grant, _ := g.claim(lagging)
			g.settle(grant, s, nil)
			after := g.read()
			if len(after.Variants) != 0 || after.Receipt != "" {
				g.Fatalf("%s: got %+v", name, after)
			}
		}
		g.seen(tagged("v", "3"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "3")}, nil)
		g.knows(g.read())
	}},

	{"an unchanged settlement with a spent state keeps what is known", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Unchanged: true, Observation: observed("v", "1")}, nil)
		g.knows(g.read(), tagged("v", "2"))
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"a proven state is stored and no longer spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		g.seen(tagged("v", "2"))
		grant, _ := g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "1"), Proven: true, Receipt: "r"}, nil)
		after := g.read()
		g.knows(after, tagged("v", "1"))
		g.receipt("r")
		g.spent(after, tagged("v", "2"))
		g.seen(tagged("v", "1"))
		g.observe(g.read(), tagged("v", "2"), etagcache.ErrSpent)

		// A write that replaces a state by itself.
		grant, _ = g.claim(lagging)
		g.settle(grant, etagcache.Settlement{
			Observation: observed("v", "1"), Proven: true, Replaced: ids(tagged("v", "1")),
		}, nil)
		g.knows(g.read(), tagged("v", "1"))
		g.spent(g.read(), tagged("v", "2"))

		// And back.
		grant, _ = g.claim(lagging)
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "2"), Proven: true}, nil)
		g.knows(g.read(), tagged("v", "2"))
		g.spent(g.read(), tagged("v", "1"))
	}},

	{"a proven state that is not stored stays spent", func(g *gateways) {
		g.replace(tagged("v", "1"))
		grant, _ := g.claim(lagging)
		g.invalidate()
		g.settle(grant, etagcache.Settlement{Observation: observed("v", "1"), Proven: true}, nil)
		g.knows(g.read())
		g.spent(g.read(), tagged("v", "1"))
		pass, _ := g.pass(lagging)
		g.settle(pass, etagcache.Settlement{Observation: observed("v", "1"), Proven: true}, nil)
		g.knows(g.read())
		g.spent(g.read(), tagged("v", "1"))
	}},
}

// replace performs a write that replaces o, which is known.
func (g *gateways) replace(o etagcache.Observation) {
	g.Helper()
	g.seen(o)
	grant, _ := g.claim(g.terms)
	g.settle(grant, etagcache.Settlement{}, nil)
	g.knows(g.read())
}

// writeReplaced performs a write that replaces o, which need not be known. It
// doesn't rely on the entry being kept between two calls.
func (g *gateways) writeReplaced(o etagcache.Observation) {
	g.Helper()
	_, e, err := g.a.Claim(g.ctx, key, "", g.terms)
	var grant etagcache.Grant
	for errors.Is(err, etagcache.ErrStale) {
		grant, e, err = g.a.Claim(g.ctx, key, e.Epoch, g.terms)
	}
	g.check("claim", err, nil)
	g.settle(grant, etagcache.Settlement{Replaced: ids(o)}, nil)
}

// spent checks that exactly the given states are spent, for most of the lag at least.
func (g *gateways) spent(e etagcache.Entry, want ...etagcache.Observation) {
	g.Helper()
	identities := ids(want...)
	slices.Sort(identities)
	if got := spentIn(e); !slices.Equal(got, slices.Compact(identities)) || e.Doubt != 0 {
		g.Fatalf("want %q to be spent: %+v", identities, e)
	}
	g.atLeast(e, lagging.Lag/2)
	for _, o := range want {
		if !e.IsSpent(o.Observed) {
			g.Fatalf("not spent: %+v", o)
		}
	}
	if e.IsSpent(tagged("", "never seen").Observed) || e.IsSpent(validator.Observed{}) {
		g.Fatal("everything is spent")
	}
}

func (g *gateways) nothingSpent(e etagcache.Entry) {
	g.Helper()
	if len(spentIn(e)) > 0 || e.Doubt != 0 {
		g.Fatalf("something is spent: %+v", e)
	}
}

// atLeast checks that the states are spent for at least that much longer.
func (g *gateways) atLeast(e etagcache.Entry, want time.Duration) {
	g.Helper()
	for _, identity := range spentIn(e) {
		if left := e.Spent.Left(identity); left < want {
			g.Fatalf("%q is spent for another %v, want at least %v", identity, left, want)
		}
	}
}

func ids(observations ...etagcache.Observation) (identities []string) {
	for _, o := range observations {
		identities = append(identities, o.Identity())
	}
	return identities
}

func observed(variant, tag string) *etagcache.Observation {
	o := tagged(variant, tag)
	return &o
}
