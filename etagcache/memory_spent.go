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
	// list says until when states are spent, each once, in ns since the base.
	list spentList
	// held are spent, each once, while a write is in flight, and for the lag afterwards. They
	// may be in the list as well.
	held []string
}

// add makes a state spent until the given time, if it isn't for longer already.
func (s *spentStates) add(identity string, until time.Time) {
	s.list = s.list.raise(identity, since(s.base, until))
}

// hold makes a state spent while a write is in flight, and for the lag afterwards.
func (s *spentStates) hold(identity string) {
	if !slices.Contains(s.held, identity) {
		s.held = append(s.held, identity)
	}
}

func (s *spentStates) remove(identity string) {
	s.list = s.list.without(identity)
	s.held = slices.DeleteFunc(s.held, func(held string) bool { return held == identity })
}

// letGo ends the holding when no write is in flight anymore: the states that were
// held are spent until the given time, or no longer than before if that is zero.
func (s *spentStates) letGo(until time.Time) {
	if !until.IsZero() {
		for _, identity := range s.held {
			s.add(identity, until)
		}
	}
	s.held = s.held[:0]
}

// tidy removes the states that are no longer spent at the time now. Of the others, it keeps
// those that are held, then those that end last, and replaces the rest by a doubt.
func (s *spentStates) tidy(now time.Time) {
	s.list = s.list.after(since(s.base, now))
	if s.list.len()+len(s.held) <= MaxSpent {
		return
	}
	type state struct {
		identity string
		until    int64
		held     bool
	}
	var states []state
	for _, identity := range s.held {
		if s.list.find(identity) < 0 {
			states = append(states, state{identity, never, true})
		}
	}
	for identity, until := range s.list.all() {
		states = append(states, state{string(identity), until, slices.Contains(s.held, string(identity))})
	}
	states = slices.DeleteFunc(states, func(one state) bool { return one.identity == AnyState })
	slices.SortFunc(states, func(a, b state) int {
		if a.held != b.held && a.held {
			return -1
		}
		if a.held != b.held {
			return 1
		}
		return cmp.Or(cmp.Compare(b.until, a.until), cmp.Compare(a.identity, b.identity))
	})
	for _, one := range states[min(MaxSpent, len(states)):] {
		s.remove(one.identity)
		if one.held {
			s.hold(AnyState)
		}
		if one.until != never {
			s.list = s.list.raise(AnyState, one.until)
		}
	}
}

// left returns what is spent at the time now, and how long the doubt lasts. States that are
// held are spent at least until the time ends.
func (s *spentStates) left(now, ends time.Time) (spent Spent, doubt time.Duration) {
	if len(s.list) == 0 && len(s.held) == 0 {
		return Spent{}, 0
	}
	spent = Spent{slices.Clone(s.list), since(s.base, now)}
	for _, identity := range s.held {
		spent.list = spent.list.raise(identity, since(s.base, ends))
	}
	if at := spent.list.find(AnyState); at >= 0 {
		doubt = time.Duration(spent.list.until(at) - spent.now)
		spent.list = slices.Delete(spent.list, at, spent.list.end(at))
	}
	return spent, max(0, doubt)
}

// leftOf returns for how much longer a state is spent at the time now, as in what left returns.
func (s *spentStates) leftOf(identity string, now, ends time.Time) time.Duration {
	left := Spent{s.list, since(s.base, now)}.Left(identity)
	if slices.Contains(s.held, identity) {
		left = max(left, ends.Sub(now))
	}
	return left
}

// inUse reports whether any state is spent, or will be when the write in flight ends.
func (s *spentStates) inUse(now time.Time) bool {
	if len(s.held) > 0 {
		return true
	}
	for _, until := range s.list.all() {
		if until > since(s.base, now) {
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
		if !until.IsZero() {
			e.spent.add(identity, until)
		}
		if held {
			e.spent.hold(identity)
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
	ends := now.Add(e.busy(now) + e.lag)
	return o.State != validator.Unknown && e.spent.leftOf(AnyState, now, ends) > 0 || e.spent.leftOf(o.Identity(), now, ends) > 0
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
