// Package storetest states the contract of [etagcache.Store] as tests. A test of an
// implementation fills in a [Suite] and calls [Suite.Run] and [Suite.Stress].
package storetest

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Suite is the contract, for one implementation.
type Suite struct {
	// Open returns an empty store, opened by two gateways. Both may be the same
	// value. Open must arrange that they are closed when the test ends.
	Open func(t *testing.T) (a, b etagcache.Store)

	// Lose deletes everything from the store that was opened last. It is nil for
	// a store that loses nothing while its gateways run; then the rules about
	// losses are left out.
	Lose func(t *testing.T)

	// Forgets says that some calls go through an earlier version, which forgets the
	// variants for good when a pass begins, and keeps all entries for the whole retention. The
	// rules about both are left out.
	Forgets bool

	// Apart says that the store never takes a claim behind a settlement (Settlement.Next). The
	// rules about that are left out.
	Apart bool

	// In runs each test, for example in a synctest bubble: the tests depend on
	// time only by sleeping and waiting. Default: call the test.
	In func(t *testing.T, test func(t *testing.T))
}

// Run tests the implementation against all rules of the contract.
func (s Suite) Run(t *testing.T) {
	groups := []group{
		{"read", readRules},
		{"peek", peekRules},
		{"observe", observeRules},
		{"claim", claimRules},
		{"settle", settleRules},
		{"pass", slices.Concat(passRules, noReturnRules)},
		{"wait", waitRules},
		{"invalidate matching", invalidateMatchingRules},
		{"spent", withLag(slices.Concat(spentRules, spentPendingRules, spentBoundsRules, noReturnOfSpentRules))},
	}
	if !s.Forgets {
		groups = append(groups, group{"brief", withBrief(briefRules)}, group{"return", returnRules}, group{"return of spent states", withLag(returnOfSpentRules)})
	}
	if !s.Apart {
		groups = append(groups, group{"next", nextRules})
	}
	if s.Lose != nil {
		groups = append(groups, group{"loss", lossRules}, group{"loss of spent states", withLag(lossOfSpentRules)})
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, rule := range group.rules {
				t.Run(rule.name, func(t *testing.T) {
					s.in(t, func(t *testing.T) {
						a, b := s.Open(t)
						rule.test(&gateways{T: t, a: a, b: b, ctx: t.Context(), lose: s.Lose, terms: long})
					})
				})
			}
		})
	}
}

func (s Suite) in(t *testing.T, test func(t *testing.T)) {
	if s.In == nil {
		test(t)
		return
	}
	s.In(t, test)
}

type group struct {
	name  string
	rules []rule
}

type rule struct {
	name string
	test func(g *gateways)
}

// gateways is a test with two gateways. Its methods call a unless they say
// otherwise. They end the test if the outcome is not the expected one.
type gateways struct {
	*testing.T
	a, b etagcache.Store
	ctx  context.Context
	lose func(t *testing.T)
	// terms are those of the calls that don't name any.
	terms etagcache.Terms
}

const key = "GET https://example.com/a?b=c"

var (
	// long has a lease that outlasts any test, and no grace to wait for.
	long = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour}
	// short has a lease that a test can wait for.
	short = etagcache.Terms{Lease: 40 * time.Millisecond, Retention: 24 * time.Hour}
)

func (g *gateways) check(what string, err, want error) {
	g.Helper()
	if !errors.Is(err, want) {
		g.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func (g *gateways) read() etagcache.Entry {
	g.Helper()
	e, err := g.a.Read(g.ctx, key, g.terms)
	g.check("read", err, nil)
	if e.Epoch == "" {
		g.Fatal("read: no epoch")
	}
	return e
}

func (g *gateways) observe(before etagcache.Entry, o etagcache.Observation, want error) {
	g.Helper()
	g.check("observe", g.a.Observe(g.ctx, key, before, o, g.terms), want)
}

// seen stores an observation under the present epoch.
func (g *gateways) seen(o etagcache.Observation) {
	g.Helper()
	g.observe(g.read(), o, nil)
}

func (g *gateways) claim(t etagcache.Terms) (etagcache.Grant, etagcache.Entry) {
	g.Helper()
	grant, e, err := g.a.Claim(g.ctx, key, g.read().Epoch, t)
	g.check("claim", err, nil)
	return grant, e
}

func (g *gateways) pass(t etagcache.Terms) (etagcache.Grant, etagcache.Entry) {
	g.Helper()
	grant, e, err := g.a.Pass(g.ctx, key, t)
	g.check("pass", err, nil)
	return grant, e
}

// settle settles a grant. If the store tells what the entry is like then, that is what anybody
// else sees.
func (g *gateways) settle(grant etagcache.Grant, s etagcache.Settlement, want error) {
	g.Helper()
	var told etagcache.Entry
	s.After = &told
	g.check("settle", g.a.Settle(g.ctx, grant, s, g.terms), want)
	if told.Epoch == "" {
		return
	}
	seen, err := g.b.Peek(g.ctx, grant.Key)
	g.check("peek", err, nil)
	if got, want := after(told, seen.Now.Sub(told.Now)), after(seen.Entry, 0); !reflect.DeepEqual(got, want) && seen.Epoch == told.Epoch {
		g.Fatalf("settle: the entry is said to be %+v, but is %+v", got, want)
	}
}

// after returns an entry as it is after a while, without the times that are different then, and
// in order.
func after(e etagcache.Entry, d time.Duration) etagcache.Entry {
	then := etagcache.Entry{Epoch: e.Epoch, Vary: e.Vary, Receipt: e.Receipt, Latest: e.Latest}
	for _, variant := range e.Variants {
		variant.Age = 0
		then.Variants = append(then.Variants, variant)
	}
	slices.SortFunc(then.Variants, func(a, b etagcache.Variant) int { return cmp.Compare(a.Key, b.Key) })
	var spent []etagcache.SpentState
	for _, identity := range spentIn(e) {
		if e.Spent.Left(identity) > d {
			spent = append(spent, etagcache.SpentState{Identity: identity, Left: 1})
		}
	}
	then.Spent = etagcache.NewSpent(spent...)
	return then
}

// spentIn returns the identities of what is spent, in order, each once.
func spentIn(e etagcache.Entry) (identities []string) {
	for state := range e.Spent.All() {
		identities = append(identities, state.Identity)
	}
	slices.Sort(identities)
	return slices.Compact(identities)
}

func (g *gateways) invalidate() {
	g.Helper()
	g.check("invalidate", g.a.Invalidate(g.ctx, key, g.terms), nil)
}

// refuseClaim checks that b is refused a claim on the present epoch.
func (g *gateways) refuseClaim() {
	g.Helper()
	_, e, err := g.b.Claim(g.ctx, key, g.read().Epoch, g.terms)
	g.check("second claim", err, etagcache.ErrBusy)
	if e.Busy <= 0 || e.Epoch == "" {
		g.Fatalf("second claim: busy, but the entry is %+v", e)
	}
}

// refusePass checks that b is refused a pass.
func (g *gateways) refusePass() {
	g.Helper()
	_, e, err := g.b.Pass(g.ctx, key, g.terms)
	g.check("second pass", err, etagcache.ErrBusy)
	if e.Busy <= 0 || e.Epoch == "" {
		g.Fatalf("second pass: busy, but the entry is %+v", e)
	}
}

// lapse waits until the epoch moves because a lease or grace ends. It returns the
// entry as it is then.
func (g *gateways) lapse(epoch string) etagcache.Entry {
	g.Helper()
	for {
		e := g.read()
		if e.Epoch != epoch {
			return e
		}
		g.check("wait", g.a.Wait(g.ctx, key, e), nil)
	}
}

// tick waits until the store's clock is past t.
func (g *gateways) tick(t time.Time) {
	g.Helper()
	for !g.read().Now.After(t) {
		time.Sleep(time.Millisecond)
	}
}

func (g *gateways) idle(e etagcache.Entry) {
	g.Helper()
	if e.Busy != 0 {
		g.Fatalf("a write is in flight: %+v", e)
	}
}

func (g *gateways) moved(before, after etagcache.Entry) {
	g.Helper()
	if before.Epoch == after.Epoch {
		g.Fatalf("the epoch has not moved: %+v", after)
	}
}

func (g *gateways) unmoved(before, after etagcache.Entry) {
	g.Helper()
	if before.Epoch != after.Epoch {
		g.Fatalf("the epoch has moved: %+v", after)
	}
}

// knows checks that e holds exactly the given observations.
func (g *gateways) knows(e etagcache.Entry, want ...etagcache.Observation) {
	g.Helper()
	if len(e.Variants) != len(want) {
		g.Fatalf("got %d variants, want %d: %+v", len(e.Variants), len(want), e)
	}
	for _, o := range want {
		got, ok := e.Variants.Find(o.Variant)
		if !ok || !got.Observed.Equal(o.Observed) {
			g.Fatalf("variant %q: got %+v, want %+v", o.Variant, got, o)
		}
		if e.Vary != o.Vary {
			g.Fatalf("got Vary %q, want %q", e.Vary, o.Vary)
		}
		if got.Age < 0 || got.Age > time.Hour {
			g.Fatalf("variant %q: implausible age %v", o.Variant, got.Age)
		}
	}
}

// tagged returns an observation of a present representation.
func tagged(variant, tag string) etagcache.Observation {
	return etagcache.Observation{
		Variant: variant,
		Vary:    "accept",
		Observed: validator.Observed{
			Own: true,
			Representation: validator.Representation{
				State: validator.Present,
				ETag:  validator.ETag{Opaque: tag, Valid: true},
			},
		},
	}
}
