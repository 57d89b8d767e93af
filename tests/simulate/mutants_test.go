package simulate

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// mutant breaks one rule of the handler, from outside: in what the handler learns from the
// store, the proxy or the clock.
type mutant struct {
	title   string
	promise promise                                      // the only one to check, if set
	store   func(*node, etagcache.Store) etagcache.Store // as a node reaches it

	blind    bool // the proxy doesn't ask whether the claim is held before it sends
	hasty    bool // an answer counts as complete when it begins
	believes bool // an answer after which the write may still be applied counts as the end
	releases bool // a claim ends when its client goes away
	grants   bool // the store grants at once what it has forgotten
}

// status returns the status of an answer as the handler learns it.
func (m mutant) status(status int) int {
	if m.believes && (status == 0 || slices.Contains(lateStatuses, status)) {
		return http.StatusInternalServerError
	}
	return status
}

// mutants prove that the simulation finds what it looks for, and how soon.
var mutants = []struct {
	mutant
	seeds uint64 // within which it is found
}{
	{mutant{title: "a claim ends when the answer begins", promise: noLostUpdate, hasty: true}, 200},
	{mutant{title: "any answer is the end of a write", promise: noLostUpdate, believes: true}, 200},
	{mutant{title: "a timer alone tells when a lease is lost", promise: noLostUpdate, blind: true}, 4000},
	{mutant{title: "a claim ends with its client", promise: noLostUpdate, releases: true}, 4000},
	{mutant{title: "a loss of the lease goes unnoticed", promise: rightTag, store: newUnaware}, 4000},
	{mutant{title: "the store grants what it has forgotten", promise: noLostUpdate, grants: true}, 12000},
	{mutant{title: "dates repeat", promise: datesDiffer, store: newCoarse}, 4000},
	{mutant{title: "a claim ignores the epoch", promise: noLostUpdate, store: newAnyEpoch}, 4000},
	{mutant{title: "a claim isn't kept when there is no answer", promise: noLostUpdate, store: newImpatient}, 4000},
	{mutant{title: "a pass keeps no claim out", promise: noLostUpdate, store: newCareless}, 4000},
	{mutant{title: "a spent state is forgotten", promise: noLostUpdate, store: newForgetful}, 4000},
}

func TestSimulationFindsMutants(t *testing.T) {
	some := mutants
	if testing.Short() || raced {
		some = mutants[:2]
	}
	for _, m := range some {
		t.Run(m.title, func(t *testing.T) {
			t.Parallel()
			for seed := range m.seeds {
				p := draw(seed + 1)
				if m.grants && !p.redis {
					continue // the store in memory forgets nothing
				}
				if r := simulate(t, p, m.mutant); r.violated != nil {
					t.Logf("%s: found by seed %d: %s", m.title, seed+1, r.violated.text)
					return
				}
			}
			t.Errorf("not found by %d seeds", m.seeds)
		})
	}
}

// unaware tells its node that it holds whatever it has once held.
type unaware struct{ etagcache.Store }

func newUnaware(_ *node, s etagcache.Store) etagcache.Store { return unaware{s} }

func (s unaware) Renew(context.Context, etagcache.Grant, etagcache.Terms) error { return nil }

func (s unaware) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if err := s.Store.Settle(ctx, g, settlement, t); !errors.Is(err, etagcache.ErrLost) {
		return err
	}
	return nil
}

// coarse dates what it sees to ten seconds.
type coarse struct{ etagcache.Store }

func newCoarse(_ *node, s etagcache.Store) etagcache.Store { return coarse{s} }

func (s coarse) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	e, err := s.Store.Read(ctx, key, t)
	return coarsely(e), err
}

func (s coarse) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	g, e, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	return g, coarsely(e), err
}

func coarsely(e etagcache.Entry) etagcache.Entry {
	for i := range e.Variants {
		e.Variants[i].Since = e.Variants[i].Since.Truncate(10 * time.Second)
	}
	return e
}

// anyEpoch grants claims whatever has happened since the epoch was read.
type anyEpoch struct{ etagcache.Store }

func newAnyEpoch(_ *node, s etagcache.Store) etagcache.Store { return anyEpoch{s} }

func (s anyEpoch) Claim(ctx context.Context, key, _ string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	e, err := s.Store.Read(ctx, key, t)
	if err != nil {
		return etagcache.Grant{}, e, err
	}
	return s.Store.Claim(ctx, key, e.Epoch, t, replaces...)
}

// impatient ends a claim that must be kept because its write may still land.
type impatient struct{ etagcache.Store }

func newImpatient(_ *node, s etagcache.Store) etagcache.Store { return impatient{s} }

func (s impatient) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	if stepsOf(ctx) != nil { // not from a lease's timer
		return s.Store.Settle(ctx, g, etagcache.Settlement{}, t)
	}
	return s.Store.Renew(ctx, g, t)
}

// careless grants passes that claims don't respect.
type careless struct{ etagcache.Store }

func newCareless(_ *node, s etagcache.Store) etagcache.Store { return careless{s} }

func (s careless) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	e, err := s.Store.Read(ctx, key, t)
	if err == nil && e.Busy > 0 {
		err = etagcache.ErrBusy
	}
	return etagcache.Grant{Key: key, Token: etagcache.NewToken(), Pass: true}, e, err
}

func (s careless) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	if g.Pass {
		return nil
	}
	return s.Store.Renew(ctx, g, t)
}

func (s careless) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if g.Pass {
		return s.Store.Invalidate(ctx, g.Key, t)
	}
	return s.Store.Settle(ctx, g, settlement, t)
}

// forgetful keeps no spent states.
type forgetful struct{ etagcache.Store }

func newForgetful(_ *node, s etagcache.Store) etagcache.Store { return forgetful{s} }

func (s forgetful) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	t.Lag = 0
	g, e, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	e.Spent = etagcache.Spent{}
	return g, e, err
}

func (s forgetful) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	e, err := s.Store.Read(ctx, key, t)
	e.Spent = etagcache.Spent{}
	return e, err
}

func (s forgetful) Spend(context.Context, etagcache.Grant, []string, etagcache.Terms) error {
	return nil
}

func (s forgetful) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	t.Lag = 0
	return s.Store.Settle(ctx, g, settlement, t)
}
