package preconditions

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writing is a write that may reach the backend, with the claim or pass that it
// holds.
type writing struct {
	*exchange
	held           // the lease is nil if nothing is held
	further []held // passes on the other resources that the write changes
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

// release ends a claim or pass under which nothing was forwarded. It does
// nothing after a settlement.
func (wr *writing) release() {
	if !wr.settled {
		wr.settle(proxyhooks.Refused)
	}
}

// forward lets the backend have the request.
func (wr *writing) forward() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	for _, h := range wr.all() {
		defer context.AfterFunc(h.lease.Context(), func() { cancel(proxyhooks.ErrLeaseLost) })()
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
	wr.invalidate(a)
	wr.observeAnswer(a, fate)
	lost := wr.lost()
	wr.settle(fate)
	if lost && fate == proxyhooks.Unanswered {
		f := wr.leaseLost()
		wr.report(f.outcome, f.reason)
		wr.instead = func() error { return wr.sendRefusal(f) }
		return false
	}
	wr.report(wr.outcome, wr.reason)
	wr.reportCondition(wr.field, wr.current)
	return true
}

// all returns everything that is held.
func (wr *writing) all() []held {
	if wr.lease == nil {
		return wr.further
	}
	return append([]held{wr.held}, wr.further...)
}

// lost reports whether anything that was held is so no more.
func (wr *writing) lost() bool {
	return slices.ContainsFunc(wr.all(), func(h held) bool { return h.lease.Lost() })
}

// settle tells the store what became of the write, whether the client is still
// there or not.
func (wr *writing) settle(fate proxyhooks.Fate) {
	wr.settled = true
	if wr.mark {
		wr.invalidateKeys(wr.changes())
	}
	for _, h := range slices.Backward(wr.further) { // ages before locks
		wr.end(h, fate, etagcache.Settlement{})
	}
	if wr.lease != nil {
		wr.end(wr.held, fate, wr.settlement(fate))
	}
}
