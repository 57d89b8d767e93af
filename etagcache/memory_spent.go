package etagcache

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// spentStates are what writes have replaced. AnyState is among them if there is a doubt.
type spentStates struct {
	base time.Time
	// list says until when states are spent, each once, in ns since the base. Those that are held
	// are also spent while a write is in flight, and for the lag afterwards.
	list spentList
}

// letGo ends the holding when no write is in flight anymore: the states that were
// held are spent until the given time, or no longer than before if that is zero.
func (s *spentStates) letGo(until time.Time) { s.list.letGo(since(s.base, until)) }

// tidy removes the states that are no longer spent at the time now. Of the others, it keeps
// those that are held, then those that end last, and replaces the rest by a doubt.
func (s *spentStates) tidy(now time.Time) {
	s.list = s.list.dropUntil(since(s.base, now))
	if n := s.list.len(); n <= MaxSpent || n == MaxSpent+1 && s.list.find(AnyState) >= 0 {
		return
	}
	type state struct {
		identity string
		until    int64
		held     bool
	}
	var states []state
	for at := 0; at < len(s.list); at = s.list.end(at) {
		if one := (state{string(s.list.identity(at)), s.list.until(at), s.list.held(at)}); one.identity != AnyState {
			states = append(states, one)
		}
	}
	slices.SortFunc(states, func(a, b state) int {
		switch {
		case a.held == b.held:
			return cmp.Or(cmp.Compare(b.until, a.until), cmp.Compare(a.identity, b.identity))
		case a.held:
			return -1
		default:
			return 1
		}
	})
	for _, one := range states[MaxSpent:] {
		s.list = s.list.without(one.identity).add(AnyState, one.until, one.held)
	}
}

// left returns what is spent at the time now, and how long the doubt lasts. States that are
// held are spent at least until the time ends.
func (s *spentStates) left(now, ends time.Time) (spent Spent, doubt time.Duration) {
	if len(s.list) == 0 {
		return Spent{}, 0
	}
	spent = Spent{slices.Clone(s.list), since(s.base, now)}
	spent.list.letGo(since(s.base, ends))
	if at := spent.list.find(AnyState); at >= 0 {
		doubt = time.Duration(max(spent.list.until(at), spent.now) - spent.now)
		spent.list = slices.Delete(spent.list, at, spent.list.end(at))
	}
	return spent, doubt
}

// isSpent reports whether a state is spent at the time now. If it is held, it is until the time
// ends at least.
func (s *spentStates) isSpent(identity string, now, ends time.Time) bool {
	at := s.list.find(identity)
	return at >= 0 && (s.list.until(at) > since(s.base, now) || s.list.held(at) && ends.After(now))
}

// inUse reports whether any state is spent, or will be when the write in flight ends.
func (s *spentStates) inUse(now time.Time) bool {
	for at := 0; at < len(s.list); at = s.list.end(at) {
		if s.list.held(at) || s.list.until(at) > since(s.base, now) {
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
	held := len(e.leases) > 0
	for _, identity := range identities {
		if identity == "" {
			continue
		}
		e.spent.list = e.spent.list.add(identity, since(e.spent.base, until), held)
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
	if len(e.spent.list) == 0 {
		return false
	}
	ends := now.Add(e.busy(now) + e.lag)
	return o.State != validator.Unknown && e.spent.isSpent(AnyState, now, ends) || e.spent.isSpent(o.Identity(), now, ends)
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
