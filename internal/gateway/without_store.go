package gateway

import (
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writeWithoutStore forwards a write while the store is out of reach, if the
// configuration allows that, and refuses it otherwise.
func (x *exchange) writeWithoutStore() error {
	forwards := x.StoreDown.ForwardUnconditional
	if resource.HasConditions(x.request) {
		forwards = x.StoreDown.ForwardConditional
	}
	if !forwards {
		return x.refuse(x.responder.CannotTell("the store is out of reach").As(telemetry.StoreUnreachable))
	}
	if x.request.Conditional && proxyhooks.ContentPending(x.r) {
		done, err := readAhead(x, true)
		if err != nil {
			return contentError(err)
		}
		defer done()
	}
	if x.begun == nil {
		err := begin(x)
		defer x.begun.End()
		if err != nil {
			if d := x.decideOnError(err); d.kind != withoutStore {
				return d.conclude(x)
			}
		}
	}
	if x.request.Premises != nil {
		return x.refuse(x.responder.CannotTell("the store is out of reach, and there are conditions on other resources than the target"))
	}
	if !x.request.Conditional {
		return x.forwardJournaled(forwardUnconditionally(x))
	}
	if x.request.StateSubjects != nil {
		return x.refuse(x.responder.CannotTell("the store is out of reach, and the If field is about several resources").As(telemetry.StoreUnreachable))
	}
	// Another write can slip in after this check. The operator prefers a racy check
	// to none.
	p := x.origin.probe(x.r.Context(), knowledge.View{})
	if !p.Known {
		return x.notProbed(p, validator.None).conclude(x)
	}
	res := x.request.Evaluate(p.Observed.Representation)
	switch {
	case res.Verdict == validator.False, res.Verdict == validator.Unverifiable:
		return x.refuse(x.responder.ConditionFailed(res, p.Observed.Representation))
	case res.Verdict == validator.Unconditional && x.mustBeConditional():
		return x.refuse(x.responder.ConditionRequired(res.Ignored))
	}
	return x.forwardJournaled(decision{outcome: answer.Passed, reason: x.responder.Ignored(res.Ignored), current: p.Observed})
}

// forwardJournaled forwards a write that only this node's journal knows of.
func (x *exchange) forwardJournaled(d decision) error {
	defer x.share.WriteWithoutStore(x.plan.ChangedKeys())()
	return x.newWriting().forward(d)
}
