package etagcache

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// entry is an Entry as Memory keeps it. It follows the same rules as the scripts
// in the directory lua; the suite in storetest tests both.
type entry struct {
	key   string
	epoch string

	leases  leases
	claimed bool // the only lease is a claim
	// lag is the longest Lag of the calls that the leases come from. It is zero
	// without a lease.
	lag time.Duration

	// reserved is the time until which passes are refused in favor of a claim
	// that was refused.
	reserved time.Time

	// latest is the latest since of the variants that the entry has forgotten, by the
	// wall clock.
	latest time.Time

	vary     string
	variants []variant // in the order in which they were last stored
	receipt  string    // of the write that led to them

	spent spentStates

	// quiet is the epoch if nothing has moved it since there are passes in flight, except
	// passes that began, and passes that ended without a change.
	quiet string

	waiters *waiters // nil if nobody waits

	row   uint32
	until time.Time // the end of the retention
	brief bool      // whether the retention was cut short
	used  time.Time
}

// leases are the claim or the passes of an entry.
type leases []leaseEnd

// leaseEnd says when a claim or a pass expires.
type leaseEnd struct {
	token string
	ends  time.Time
}

// index returns the index of the lease with a token, or -1.
func (l leases) index(token string) int {
	return slices.IndexFunc(l, func(one leaseEnd) bool { return one.token == token })
}

type variant struct {
	key    string
	stored time.Time
	since  time.Time // when it was first stored in its present form
	validator.Observed
}

// snapshot returns the entry as callers see it.
func (e *entry) snapshot(now time.Time) Entry {
	s := Entry{
		Epoch:   e.epoch,
		Busy:    e.busy(now),
		Vary:    e.vary,
		Receipt: e.receipt,
		Now:     now,
		Latest:  e.latest,
	}
	hidden := len(e.leases) > 0 && !e.claimed
	if hidden {
		s.Receipt = ""
	} else {
		s.Variants = make(Variants, 0, len(e.variants))
	}
	for _, v := range e.variants {
		s.Latest = laterOf(s.Latest, v.since.Round(0))
		if hidden {
			continue
		}
		s.Variants = append(s.Variants, Variant{v.key, Stored{Observed: v.Observed, Age: now.Sub(v.stored), Since: v.since}})
	}
	s.Spent, s.Doubt = e.spent.left(now, now.Add(e.busy(now)+e.lag))
	return s
}

// move gives the entry a new epoch and wakes everyone who waits.
func (e *entry) move(epoch string) {
	e.epoch = epoch
	if e.waiters != nil {
		close(e.waiters.moved)
		e.waiters.moved = make(chan struct{})
	}
}

// drop forgets the variants and their receipt.
func (e *entry) drop() {
	for _, v := range e.variants {
		e.latest = laterOf(e.latest, v.since.Round(0))
	}
	e.variants, e.receipt = nil, ""
}

// lapse ends the leases that have expired, and reports whether there were any. Their holders
// may have written until then.
func (e *entry) lapse(now time.Time) bool {
	var last time.Time
	lag := e.lag
	endLeases(e, func(l leaseEnd) bool {
		over := !l.ends.After(now)
		if over {
			last = laterOf(last, l.ends)
		}
		return over
	})
	if last.IsZero() {
		return false
	}
	if len(e.leases) == 0 {
		e.spent.letGo(last.Add(lag))
	}
	e.replace(last.Add(lag), lag)
	e.spent.tidy(now)
	e.move(NewToken())
	return true
}

// hold begins or renews a lease.
func (e *entry) hold(token string, ends time.Time, lag time.Duration) {
	e.lag = max(e.lag, lag)
	if i := e.leases.index(token); i >= 0 {
		e.leases[i].ends = ends
		return
	}
	e.leases = append(e.leases, leaseEnd{token, ends})
}

// beginClaim begins a claim.
func beginClaim(e *entry, now time.Time, t Terms, replaces ...string) Grant {
	g := Grant{Key: e.key, Token: NewToken()}
	e.hold(g.Token, now.Add(t.Lease), t.Lag)
	e.claimed = true
	e.reserved = time.Time{}
	e.move(g.Token)
	e.spend(replaces, time.Time{}, t.Lag)
	return g
}

// beginPass begins a pass. The variants stay, although nobody sees them: perhaps the backend
// refuses the write.
func beginPass(e *entry, token string, end time.Time, lag time.Duration) {
	quiet := len(e.leases) == 0 || e.quiet == e.epoch
	e.hold(token, end, lag)
	spendVariants(e, time.Time{}, lag)
	e.move(token)
	if quiet {
		e.quiet = token
	}
}

func (e *entry) release(token string) {
	endLeases(e, func(l leaseEnd) bool { return l.token == token })
}

// endLeases ends every lease for which over reports true.
func endLeases(e *entry, over func(leaseEnd) bool) {
	e.leases = slices.DeleteFunc(e.leases, over)
	if len(e.leases) == 0 {
		e.claimed, e.lag = false, 0
	}
}

func (e *entry) holds(g Grant) bool {
	return e.leases.index(g.Token) >= 0 && e.claimed != g.Pass
}

// busy returns how long the write in flight can still last, or zero.
func (e *entry) busy(now time.Time) time.Duration {
	var left time.Duration
	for _, l := range e.leases {
		left = max(left, l.ends.Sub(now))
	}
	return left
}

// wait returns how long a writer may have to wait: until the write in flight or,
// if there is none, a reservation has ended. Zero means not at all.
func (e *entry) wait(now time.Time) time.Duration {
	if left := e.busy(now); left > 0 {
		return left
	}
	return max(0, e.reserved.Sub(now))
}

// reserve extends a reservation while the claim still has to wait for passes. It reports
// whether it did.
func (e *entry) reserve(now time.Time) bool {
	extend := len(e.leases) > 0 && e.reserved.After(now)
	if extend {
		e.reserved = now.Add(reservation)
	}
	return extend
}

// idle reports whether the entry may be forgotten at any time.
func (e *entry) idle(now time.Time) bool {
	return len(e.leases) == 0 && e.waiters == nil && !e.spent.inUse(now)
}

// expired reports whether the entry may be forgotten because its retention is over.
func (e *entry) expired(now time.Time) bool { return e.idle(now) && !e.until.After(now) }

// prolong restarts the retention. It doesn't shorten it: a caller that keeps the entry for the
// sake of its epoch may have asked for more.
func prolong(e *entry, now time.Time, t Terms) {
	e.used = now
	if t.Brief == 0 || t.Brief >= t.Retention || knows(e) {
		e.until, e.brief = now.Add(t.Retention), false
		return
	}
	until := now.Add(t.Brief)
	e.brief = e.until.IsZero() || e.brief || !e.until.After(until)
	e.until = laterOf(e.until, until)
}

// knows reports whether the entry knows anything that is worth the whole retention.
func knows(e *entry) bool {
	return e.receipt != "" || slices.ContainsFunc(e.variants, func(v variant) bool { return hasValidator(v.Observed) })
}

// hasValidator reports whether a representation exists and has a tag or a date.
func hasValidator(o validator.Observed) bool {
	return o.State == validator.Present && (o.ETag.Valid || !o.LastModified.IsZero())
}

// observe stores an observation made under the current epoch. What it drops is not
// spent: nobody knows which of two states that reads have shown is the older one.
func (e *entry) observe(before Entry, o Observation, now time.Time) error {
	known, wasKnown := before.Variants.Find(o.Variant)
	stored := e.variant(o.Variant)
	if stored != nil && !stored.SameState(o.Observed) && !(wasKnown && stored.SameState(known.Observed)) {
		e.drop()
		e.move(NewToken())
		return ErrStale
	}
	changed := stored == nil && wasKnown && !known.SameState(o.Observed)
	if changed {
		e.drop()
	}
	if e.store(o, now) || changed {
		e.move(NewToken())
	}
	return nil
}

// settle ends the write of g.
func (e *entry) settle(g Grant, s Settlement, now time.Time, t Terms) {
	lag := max(e.lag, t.Lag)
	until := now.Add(lag)
	e.release(g.Token)
	quiet := e.quiet == e.epoch
	alone := e.epoch == g.Token || quiet
	switch {
	case len(e.leases) > 0:
	case alone && s.Unchanged:
		e.spent.letGo(time.Time{})
	default:
		e.spent.letGo(until)
	}
	if !s.Unchanged {
		e.spend(s.Replaced, until, lag)
		e.replace(until, lag)
	} else if !alone {
		e.drop()
	}
	if o := s.Observation; o != nil && alone && !g.Pass {
		if s.Proven {
			e.spent.list = e.spent.list.without(o.Identity())
		}
		if s.Proven || !e.isSpent(o.Observed, now) {
			e.store(*o, now)
			e.receipt = cmp.Or(s.Receipt, e.receipt)
		}
	}
	if alone {
		e.move(g.settled())
	} else {
		e.move(g.settledAfterMove())
	}
	if quiet && s.Unchanged {
		e.quiet = e.epoch
	}
}

// store stores an observation. If it contradicts what is stored, store drops that
// first and reports true. Nor is that spent: a state that is seen at the origin
// doesn't tell what replaced what, and a different Vary tells nothing about states.
func (e *entry) store(o Observation, now time.Time) (changed bool) {
	old := e.variant(o.Variant)
	changed = old != nil && !old.SameState(o.Observed) || o.Vary != e.vary && len(e.variants) > 0

	var kept []variant
	if changed {
		e.drop()
	} else {
		for _, v := range e.variants {
			if v.key != o.Variant {
				kept = append(kept, v)
			}
		}
		if len(kept) == MaxVariants {
			e.latest = laterOf(e.latest, kept[0].since.Round(0))
			kept = kept[1:] // not spent: it is still the present
		}
	}
	var since time.Time
	switch {
	case old != nil && !changed:
		since = old.since
	case now.Round(0).Before(e.latest): // the clock was set back
		since = e.latest.Add(time.Second)
	default:
		since = now
	}
	e.vary = o.Vary
	e.variants = append(kept, variant{key: o.Variant, stored: now, since: since, Observed: o.Observed})
	return changed
}

func (e *entry) variant(key string) *variant {
	for i := range e.variants {
		if e.variants[i].key == key {
			return &e.variants[i]
		}
	}
	return nil
}
