package gateway

import (
	"sync"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A write may have conditions on other resources than its target: the source of a copy, or the
// objects in a list of those to delete. It holds a claim on each of these, and evaluates the
// conditions under the claims, once it has all of them. A request that is signed goes to the
// backend as it is, so either all conditions hold, or the whole write is refused.

// premises are the conditions of a write on other resources.
type premises struct{ *exchange }

// maxPremiseProbes is how many resources the origin is asked about at once for one write.
const maxPremiseProbes = 8

// refusal returns the refusal of a write of which a premise doesn't hold, or about which nobody
// can tell.
func (x premises) refusal() (answer.Refusal, bool) {
	if x.request.Premises == nil {
		return answer.Refusal{}, false
	}
	return x.judgeAll()
}

// judgeAll evaluates the premises until one prevents the write.
func (x premises) judgeAll() (refusal answer.Refusal, refused bool) {
	var mu sync.Mutex
	concurrently.Do(maxPremiseProbes, x.request.Premises, func(p resource.Premise) {
		mu.Lock()
		skip := refused
		mu.Unlock()
		if skip {
			return
		}
		if r, ok := x.judge(p); ok {
			mu.Lock()
			defer mu.Unlock()
			refusal, refused = r, true
		}
	})
	return refusal, refused
}

// judge evaluates one premise.
func (x premises) judge(p resource.Premise) (refusal answer.Refusal, refused bool) {
	reader := &knowledge.Reader{Config: x.Config, Share: x.share, Request: x.request, Subject: p.Subject}
	view, err := reader.Read()
	if err != nil {
		return x.responder.CannotTell("the store is out of reach"), true
	}
	stored := view.Stored()
	current := stored.Observed
	res := p.Evaluate(view.Dated(current, stored))
	if current.State == validator.Unknown || x.Verify.needed(stored.Age) || x.Verify.Refused || !storeshare.Trusted(x.share) {
		origin := x.newProber(x.next, x.request, p.Subject, x.cross, x.memory)
		origin.base = x.origin.base
		probed := origin.probe(x.r.Context(), view)
		if why := undecided(x.exchange, view, probed); why != "" {
			return answer.PremiseNotVerifiable(x.responder, p, why), true
		}
		current = probed.Observed
		res = p.Evaluate(view.Dated(current, stored))
	}
	switch {
	case current.State == validator.Absent && p.Deletes, res.Verdict == validator.True && current.State == validator.Present:
		return refusal, false
	case current.State == validator.Absent, res.Verdict == validator.False, res.Verdict == validator.NotModified:
		return answer.PremiseFailed(x.responder, p, res, current.State == validator.Absent), true
	default:
		return answer.PremiseNotVerifiable(x.responder, p, "it has no validator to compare with"), true
	}
}

// undecided says why the answer to a probe doesn't tell what a resource is now, or nothing if
// it does.
func undecided(x *exchange, view knowledge.View, p proxyhooks.Probed) (why string) {
	switch {
	case p.Err != nil:
		return "the origin could not be asked for the current state"
	case !p.Known:
		return "the origin answered " + statusText(p.Status) + " to a GET" + credentialAdvice(x)
	case p.Versioned, p.Untagged:
		return "the origin doesn't tell its entity tag"
	case p.Cached, view.Past(p.Observed) != knowledge.NotPast:
		return "the origin may still show an older state"
	default:
		return ""
	}
}
