package storetest

import (
	"errors"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// forgetful has a retention that a test can wait for, of entries that know nothing.
var forgetful = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Brief: 50 * time.Millisecond}

var briefRules = []rule{
	{"an entry that was only read is kept briefly", func(g *gateways) {
		before := g.read()
		g.passBrief()
		g.moved(before, g.read())
	}},
	{"absence is kept briefly", func(g *gateways) {
		absent := tagged("v", "")
		absent.Observed = validator.Observed{Representation: validator.Representation{State: validator.Absent}}
		before := g.briefly(absent)
		g.passBrief()
		after := g.read()
		g.moved(before, after)
		g.knows(after)
	}},
	{"a representation with neither tag nor date is kept briefly", func(g *gateways) {
		untagged := tagged("v", "")
		untagged.Observed = validator.Observed{Representation: validator.Representation{State: validator.Present}}
		before := g.briefly(untagged)
		g.passBrief()
		g.moved(before, g.read())
	}},
	{"a tag is kept", func(g *gateways) {
		o := tagged("v", "a")
		before := g.briefly(o)
		g.passBrief()
		after := g.read()
		g.unmoved(before, after)
		g.knows(after, o)
	}},
	{"a date is kept", func(g *gateways) {
		o := tagged("v", "")
		o.Observed = validator.Observed{Representation: validator.Representation{
			State: validator.Present, LastModified: time.Unix(1e9, 0).UTC(),
		}}
		before := g.briefly(o)
		g.passBrief()
		after := g.read()
		g.unmoved(before, after)
		g.knows(after, o)
	}},
	{"an entry is kept as long as an earlier call has asked for", func(g *gateways) {
		before, err := g.a.Read(g.ctx, key, long)
		g.check("read", err, nil)
		g.unmoved(before, g.read())
		g.passBrief()
		g.unmoved(before, g.read())
	}},
	{"a claim outlasts the retention", func(g *gateways) {
		grant, _ := g.claimSoon()
		g.passBrief()
		g.refuseClaim()
		g.settle(grant, etagcache.Settlement{}, nil)
	}},
	{"a spent state outlasts the retention", func(g *gateways) {
		g.terms.Lag = time.Hour
		o := tagged("v", "a")
		g.briefly(o)
		grant, _ := g.claimSoon()
		g.settle(grant, etagcache.Settlement{}, nil)
		g.passBrief()
		if e := g.read(); !e.IsSpent(o.Observed) {
			g.Errorf("a state is no longer spent: %+v", e)
		}
	}},
	{"the result of a write that may be repeated is kept", func(g *gateways) {
		g.briefly(tagged("v", "a"))
		grant, _ := g.claimSoon()
		absent := tagged("v", "")
		absent.Observed = validator.Observed{Representation: validator.Representation{State: validator.Absent}}
		g.settle(grant, etagcache.Settlement{Observation: &absent, Receipt: "r"}, nil)
		g.passBrief()
		if e := g.read(); e.Receipt != "r" {
			g.Errorf("the receipt is forgotten: %+v", e)
		}
	}},
}

// withBrief makes rules apply to gateways that ask for brief terms.
func withBrief(rules []rule) (brieflyKept []rule) {
	for _, r := range rules {
		brieflyKept = append(brieflyKept, rule{r.name, func(g *gateways) {
			g.terms = forgetful
			r.test(g)
		}})
	}
	return brieflyKept
}

// passBrief waits until entries that know nothing are forgotten.
func (g *gateways) passBrief() { time.Sleep(2 * forgetful.Brief) }

// briefly stores an observation. A slow store may have forgotten the epoch before that. It
// returns the entry that was read before.
func (g *gateways) briefly(o etagcache.Observation) etagcache.Entry {
	g.Helper()
	for {
		before := g.read()
		err := g.a.Observe(g.ctx, key, before, o, g.terms)
		if !errors.Is(err, etagcache.ErrStale) {
			g.check("observe", err, nil)
			return before
		}
	}
}

// claimSoon takes a claim. A slow store may have forgotten the epoch before that.
func (g *gateways) claimSoon() (etagcache.Grant, etagcache.Entry) {
	g.Helper()
	for {
		grant, e, err := g.a.Claim(g.ctx, key, g.read().Epoch, g.terms)
		if !errors.Is(err, etagcache.ErrStale) {
			g.check("claim", err, nil)
			return grant, e
		}
	}
}
