package gateway

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

// The lists of an If field (RFC 4918, section 10.4) are about entity tags, which this handler
// knows, and about state tokens, which only the backend knows. A write is refused here if the
// tags of no list hold. Otherwise the backend gets the field without tags, and decides about
// what is left.
//
// A list may be about another resource than the target. The write holds a claim on that, too,
// and asks the origin about it under the claim, whatever is stored.

// A read is forwarded with the tokens alone, as if all tags held. Its answer shows whether they
// do.

// ifField is the name of that field.
var ifField = validator.If.String()

// others is what the origin has shown of the resources that an If field is about besides the
// target, in the order of [resource.Request.StateSubjects].
type others []validator.Representation

// lists is what a write has to do with the lists of its If field.
type lists struct{ *writing }

// askOthers asks the origin about the resources that the If field is about besides the target.
// It returns the refusal of a write that mustn't pass, given what the target is now.
func (w lists) askOthers(current validator.Representation) (refusal answer.Refusal, refused bool) {
	field := w.request.Conditions.If
	if field == nil {
		return refusal, false
	}
	w.others = nil
	for _, subject := range w.request.StateSubjects {
		r, why := w.askOther(subject)
		if why != "" {
			return w.responder.NotVerifiable(validator.If, why), true
		}
		w.others = append(w.others, r)
	}
	for _, l := range field.Lists {
		if w.others.hold(w.exchange, l, current) {
			return refusal, false
		}
	}
	failed := validator.Result{Verdict: validator.False, Field: validator.If, Reason: validator.NoMatch}
	return w.responder.ConditionFailed(failed, validator.Representation{}), true
}

// hold reports whether the tags of a list hold, for sure. Current is what the target is now.
func (o others) hold(x *exchange, l validator.StateList, current validator.Representation) bool {
	switch {
	case l.Other > len(o):
		return false
	case l.Other > 0:
		current = o[l.Other-1]
	}
	return l.EvaluateTags(x.Weak, current).Verdict == validator.True
}

// askOther asks the origin about one of them, on which the write holds a claim. If the answer
// tells nothing, it says why.
func (w lists) askOther(subject resource.Subject) (r validator.Representation, why string) {
	const silent = "the origin doesn't tell the entity tag of another resource that the If field is about"
	reader := &knowledge.Reader{Config: w.Config, Share: w.share, Request: w.request, Subject: subject, Course: w.responder.Course}
	view, err := reader.Read()
	if err != nil {
		return r, "the store is out of reach"
	}
	origin := w.newProber(w.next, w.request, subject, w.cross, w.memory)
	origin.base, origin.course = w.origin.base, w.origin.course
	p := origin.probe(w.r.Context(), view)
	switch {
	case !p.Known, p.Versioned, p.Untagged:
		return r, silent
	case p.Cached, view.Past(p.Observed) != knowledge.NotPast:
		return r, "the origin may still show an older state of another resource that the If field is about"
	}
	return p.Observed.Representation, ""
}

// stateField returns the lines of the If field with which to forward a write. They have no
// tags that this handler may have made.
func (w lists) stateField(d decision) (lines []string, changed bool) {
	field := w.request.Conditions.If
	switch {
	case field == nil, w.request.Signed:
		return nil, false
	case !w.enforces() && d.current.Own:
		return nil, false // the backend is still to decide
	}
	text := field.WithoutTags(func(l validator.StateList) bool {
		return !w.enforces() || w.others.hold(w.exchange, l, d.current.Representation)
	})
	if text == "" {
		return nil, true
	}
	return []string{text}, true
}

// fieldOfRead returns the lines of the If field with which to forward a read.
func fieldOfRead(field *validator.StateLists) []string {
	text := field.WithoutTags(func(validator.StateList) bool { return true })
	if text == "" {
		return nil
	}
	return []string{text}
}

// tokensDecide returns the refusal of a read if nobody can tell whether its If field holds, which
// the evaluation of the tags alone hasn't refuted: the backend has found a list true, which may
// be one whose tags don't hold.
func tokensDecide(rd *reading, current validator.Representation, res validator.Result) (refusal answer.Refusal, unclear bool) {
	field := rd.request.Conditions.If
	switch {
	case !rd.enforces(), !field.HasTags(), !field.HasTokens():
		return refusal, false
	case res.Verdict == validator.False, res.Verdict == validator.Unverifiable, field.AllTagsHold(rd.Weak, current):
		return refusal, false
	}
	refusal = rd.responder.NotVerifiable(validator.If, "it has lists whose entity tags don't hold beside lists that may, and only the backend knows the state tokens")
	refusal.Status, refusal.RetryAfter = http.StatusPreconditionFailed, 0
	return refusal, true
}
