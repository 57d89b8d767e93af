package preconditions

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writing is a write that may reach the backend, with the claim or pass that it
// holds.
type writing struct {
	*exchange
	grant   etagcache.Grant
	lease   *proxyhooks.Lease // nil if nothing is held
	settled bool

	seen    *etagcache.Observation // what the origin showed under the claim, before the write
	led     *etagcache.Observation // the same after it
	receipt string                 // of the write, once it has succeeded
	mark    bool                   // whether to mark the resource as changed at the end
	outcome outcome
	reason  string
	field   validator.Field
	current validator.ETag
	instead func() error // answers in place of the backend

	// For a look at the origin after the write, or nil:
	base    *http.Request      // the request as it was before next
	content *[sha256.Size]byte // the digest of what was sent, if all of it was at hand
	size    int64              // how much that was
	request string             // the digest of the rest
}

// hold keeps a claim or pass, which was taken no earlier than at taken, alive.
func (x *exchange) hold(grant etagcache.Grant, taken time.Time) *writing {
	renew := func(ctx context.Context) error { return x.h.store.Renew(ctx, grant, x.h.terms) }
	lost := func(err error) bool { return errors.Is(err, etagcache.ErrLost) }
	return &writing{
		exchange: x,
		grant:    grant,
		lease:    proxyhooks.KeepLease(taken, x.h.terms.Lease, renew, lost),
	}
}

// release ends a claim or pass under which nothing was forwarded. It does
// nothing after a settlement.
func (wr *writing) release() {
	if !wr.settled {
		wr.settle(proxyhooks.Refused)
	}
}

// forward lets the backend have the request.
func (wr *writing) forward() error {
	ctx := context.Background()
	if wr.lease != nil {
		ctx = wr.lease.Context()
	}
	if expectsContinue(wr.r) && !wr.signed {
		// The content is here: the backend needs no time to think about it.
		defer proxyhooks.Edit(wr.r.Header, map[string][]string{"Expect": nil})()
	}
	wr.lookAfter()
	err := proxyhooks.Forward(ctx, wr.next, wr.w, wr.r, wr.h.terms.Lease, wr)
	if wr.instead != nil {
		return wr.instead()
	}
	return err
}

// Hold implements proxyhooks.Writing. A backend that does one thing at a time can
// be asked only once its answer is complete.
func (wr *writing) Hold(status int, header http.Header) int64 {
	succeeded := status/100 == 2 && status != http.StatusAccepted && status != http.StatusMultiStatus
	if succeeded && (wr.base != nil || wr.represents(status, header)) {
		return wr.h.Buffer
	}
	return -1
}

// Settle implements proxyhooks.Writing.
func (wr *writing) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) bool {
	wr.observeAnswer(a, fate)
	lost := wr.lease != nil && wr.lease.Lost()
	wr.settle(fate)
	if lost && fate == proxyhooks.Unanswered {
		f := wr.lost()
		wr.report(f.outcome, f.reason)
		wr.instead = func() error { return wr.sendRefusal(f) }
		return false
	}
	wr.report(wr.outcome, wr.reason)
	wr.reportCondition(wr.field, wr.current)
	return true
}

// settle tells the store what became of the write, whether the client is still
// there or not.
func (wr *writing) settle(fate proxyhooks.Fate) {
	wr.settled = true
	ctx, store, terms := wr.detached(), wr.h.store, wr.h.terms
	var err error
	switch {
	case wr.mark:
		if err = store.Touch(ctx, wr.key, terms); err != nil {
			store.journal.once(wr.key)
		}
	case wr.lease == nil:
	case fate == proxyhooks.Unanswered:
		// The write may still land: others stay out until the lease is over.
		grant := wr.grant
		wr.lease.RunOut(func(left time.Duration) error {
			terms := terms
			terms.Lease = left
			return store.Renew(context.Background(), grant, terms)
		})
		err = store.note(store.Renew(ctx, grant, terms))
	default:
		wr.lease.Stop()
		err = store.note(store.Settle(ctx, wr.grant, wr.settlement(fate), terms))
	}
	if err != nil {
		wr.h.logger.Warn("the end of a write could not be stored",
			zap.String("resource", wr.key), zap.Error(err))
	}
}
