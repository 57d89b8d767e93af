// Package hold takes the claims and passes of one write, keeps them alive while
// the backend works, and ends them when the fate of the write is known.
//
// A claim is the exclusive right to write a resource, and a pass is the shared
// right (package etagcache). A write may need several: on its subject, on what else
// it changes, and on the locks of trees. It waits for each in key order, so no two
// writes ever wait for each other, and not for long while it holds others.
package hold

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Holds are the claims and passes of one write. Only one goroutine at a time may
// call its methods. The first call of Release or Settle ends them, and any later
// call does nothing.
type Holds struct {
	ctx    context.Context // of the request, without its cancellation
	share  *storeshare.Share
	client storeshare.Client
	terms  etagcache.Terms
	logger *zap.Logger
	course *telemetry.Course

	subject *held // nil if nothing is held on the subject
	others  []held
	ended   bool
}

// held is one claim or pass that is kept alive.
type held struct {
	grant etagcache.Grant
	lease *proxyhooks.Lease

	unchanging bool   // whether the write leaves the resource as it is
	announced  string // the identity of the state that was announced with the claim, or empty
}

// New returns the holds of a client's write that hasn't taken any yet. Ctx belongs to the
// request. When it ends, the store still hears what became of the write. Course may be nil.
func New(ctx context.Context, share *storeshare.Share, client storeshare.Client, terms etagcache.Terms, logger *zap.Logger, course *telemetry.Course) *Holds {
	return &Holds{ctx: context.WithoutCancel(ctx), share: share, client: client, terms: terms, logger: logger, course: course}
}

// keepAlive keeps a claim or pass alive. The store granted it at taken or later.
func (h *Holds) keepAlive(grant etagcache.Grant, taken time.Time) held {
	return held{grant: grant, lease: KeepAlive(h.share, grant, taken, h.terms)}
}

// KeepAlive keeps a claim or pass alive until the lease is stopped. The store granted or
// renewed it at taken or later, for the lease of these terms.
func KeepAlive(share *storeshare.Share, grant etagcache.Grant, taken time.Time, terms etagcache.Terms) *proxyhooks.Lease {
	renew := func(ctx context.Context) error { return share.Renew(ctx, grant, terms) }
	lost := func(err error) bool { return errors.Is(err, etagcache.ErrLost) }
	return proxyhooks.KeepLease(taken, terms.Lease, renew, lost)
}

// all yields everything that is held, the subject first.
func (h *Holds) all(yield func(held) bool) {
	if h.subject != nil && !yield(*h.subject) {
		return
	}
	for _, one := range h.others {
		if !yield(one) {
			return
		}
	}
}

// Claimed reports whether the write holds a claim on its subject. Only then can it
// be sure that what the origin shows afterwards is its own result.
func (h *Holds) Claimed() bool { return h.subject != nil && !h.subject.grant.Pass }

// On returns the claim or pass that a write holds on a resource.
func On(h *Holds, key string) (etagcache.Grant, bool) {
	for one := range h.all {
		if one.grant.Key == key {
			return one.grant, true
		}
	}
	return etagcache.Grant{}, false
}

// Token returns the token of the claim or pass on the subject. There must be one.
func (h *Holds) Token() string { return h.subject.grant.Token }

// SubjectLost returns a context that ends when the claim or pass on the subject is
// lost. There must be one.
func (h *Holds) SubjectLost() context.Context { return h.subject.lease.Context() }

// Lost reports whether any claim or pass was lost.
func (h *Holds) Lost() bool {
	for one := range h.all {
		if one.lease.Lost() {
			return true
		}
	}
	return false
}

// UntilLost returns a context that ends when any claim or pass is lost. The caller calls stop
// when it doesn't need it any more.
func (h *Holds) UntilLost() (ctx context.Context, stop func()) {
	ctx, stop = context.Background(), func() {}
	n := 0
	for one := range h.all {
		if n++; n == 1 {
			ctx = one.lease.Context() // a context of its own would cost more, and most writes hold nothing else
			continue
		}
		both, cancel := context.WithCancelCause(ctx)
		watched, before := context.AfterFunc(one.lease.Context(), func() { cancel(proxyhooks.ErrLeaseLost) }), stop
		ctx, stop = both, func() {
			watched()
			cancel(nil)
			before()
		}
	}
	return ctx, stop
}

// Announce tells the store that a write may replace a state of its subject, unless it was
// told so with the claim. There must be a claim or pass on the subject.
func Announce(h *Holds, identity string) error {
	if identity == h.subject.announced {
		return nil
	}
	return h.share.Spend(h.ctx, h.subject.grant, []string{identity}, h.terms)
}

// Release ends the holds of a write that wasn't forwarded. Seen is what the origin
// showed of the subject under the claim, or nil.
func (h *Holds) Release(seen *etagcache.Observation) {
	h.Settle(proxyhooks.Refused, etagcache.Settlement{Unchanged: true, Observation: seen})
}

// Settle ends the holds of a write with this fate. What it holds on its subject is
// settled as given, everything else as changed unless the write was refused, or leaves it as it
// is. It reports whether the store says that the hold on the subject was lost before: then
// others may have written it.
func (h *Holds) Settle(fate proxyhooks.Fate, subject etagcache.Settlement) (lost bool) {
	if h.ended {
		return false
	}
	h.ended = true
	for _, other := range slices.Backward(h.others) { // subtree epochs before locks
		_ = h.end(other, fate, etagcache.Settlement{Unchanged: other.unchanging || fate == proxyhooks.Refused})
	}
	return h.subject != nil && errors.Is(h.end(*h.subject, fate, subject), etagcache.ErrLost)
}

// giveBack ends what a write holds that goes on and takes it again.
func (h *Holds) giveBack() {
	h.Release(nil)
	h.subject, h.others, h.ended = nil, nil, false
}

// end ends one claim or pass. If the backend may still apply the write, it renews
// the lease once more and lets it run out.
func (h *Holds) end(one held, fate proxyhooks.Fate, s etagcache.Settlement) (err error) {
	lost, begun := one.lease.Lost(), time.Now()
	if fate == proxyhooks.Unanswered {
		one.lease.Expire(func(left time.Duration) error {
			terms := h.terms
			terms.Lease = left
			return h.share.Renew(context.Background(), one.grant, terms)
		})
		err = h.share.Renew(h.ctx, one.grant, h.terms)
		if err == nil && len(s.Replaced) > 0 {
			err = h.share.Spend(h.ctx, one.grant, s.Replaced, h.terms)
		}
	} else {
		one.lease.Stop()
		err = h.share.Settle(h.ctx, one.grant, s, h.terms)
	}
	h.course.Settled(one.grant.Key, begun, err)
	if lost || errors.Is(err, etagcache.ErrLost) {
		h.course.ClaimLost(one.grant.Key)
	}
	if errors.Is(err, etagcache.ErrLost) && fate != proxyhooks.Refused {
		// The store may have let others in, which saw the state before this write.
		_ = h.share.InvalidateOrJournal(h.ctx, one.grant.Key, h.terms)
	}
	if err != nil {
		h.logger.Warn("the end of a write could not be stored",
			zap.String("resource", one.grant.Key), zap.Error(err))
	}
	return err
}
