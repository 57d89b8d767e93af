package gateway

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/history"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reportWrite forwards a write whatever its conditions say, and reports what
// would have become of it. It waits for no other write.
func (x *exchange) reportWrite() error {
	done, err := readAhead(x, false)
	if err != nil {
		return contentError(err)
	}
	defer done()
	refusal, current := x.foresee()
	x.begun = x.Store.Count(x.request.HostName())
	defer x.begun.End()
	x.invalidate(x.plan.ChangedKeys()[1:])
	w := x.newWriting()
	w.invalidateAfter = true
	if replaces(x.request) {
		w.watched = x.Answers.History.BeginWrite(x.target, watcher(x))
		defer w.watched.End(false, history.Unproven)
	}
	if proxyhooks.ContentPending(x.r) {
		// Handlers that enforce conditions may share the store. They wait for nobody who
		// still sends.
		x.invalidate(x.plan.ChangedKeys()[:1])
	} else {
		w.holds.TryPass(x.r.Context(), x.plan.Subject.Key)
	}
	defer w.release()
	x.announces.release = w.release
	return w.forward(decision{outcome: refusal.Outcome, reason: refusal.Reason, field: refusal.Condition, current: current, refusal: &refusal})
}

// foresee returns the refusal that the write would get, and what its condition was
// compared with. The refusal of a write that would pass has an outcome, but no
// status.
func (x *exchange) foresee() (answer.Refusal, validator.Observed) {
	if refusal := x.carried.objection(); refusal.Status != 0 {
		return refusal, validator.Observed{}
	}
	if refusal, refused := (premises{x}).refusal(); refused {
		return refusal, validator.Observed{}
	}
	if !x.request.Conditional {
		return x.foreseeUnconditional(x.request.Ignored), validator.Observed{}
	}
	view, err := x.reader.Read()
	if err != nil {
		return x.responder.CannotTell("the store is out of reach").As(telemetry.StoreUnreachable), validator.Observed{}
	}
	view = view.Selected()
	known := view.Stored()
	current := known.Observed
	res := view.Evaluate(current, known)
	if view.Busy() || res.Verdict == validator.Unverifiable || x.Verify.needed(known.Age) {
		p := x.origin.probe(x.r.Context(), view)
		trusted := x.origin.trustsStore(p, current, res)
		if p.Known {
			current, res = view.EvaluateProbed(p, known, view.Entry().Epoch)
		}
		if view.Negotiated() && !trusted && !(p.Known && res.Verdict == validator.True) {
			view = knowledge.Own(view)
			if p = x.origin.probe(x.r.Context(), view); p.Known {
				current, res = view.EvaluateProbed(p, view.Stored(), view.Entry().Epoch)
			}
		}
		if !p.Known && !trusted {
			return x.responder.CannotTell("the origin could not be asked for the current state").As(telemetry.OriginUnreachable), validator.Observed{}
		}
	} else if res.Verdict == validator.True && !storeshare.Trusted(x.share) {
		return x.responder.CannotTell(untrusted).As(telemetry.StoreEvicts), validator.Observed{}
	}
	switch res.Verdict {
	case validator.True:
		return answer.Refusal{Outcome: answer.Passed, Reason: x.responder.Ignored(res.Ignored), Condition: res.Field}, current
	case validator.Unconditional:
		return x.foreseeUnconditional(res.Ignored), current
	default:
		return x.responder.ConditionFailed(res, current.Representation), current
	}
}

func (x *exchange) foreseeUnconditional(ignored validator.Fields) answer.Refusal {
	if x.mustBeConditional() {
		return x.responder.ConditionRequired(ignored)
	}
	if x.request.Premises != nil {
		return answer.Refusal{Outcome: answer.Passed}
	}
	return answer.Refusal{Outcome: answer.Unconditional, Reason: x.responder.Ignored(ignored)}
}

// replaces reports whether a write replaces the state of its target, if it succeeds.
func replaces(r *resource.Request) bool {
	return r.Does(http.MethodPut) || r.Does(http.MethodPatch) || r.Does(http.MethodDelete)
}

// proof returns what the condition of a write says about what its client has seen.
func (d decision) proof() history.Proof {
	switch {
	case d.outcome == answer.Passed:
		return history.Saw
	case d.outcome == answer.Failed && answer.Contradicts(d.refusalIfAny().Code):
		return history.SawOther
	default:
		return history.Unproven
	}
}

// watcher returns a number for the client of a request: the same for its reads and its writes,
// so only fields count that both have. In mode report, it tells who has seen which state.
func watcher(x *exchange) uint64 {
	user, _ := x.request.Replacer.GetString("http.auth.user.id")
	return identity("", address(x.r), user, certificate(x.r)) +
		identity("Authorization", x.request.Fields["Authorization"]...) +
		identity("User-Agent", x.request.Fields["User-Agent"]...)
}

// watchRead notes, in mode report, that the client sees the present state. It must be called
// before the read begins; seen must be called when the client is about to see it.
func watchRead(x *exchange) (seen func()) {
	if x.enforces() || x.r.Method != http.MethodGet {
		return func() {}
	}
	watched := x.Answers.History.Seen(x.target)
	state := watched.BeginRead()
	return func() { watched.EndRead(state, watcher(x)) }
}
