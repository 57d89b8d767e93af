package answer

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

// PremiseFailed refuses a write because a condition on another resource than its target is
// false. It names no validator: the client would take that for one of the target.
func PremiseFailed(a *Responder, p resource.Premise, res validator.Result, missing bool) Refusal {
	name := p.Prefix + res.Field.String()
	refusal := Refusal{
		Status:  http.StatusPreconditionFailed,
		Outcome: Failed,
		Code:    codes[res.Reason],
		Reason:  name + " on " + p.Subject.Key + ": " + res.Reason.String(),
		Detail:  sentence(failureDetail(res, name+" (about "+p.Subject.OriginalTarget+")")) + " Nothing was changed.",
		premise: name,
	}
	if missing {
		refusal.Detail = p.Subject.OriginalTarget + ", which " + name + " is about, doesn't exist. Nothing was changed."
	}
	if missing && a.S3 {
		refusal.Status = http.StatusNotFound
	}
	return refusal
}

// PremiseNotVerifiable refuses a write because nobody can tell whether a condition on another
// resource than its target holds, and says why.
func PremiseNotVerifiable(a *Responder, p resource.Premise, why string) Refusal {
	refusal := a.CannotTell("of " + p.Subject.OriginalTarget + ", which a condition is about, nobody can tell the state: " + why)
	refusal.Outcome = Unverifiable
	return refusal
}
