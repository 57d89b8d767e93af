package etagcache

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// spentStates holds what writes have replaced, by identity. AnyState is among them
// if there is a doubt.
type spentStates map[string]spentState

type spentState struct {
	// until is when the state is no longer spent.
	until time.Time
	// held means that it is also spent while a write is in flight, and for the
	// lag afterwards.
	held bool
}

// add makes a state spent until the given time, if it isn't for longer already.
func (s spentStates) add(identity string, until time.Time, held bool) {
	old := s[identity]
	if old.until.After(until) {
		until = old.until
	}
	s[identity] = spentState{until: until, held: held || old.held}
}

// letGo ends the holding when no write is in flight anymore: the states that were
// held are spent until the given time.
func (s spentStates) letGo(until time.Time) {
	for identity, state := range s {
		if state.held {
			s[identity] = spentState{until: laterOf(state.until, until)}
		}
	}
}

// tidy removes the states that are no longer spent at the time now. Of the others,
// it keeps those that end last, and replaces the rest by a doubt.
func (s spentStates) tidy(now time.Time) {
	maps.DeleteFunc(s, func(_ string, state spentState) bool { return !state.held && !state.until.After(now) })
	if len(s) <= MaxSpent {
		return
	}
	var identities []string
	for identity := range s {
		if identity != AnyState {
			identities = append(identities, identity)
		}
	}
	slices.SortFunc(identities, func(a, b string) int {
		x, y := s[a], s[b]
		switch {
		case x.held != y.held && x.held:
			return -1
		case x.held != y.held:
			return 1
		default:
			return cmp.Or(y.until.Compare(x.until), cmp.Compare(a, b))
		}
	})
	for _, identity := range identities[min(len(identities), MaxSpent):] {
		s.add(AnyState, s[identity].until, s[identity].held)
		delete(s, identity)
	}
}

// left returns for how much longer each state is spent, and how long the doubt
// lasts. States that are held are spent at least until the time ends.
func (s spentStates) left(now, ends time.Time) (spent map[string]time.Duration, doubt time.Duration) {
	for identity, state := range s {
		until := state.until
		if state.held {
			until = laterOf(until, ends)
		}
		left := until.Sub(now)
		switch {
		case left <= 0:
		case identity == AnyState:
			doubt = max(doubt, left)
		default:
			if spent == nil {
				spent = make(map[string]time.Duration, len(s))
			}
			spent[identity] = left
		}
	}
	return spent, doubt
}

// inUse reports whether any state is spent, or will be when the write in flight ends.
func (s spentStates) inUse(now time.Time) bool {
	for _, state := range s {
		if state.held || state.until.After(now) {
			return true
		}
	}
	return false
}

// spend makes states spent until the given time. While a write is in flight, they
// are also spent for the lag after it.
func (e *entry) spend(identities []string, until time.Time, lag time.Duration) {
	lag = max(lag, e.lag)
	if lag == 0 {
		return
	}
	if e.spent == nil {
		e.spent = make(spentStates, len(identities))
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
