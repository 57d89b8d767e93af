package hold

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Check decides whether the claim is still wanted, given the subject's entry as it
// is now. If entry is nil, the check has to read it.
type Check func(entry *etagcache.Entry) (Wish, error)

// Wish is what a check wants. The zero value means that it doesn't want the claim any more.
type Wish struct {
	// Wanted means that the claim is wanted.
	Wanted bool
	// Epoch is the epoch of the entry that the check looked at. The claim is granted only
	// while that epoch is current.
	Epoch string
	// Replaces identifies a state that the write may replace. The claim announces it. Empty
	// means that there is nothing to announce.
	Replaces string
	// Successor, if not nil, takes over from a different write of this node that is in the way.
	// Otherwise the claim is asked for when that write is over.
	Successor Successor
}

// Successor is a write that takes over from a different one of its node.
type Successor interface {
	// Wants reports whether it does so, given what the other write has led to, or nil if nobody
	// knows. The other write calls it when it has ended. It must not block.
	Wants(o *etagcache.Observation) bool
	// TakeOver is called then. The store is about to hear of the end, and to grant the next
	// claim. Seen is the entry as it was while the other write was in flight. If nothing else
	// changes the resource in the meantime, the check will see the epoch that follows
	// (etagcache.SettledEpoch). It must not panic.
	TakeOver(seen etagcache.Entry)
}

// replaces returns what to announce.
func (w Wish) replaces() []string {
	if w.Replaces == "" {
		return nil
	}
	return []string{w.Replaces}
}

// maxTries limits how often a claim is tried.
const maxTries = 1000

// ErrKeepsChanging means that AcquireClaim gave up, because the resource changed
// between every check and the claim after it.
var ErrKeepsChanging = errors.New("the resource keeps changing")

// AcquireClaim takes a claim on the subject of a plan, and a claim or pass on each
// of the others, as their roles demand. Entry is the subject's entry as the caller
// knows it. If check says that the claim is no longer wanted, AcquireClaim reports
// false and keeps what it has taken so far. The context limits only how long it
// waits for other writes.
func (h *Holds) AcquireClaim(waiting context.Context, plan relation.Plan, entry etagcache.Entry, check Check) (bool, error) {
	key, known := plan.Subject.Key, &entry
	return acquirer{h}.all(waiting, plan, func(waiting context.Context) (held, bool, error) {
		defer func() { known = nil }() // another try has to read it
		return h.claim(waiting, key, known, check)
	})
}

// AcquirePass takes a pass on the subject of a plan, a claim or pass on each of the
// others, as their roles demand, and the passes on subtree epochs. It waits like
// AcquireClaim.
func (h *Holds) AcquirePass(waiting context.Context, plan relation.Plan) error {
	key := plan.Subject.Key
	_, err := acquirer{h}.all(waiting, plan, func(waiting context.Context) (held, bool, error) {
		one, err := h.pass(waiting, key)
		return one, true, err
	})
	if err != nil {
		return err
	}
	return h.AcquireSubtrees(waiting, plan)
}

// AcquireSubtrees invalidates everything stored below the paths that the write
// changes as a whole. It takes passes on their subtree epochs. The subject may be
// below one of these paths, so a conditional write does this only after its
// condition was found true. Nobody takes a claim on a subtree epoch, so there is
// nobody to wait for.
func (h *Holds) AcquireSubtrees(waiting context.Context, plan relation.Plan) error {
	for _, o := range plan.Subtrees {
		one, err := h.pass(waiting, o.Key)
		if err != nil {
			return err
		}
		h.others = append(h.others, one)
	}
	return nil
}

// TryPass takes a pass on a resource if that is possible without waiting. Otherwise
// the write goes on without a pass.
func (h *Holds) TryPass(ctx context.Context, key string) {
	taken := time.Now()
	if grant, _, err := h.share.Pass(ctx, key, h.terms); err == nil {
		subject := h.keepAlive(grant, taken)
		h.subject = &subject
	}
}

// claim takes a claim once no other write is in flight, unless check says that it
// is no longer wanted.
func (h *Holds) claim(waiting context.Context, key string, entry *etagcache.Entry, check Check) (one held, wanted bool, err error) {
	release, waited, err := queue(h, waiting, key)
	if err != nil {
		return one, false, err
	}
	defer release()
	if waited {
		entry = nil
	}
	for range maxTries {
		wish, err := check(entry)
		if err != nil || !wish.Wanted {
			return one, false, err
		}
		taken := time.Now()
		grant, now, err := h.share.Claim(h.ctx, key, wish.Epoch, h.terms, wish.replaces()...)
		noteAsked(h, key, taken, err)
		switch {
		case err == nil:
			one = h.keepAlive(grant, taken)
			one.announced = wish.Replaces
			return one, true, nil
		case errors.Is(err, etagcache.ErrBusy):
			// The store has reserved the next turn for this claim: passes that are
			// asked for from now on come after it.
			next, taken, err := waitForEnd(h, waiting, key, now, wish.Successor)
			switch {
			case err != nil:
				return one, false, err
			case taken:
				return use(h, next, check)
			}
			entry = nil
		case errors.Is(err, etagcache.ErrStale):
			entry = &now
		default:
			return one, false, err
		}
	}
	return one, false, ErrKeepsChanging
}

// queue waits for the write's turn among the writes of this node.
func queue(h *Holds, waiting context.Context, key string) (release func(), waited bool, err error) {
	begun := time.Now()
	release, waited, err = h.share.Queues.Acquire(waiting, key, h.client)
	if waited || err != nil {
		h.course.Waited(telemetry.ForTurn, begun)
	}
	return release, waited, err
}

// waitWith waits for the writes in flight, or until a grace is over.
func waitWith(h *Holds, waiting context.Context, key string, seen etagcache.Entry) error {
	defer h.course.Waited(telemetry.WaitFor(seen.Grace.Left), time.Now())
	return h.share.Wait(waiting, key, seen)
}

// waitForEnd waits like waitWith, unless the write takes over from a different one of its node. It
// returns the claim that it gets then, or false if it must ask for one.
func waitForEnd(h *Holds, waiting context.Context, key string, seen etagcache.Entry, by Successor) (next storeshare.Next, taken bool, err error) {
	if by == nil {
		return next, false, waitWith(h, waiting, key, seen)
	}
	defer h.course.Waited(telemetry.WaitFor(seen.Grace.Left), time.Now())
	end, err := storeshare.WaitForEnd(waiting, h.share, key, seen, h.terms, by.Wants)
	if end == nil {
		return next, false, err
	}
	by.TakeOver(seen)
	next, taken = end.Next()
	return next, taken, nil
}

// use asks check whether a claim that the write has taken over is wanted, and gives it back if not.
func use(h *Holds, next storeshare.Next, check Check) (one held, wanted bool, err error) {
	h.course.Claimed(next.Grant.Key, next.Taken, true, nil)
	one = h.keepAlive(next.Grant, next.Taken)
	defer func() {
		if !wanted { // also if check panics
			_ = h.end(one, proxyhooks.Refused, etagcache.Settlement{Unchanged: true})
		}
	}()
	wish, err := check(&next.Entry)
	return one, err == nil && wish.Wanted, err
}

// noteAsked notes that the store was asked for a claim or a pass.
func noteAsked(h *Holds, key string, begun time.Time, err error) {
	if errors.Is(err, etagcache.ErrBusy) || errors.Is(err, etagcache.ErrStale) {
		h.course.Claimed(key, begun, false, nil)
		return
	}
	h.course.Claimed(key, begun, err == nil, err)
}

// claimAny takes a claim, whatever the entry says.
func (h *Holds) claimAny(waiting context.Context, key string) (held, error) {
	one, _, err := h.claim(waiting, key, nil, func(entry *etagcache.Entry) (Wish, error) {
		if entry != nil {
			return Wish{Wanted: true, Epoch: entry.Epoch}, nil
		}
		read, err := h.share.Read(h.ctx, key, h.terms)
		return Wish{Wanted: true, Epoch: read.Epoch}, err
	})
	return one, err
}

// pass takes a pass once no conditional write is in flight.
func (h *Holds) pass(waiting context.Context, key string) (held, error) {
	release, _, err := queue(h, waiting, key)
	if err != nil {
		return held{}, err
	}
	defer release()
	return h.retryPass(waiting, key)
}

// passLock takes a pass on a lock once nobody holds a claim on it. It needs no
// queue: passes on a lock keep out only claims, and the store reserves the turn of
// a claim. The store may not know of writes that this node has journaled, so those
// must end first.
func (h *Holds) passLock(waiting context.Context, key string) (held, error) {
	if err := h.share.WaitForJournal(waiting, key); err != nil {
		return held{}, err
	}
	return h.retryPass(waiting, key)
}

// retryPass asks for a pass until there is no claim.
func (h *Holds) retryPass(waiting context.Context, key string) (held, error) {
	for {
		taken := time.Now()
		grant, entry, err := h.share.Pass(h.ctx, key, h.terms)
		noteAsked(h, key, taken, err)
		if err == nil {
			return h.keepAlive(grant, taken), nil
		}
		if !errors.Is(err, etagcache.ErrBusy) {
			return held{}, err
		}
		// Wait also waits for the journal.
		if err := waitWith(h, waiting, key, entry); err != nil {
			return held{}, err
		}
	}
}
