package hold

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/relation"
)

// A write that needs several entries waits for as long as it takes only while it holds
// nothing. If it did so with something in hand, anybody who keeps one resource busy could
// keep others from writing a different one.

// acquirer acquires what a write needs.
type acquirer struct{ *Holds }

// part is one of the entries that a write needs. Take takes it once that is possible. It
// reports false if the write is no longer wanted.
type part struct {
	take    func(waiting context.Context) (one held, wanted bool, err error)
	subject bool
}

// leastPatience is how long a write waits with something in hand at its first try. With each
// further try that grows fourfold, up to mostPatience: more than most backends take for one
// write of somebody else.
const (
	leastPatience = 20 * time.Millisecond
	mostPatience  = 64 * leastPatience
)

// all takes everything that a plan needs, but no subtree epochs. If an entry is busy,
// it gives back what it has taken, waits for that one, and begins with it the next time.
func (h acquirer) all(waiting context.Context, plan relation.Plan, subject func(context.Context) (held, bool, error)) (wanted bool, err error) {
	if len(plan.Others) == 0 {
		return h.acquire(waiting, part{subject, true})
	}
	parts := h.parts(plan, subject)
	first, patience := 0, leastPatience
	for {
		busy, wanted, err := h.acquireFrom(waiting, parts, first, patience)
		if busy < 0 {
			return wanted, err
		}
		h.giveBack()
		first, patience = busy, min(4*patience, mostPatience)
	}
}

// parts returns what a plan needs, in key order.
func (h acquirer) parts(plan relation.Plan, subject func(context.Context) (held, bool, error)) (parts []part) {
	other := func(o relation.Other) part {
		return part{take: func(waiting context.Context) (held, bool, error) {
			one, err := h.other(waiting, o)
			return one, true, err
		}}
	}
	for _, o := range plan.Before() {
		parts = append(parts, other(o))
	}
	parts = append(parts, part{subject, true})
	for _, o := range plan.After() {
		parts = append(parts, other(o))
	}
	return parts
}

// acquireFrom takes the first part, however long that takes, and then the others in their
// order. It returns the index of the part that was busy for too long, or a negative number.
// It waits only for parts that come after all that it holds, so no two writes wait for each
// other.
func (h acquirer) acquireFrom(waiting context.Context, parts []part, first int, patience time.Duration) (busy int, wanted bool, err error) {
	if wanted, err := h.acquire(waiting, parts[first]); err != nil || !wanted {
		return -1, wanted, err
	}
	for i, p := range parts {
		switch {
		case i == first:
			continue
		case i < first:
			wanted, err = h.acquireWithin(waiting, p, 0)
		default:
			wanted, err = h.acquireWithin(waiting, p, patience)
		}
		switch {
		case errors.Is(err, errBusy):
			return i, false, nil
		case err != nil || !wanted:
			return -1, wanted, err
		}
	}
	return -1, true, nil
}

// errBusy means that a part was busy for longer than a write waits with something in hand.
var errBusy = errors.New("busy for too long")

// acquireWithin takes a part unless it is busy for longer than patience.
func (h acquirer) acquireWithin(waiting context.Context, p part, patience time.Duration) (wanted bool, err error) {
	briefly, cancel := context.WithTimeout(waiting, patience)
	defer cancel()
	wanted, err = h.acquire(briefly, p)
	if errors.Is(err, context.DeadlineExceeded) && briefly.Err() != nil && waiting.Err() == nil {
		return false, errBusy
	}
	return wanted, err
}

// acquire takes a part.
func (h acquirer) acquire(waiting context.Context, p part) (wanted bool, err error) {
	one, wanted, err := p.take(waiting)
	switch {
	case err != nil || !wanted:
	case p.subject:
		h.subject = &one
	default:
		h.others = append(h.others, one)
	}
	return wanted, err
}

// other takes a claim or pass, as its role demands. Until it is settled, no condition on
// what the write changes is found true.
func (h acquirer) other(waiting context.Context, o relation.Other) (held, error) {
	switch o.Role {
	case relation.ExclusiveLock:
		return h.claimAny(waiting, o.Key)
	case relation.Unchanging:
		one, err := h.claimAny(waiting, o.Key)
		one.unchanging = true
		return one, err
	case relation.SharedLock:
		return h.passLock(waiting, o.Key)
	default:
		return h.pass(waiting, o.Key)
	}
}
