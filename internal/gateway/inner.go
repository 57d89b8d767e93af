package gateway

import (
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

const protectedReason = "a handler further out protects the resource"

// passOn lets a request pass that a handler further out in the chain protects, with the field
// that it got from there.
func (x inner) passOn(p *protection) error {
	x.warnOfOuter()
	if x.request.Class != resource.Write {
		x.responder.Report(answer.Bypassed, protectedReason)
		return x.next.ServeHTTP(x.rw, x.r)
	}
	if refusal, ok := x.objection(p.covers(x.plan.Subject.Key), p.evaluated && (x.request.Premises == nil || p.premises), p.passed); ok {
		return x.refuse(refusal)
	}
	if lines := linesOf(x.inherited); lines != nil {
		defer proxyhooks.EditHeader(x.r.Header, map[string][]string{holderField: lines})()
	}
	defer x.changing(p.changes())()
	x.responder.Report(answer.Bypassed, protectedReason)
	return x.next.ServeHTTP(x.rw, x.r)
}

// objection returns the refusal of a write that a handler further out has let through without
// looking at what this one wants: subject, evaluated and passed say what that one knows.
func (x inner) objection(subject, evaluated, passed bool) (refusal answer.Refusal, ok bool) {
	switch {
	case !x.enforces():
		return refusal, false
	case !subject, resource.HasConditions(x.request) && !evaluated:
		return x.responder.CannotTell("a handler further out protects the resource, and hasn't evaluated this condition").As(telemetry.OuterHandler), true
	case !passed && x.mustBeConditional():
		return x.responder.ConditionRequired(x.request.Ignored), true
	default:
		return refusal, false
	}
}

// changing invalidates what only this handler knows to change with a write, before and
// after. Known are the keys that the handler further out takes care of.
func (x inner) changing(known []string) (after func()) {
	x.begun = x.Store.Count(x.request.HostName()) // it can't wait for the one further out
	others := slices.DeleteFunc(x.plan.ChangedKeys(), func(key string) bool { return slices.Contains(known, key) })
	x.invalidate(others)
	return func() {
		x.invalidate(others)
		x.begun.End()
	}
}

// heldOutside returns the grant on the subject or the target that a handler further out
// holds for this write, according to the request and to the store.
func (x inner) heldOutside() (h holding, ok bool) {
	if x.request.Class != resource.Write || x.request.Signed {
		return h, false
	}
	for _, key := range slices.Compact([]string{x.plan.Subject.Key, x.target}) {
		for _, h := range slices.Backward(x.inherited) {
			h.grant.Key = key
			if h.digest == keyDigest(key) && storeshare.Holds(x.r.Context(), x.share, h.grant, x.Terms) {
				return h, true
			}
		}
	}
	return h, false
}

// passThrough forwards a write that a handler further out has let through, and for which it
// holds a grant.
func (x inner) passThrough(h holding) error {
	if refusal, ok := x.objection(h.grant.Key == x.plan.Subject.Key, h.passed && x.request.Premises == nil, h.passed); ok {
		return x.refuse(refusal)
	}
	x.announces.evaluated, x.announces.passed = h.passed, h.passed
	x.warnOfOuter()
	changes := x.unknownConditions()
	changes[holderField] = linesOf(x.inherited)
	changes[proxyhooks.SettledField] = nil // a backend may repeat it in its answer
	defer proxyhooks.EditHeader(x.r.Header, changes)()
	defer x.changing([]string{x.plan.Subject.Key})()
	if !x.enforces() {
		x.responder.Report(answer.Bypassed, protectedReason)
		return x.next.ServeHTTP(x.rw, x.r)
	}
	return x.borrow(h.grant)
}

// borrowed is a write that is forwarded with the grant of a handler further out. That one
// may stop at any time, so this handler keeps the grant alive, too.
type borrowed struct {
	inner
	lease *proxyhooks.Lease
	lost  *answer.Refusal // what the client gets if the grant was lost
}

// borrow forwards the write with a grant. It never shortens the lease that the handler
// further out relies on: at least five sixths of that are left.
func (x inner) borrow(g etagcache.Grant) error {
	taken, terms := time.Now(), x.Terms
	entry, err := x.share.Read(x.r.Context(), g.Key, terms)
	terms.Lease = max(terms.Lease, entry.Busy*6/5)
	if err == nil {
		err = x.share.Renew(x.r.Context(), g, terms)
	}
	if err != nil {
		return x.refuse(x.responder.CannotTell("the claim of the handler further out could not be renewed").As(telemetry.ClaimLost))
	}
	lease := hold.KeepAlive(x.share, g, taken, terms)
	defer lease.Stop()
	b := &borrowed{inner: x, lease: lease}
	err = proxyhooks.Forward(lease.Context(), x.next, x.rw, x.r, forwarding(x.exchange), b)
	if b.lost != nil {
		return x.responder.SendRefusal(*b.lost)
	}
	return err
}

// Held implements proxyhooks.Writing.
func (b *borrowed) Held() bool { return !b.lease.Lost() }

// BufferLimit implements proxyhooks.Writing. The handler further out buffers the answer.
func (*borrowed) BufferLimit(int, http.Header) (int64, time.Duration) { return -1, 0 }

// Pass implements proxyhooks.Writing.
func (b *borrowed) Pass(proxyhooks.Answer) { b.responder.Report(answer.Bypassed, protectedReason) }

// Settle implements proxyhooks.Writing. The grant may also be lost because the handler
// further out has settled the write: by then there is an answer.
func (b *borrowed) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) (send bool) {
	switch {
	case a.Passed:
		return true
	case !b.lease.Lost():
		b.responder.Report(answer.Bypassed, protectedReason)
		return true
	}
	b.lost = reportLost(b.responder, fate)
	return false
}

// unknownConditions returns the changes that remove conditions about validators that this
// handler may have made: the backend wouldn't know them. The handler further out took them
// for the backend's own.
func (x inner) unknownConditions() map[string][]string {
	changes := make(map[string][]string)
	c := x.request.Conditions
	for field, lines := range map[validator.Field][]string{validator.IfMatch: c.IfMatch, validator.IfNoneMatch: c.IfNoneMatch} {
		for tag := range validator.Tags(lines) {
			if x.Deriver.MayHaveMade(tag) {
				changes[field.String()] = nil
			}
		}
	}
	if c.IfUnmodifiedSince != nil {
		changes[validator.IfUnmodifiedSince.String()] = nil
	}
	return changes
}

// warnOfOuter warns, once, that this handler does what one further out does already.
func (x inner) warnOfOuter() {
	if x.Learned.tellOfOuter() {
		x.Logger.Warn("a handler further out protects the same resources on the same store, so this one is not needed for them: "+
			"its requests pass untouched", zap.String("resource", x.plan.Subject.Key))
	}
}
