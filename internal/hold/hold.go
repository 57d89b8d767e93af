// Package hold takes the claims and passes of one write, keeps them alive while
// the backend works, and ends them with what became of the write.
//
// A claim is the exclusive right to write a resource, a pass is the shared one
// (package etagcache). A write may need several: on its subject, on what else it
// changes, and on the locks of trees. It takes them in the order of their keys,
// so that no two writes wait for each other.
package hold

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Holds are the claims and passes of one write. Its methods are called by one
// goroutine at a time. Exactly one of Release and Settle ends them; a call of
// either after that does nothing.
type Holds struct {
	ctx    context.Context // of the request, but never cancelled
	share  *storeshare.Share
	terms  etagcache.Terms
	logger *zap.Logger

	subject *held // nil if nothing is held on the subject
	others  []held
	ended   bool
}

// held is one claim or pass, which is kept alive.
type held struct {
	grant etagcache.Grant
	lease *proxyhooks.Lease
}

// New returns the holds of a write that hasn't taken any yet. The end of ctx
// doesn't keep the store from being told what became of the write.
func New(ctx context.Context, share *storeshare.Share, terms etagcache.Terms, logger *zap.Logger) *Holds {
	return &Holds{ctx: context.WithoutCancel(ctx), share: share, terms: terms, logger: logger}
}

// keepAlive keeps a claim or pass alive that was taken no earlier than at taken.
func (h *Holds) keepAlive(grant etagcache.Grant, taken time.Time) held {
	renew := func(ctx context.Context) error { return h.share.Renew(ctx, grant, h.terms) }
	lost := func(err error) bool { return errors.Is(err, etagcache.ErrLost) }
	return held{grant, proxyhooks.KeepLease(taken, h.terms.Lease, renew, lost)}
}

// all returns everything that is held, the subject first.
func (h *Holds) all() []held {
	if h.subject == nil {
		return h.others
	}
	return append([]held{*h.subject}, h.others...)
}

// Claimed reports whether the write holds a claim on its subject. Only then can
// it be sure that what it sees afterwards is its own doing.
func (h *Holds) Claimed() bool { return h.subject != nil && !h.subject.grant.Pass }

// Token returns the token of the claim or pass on the subject.
func (h *Holds) Token() string { return h.subject.grant.Token }

// SubjectLost returns a context that ends when the claim or pass on the subject
// is lost. It is called only while there is one.
func (h *Holds) SubjectLost() context.Context { return h.subject.lease.Context() }

// Lost reports whether anything that was held is no longer held.
func (h *Holds) Lost() bool {
	return slices.ContainsFunc(h.all(), func(one held) bool { return one.lease.Lost() })
}

// OnLost calls f, at most once for each claim and pass, when it is lost. The
// calls end with stop.
func (h *Holds) OnLost(f func()) (stop func()) {
	var stops []func() bool
	for _, one := range h.all() {
		stops = append(stops, context.AfterFunc(one.lease.Context(), f))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Release ends what is held by a write that wasn't forwarded. If seen isn't nil,
// it is how the origin showed the subject under the claim.
func (h *Holds) Release(seen *etagcache.Observation) {
	h.Settle(proxyhooks.Refused, etagcache.Settlement{Unchanged: true, Observation: seen})
}

// Settle ends what is held, with what became of the write. The settlement is
// that of the subject.
func (h *Holds) Settle(fate proxyhooks.Fate, subject etagcache.Settlement) {
	if h.ended {
		return
	}
	h.ended = true
	for _, other := range slices.Backward(h.others) { // subtree epochs before locks
		h.end(other, fate, etagcache.Settlement{})
	}
	if h.subject != nil {
		h.end(*h.subject, fate, subject)
	}
}

// end ends one claim or pass. If the write may still land, it lets the lease run
// out instead.
func (h *Holds) end(one held, fate proxyhooks.Fate, s etagcache.Settlement) {
	var err error
	if fate == proxyhooks.Unanswered {
		one.lease.Expire(func(left time.Duration) error {
			terms := h.terms
			terms.Lease = left
			return h.share.Renew(context.Background(), one.grant, terms)
		})
		err = h.share.Renew(h.ctx, one.grant, h.terms)
	} else {
		one.lease.Stop()
		err = h.share.Settle(h.ctx, one.grant, s, h.terms)
	}
	if errors.Is(err, etagcache.ErrLost) && fate != proxyhooks.Refused {
		// Others may have been let in, and have seen what was there before.
		_ = h.share.InvalidateOrJournal(h.ctx, one.grant.Key, h.terms)
	}
	if err != nil {
		h.logger.Warn("the end of a write could not be stored",
			zap.String("resource", one.grant.Key), zap.Error(err))
	}
}
