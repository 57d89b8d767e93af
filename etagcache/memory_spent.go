package etagcache

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// spentStates holds what writes have replaced, each state once. AnyState is among them
// if there is a doubt.
type spentStates []spentState

type spentState struct {
	identity string
	// until is when the state is no longer spent.
	until time.Time
	// held means that it is also spent while a write is in flight, and for the
	// lag afterwards.
	held bool
}

// add makes a state spent until the given time, if it isn't for longer already.
func (s *spentStates) add(identity string, until time.Time, held bool) {
	i := slices.IndexFunc(*s, func(state spentState) bool { return state.identity == identity })
	if i < 0 {
		*s = append(*s, spentState{identity, until, held})
		return
	}
	old := &(*s)[i]
	old.until, old.held = laterOf(old.until, until), held || old.held
}

func (s *spentStates) remove(identity string) {
	*s = slices.DeleteFunc(*s, func(state spentState) bool { return state.identity == identity })
}

// letGo ends the holding when no write is in flight anymore: the states that were
// held are spent until the given time.
func (s spentStates) letGo(until time.Time) {
	for i := range s {
		if s[i].held {
			s[i].until, s[i].held = laterOf(s[i].until, until), false
		}
	}
}

// tidy removes the states that are no longer spent at the time now. Of the others,
// it keeps those that end last, and replaces the rest by a doubt.
func (s *spentStates) tidy(now time.Time) {
	*s = slices.DeleteFunc(*s, func(state spentState) bool { return !state.held && !state.until.After(now) })
	if len(*s) <= MaxSpent {
		return
	}
	slices.SortFunc(*s, func(a, b spentState) int {
		rank := func(state spentState) int {
			switch {
			case state.identity == AnyState:
				return 0
			case state.held:
				return 1
			default:
				return 2
			}
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.until.Compare(a.until), cmp.Compare(a.identity, b.identity))
	})
	most := MaxSpent
	if (*s)[0].identity == AnyState {
		most++
	}
	rest := slices.Clone((*s)[min(len(*s), most):])
	*s = (*s)[:len(*s)-len(rest)]
	for _, state := range rest {
		s.add(AnyState, state.until, state.held)
	}
}

// left returns for how much longer each state is spent, and how long the doubt
// lasts. States that are held are spent at least until the time ends.
func (s spentStates) left(now, ends time.Time) (spent Spent, doubt time.Duration) {
	for _, state := range s {
		until := state.until
		if state.held {
			until = laterOf(until, ends)
		}
		left := until.Sub(now)
		switch {
		case left <= 0:
		case state.identity == AnyState:
			doubt = max(doubt, left)
		default:
			if spent == nil {
				spent = make(Spent, 0, len(s))
			}
			spent = append(spent, SpentState{state.identity, left})
		}
	}
	return spent, doubt
}

// inUse reports whether any state is spent, or will be when the write in flight ends.
func (s spentStates) inUse(now time.Time) bool {
	return slices.ContainsFunc(s, func(state spentState) bool { return state.held || state.until.After(now) })
}

// spend makes states spent until the given time. While a write is in flight, they
// are also spent for the lag after it.
func (e *entry) spend(identities []string, until time.Time, lag time.Duration) {
	lag = max(lag, e.lag)
	if lag == 0 {
		return
	}
	held := len(e.leases) > 0
	for _, identity := range identities {
		if identity == "" {
			continue
		}
		e.spent.add(identity, until, held)
		if held {
			e.lag = max(e.lag, lag)
		}
	}
}

// replace forgets the variants because a write has or may have replaced them. They
// are spent as by spend.
func (e *entry) replace(until time.Time, lag time.Duration) {
	spendVariants(e, until, lag)
	e.drop()
}

// spendVariants makes the variants spent as by spend.
func spendVariants(e *entry, until time.Time, lag time.Duration) {
	var identities []string
	for _, v := range e.variants {
		identities = append(identities, v.Identity())
	}
	if len(e.variants) == MaxVariants {
		identities = append(identities, AnyState) // others may have been displaced
	}
	e.spend(identities, until, lag)
}

// invalidate reports a change at the time now.
func (e *entry) invalidate(now time.Time, t Terms) {
	lag := max(e.lag, t.Lag)
	e.replace(now.Add(lag), lag)
	e.spent.tidy(now)
	e.move(NewToken())
}

// isSpent reports whether o may be the past.
func (e *entry) isSpent(o validator.Observed, now time.Time) bool {
	if len(e.spent) == 0 {
		return false
	}
	spent, doubt := e.spent.left(now, now.Add(e.busy(now)+e.lag))
	return Entry{Spent: spent, Doubt: doubt}.IsSpent(o)
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
