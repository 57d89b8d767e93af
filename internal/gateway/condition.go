package gateway

import (
	"maps"
	"net/http"
	"slices"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/validator"
)

// condition is the condition that a write carries when it goes to the backend. The
// client's own condition was found true here, and may name a tag that the backend has
// never heard of. If a probe has just shown a tag of the backend's own, that one goes
// along: the backend's check closes the gap between the probe and the write. Without a
// probe there is no such gap, and the tag goes along only if the backend asks for one.
type condition struct {
	fields map[string][]string // to change

	// tag is the backend's own tag in If-Match, if it isn't the one that the client sent.
	// A backend that compares strongly refuses its own weak tag (RFC 9110, section 13.1.1).
	tag validator.ETag

	// own means that the client's condition names the backend's own tag and goes along.
	own bool

	// none means that no condition goes along, although the client sent one.
	none bool

	// negotiable means that the write can be sent again with a different condition.
	negotiable bool

	// tags is how many tags have gone along so far, and refused the last that was refused.
	tags    int
	refused validator.ETag
}

// mayBeAtFault reports whether a backend that gives this status to the write may have
// refused the condition for its form only: the condition still holds.
func (c condition) mayBeAtFault(status int) bool {
	switch {
	case !c.negotiable:
		return false
	case status == http.StatusPreconditionFailed:
		return c.tag.Valid
	default:
		return status == http.StatusPreconditionRequired && c.none
	}
}

// foundFalse reports whether a backend that gives this status to the write has found the
// client's condition false, which was true when the origin was asked.
func (c condition) foundFalse(status int) bool {
	return c.negotiable && c.own && status == http.StatusPreconditionFailed
}

// conditionFields are the fields that a backend may take for a condition on a write.
var conditionFields = [...]validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfUnmodifiedSince}

// conditionFor returns the condition with which to forward a write. It is negotiable if
// the write can be sent again.
func (x *exchange) conditionFor(d decision, negotiable bool) condition {
	if !x.request.Conditional || x.request.Signed {
		return condition{}
	}
	if !x.enforces() && !x.plan.Guarded && concernsBackend(x.request.Conditions, d.current) {
		return condition{} // the backend is still to decide
	}
	c := condition{fields: make(map[string][]string)}
	for _, field := range conditionFields {
		c.fields[field.String()] = nil
	}
	own := ownTag(d.current)
	field, lines := x.keptCondition(d)
	switch {
	case field != validator.None:
		c.fields[field.String()] = lines
		switch {
		case field != validator.IfMatch || validator.IsWildcard(lines):
		case negotiable && d.view.Negotiated():
			c.name(own) // the backend may compare it with what the write's own fields select
		default:
			c.own = true
		}
	case own.Valid && negotiable && (d.confirmed || x.Learned.asksForCondition()):
		c.name(own)
	default:
		c.none = true
	}
	c.negotiable = negotiable && (c.own || c.none || c.tag.Valid)
	return c
}

// ownTag returns the tag by which the backend itself knows a representation.
func ownTag(o validator.Observed) validator.ETag {
	if o.Own {
		return o.ETag
	}
	return o.Backend
}

// concernsBackend reports whether conditions, which were compared with the current
// representation, are about validators that the backend knows.
func concernsBackend(c validator.Conditions, current validator.Observed) bool {
	if c.IfMatch != nil || c.IfNoneMatch != nil || c.If != nil {
		return current.Own
	}
	return !current.LastModified.IsZero()
}

// keptCondition returns the condition of the client that means the same to the backend, or
// None. The backend gets its own tag in its own spelling.
func (x *exchange) keptCondition(d decision) (validator.Field, []string) {
	sent, current := x.request.Conditions, d.current
	switch {
	case x.plan.Guarded, d.outcome != answer.Passed:
		// It is about a different resource, or doesn't count.
	case sent.IfMatch != nil:
		if validator.IsWildcard(sent.IfMatch) {
			return validator.IfMatch, []string{"*"}
		}
		if res := x.request.Evaluate(current.Representation); current.Own && res.Matched.Valid && res.Field == validator.IfMatch {
			return validator.IfMatch, []string{current.ETag.String()}
		}
	case sent.IfNoneMatch != nil:
		if validator.IsWildcard(sent.IfNoneMatch) || current.Own {
			return validator.IfNoneMatch, sent.IfNoneMatch
		}
	case sent.IfUnmodifiedSince != nil && !current.LastModified.IsZero():
		return validator.IfUnmodifiedSince, sent.IfUnmodifiedSince // the date is the backend's own
	}
	return validator.None, nil
}

// reconsider decides about a write that the backend has refused, perhaps only because of
// the form of the condition. It changes the condition that goes along. A backend that asks
// for a condition gets its own tag, or one that says no more than that the resource exists.
// If the backend says that its own tag doesn't match, the origin is asked once more: it may
// have been changed since, by somebody who doesn't come through here.
func (w *writing) reconsider() decision {
	status, refused := w.refusedAs, w.sent
	w.refusedAs = 0
	clear(w.rw.Header())
	maps.Copy(w.rw.Header(), w.header.Clone())

	w.sent = condition{fields: maps.Clone(refused.fields), tags: refused.tags, refused: refused.refused}
	if refused.tag.Valid {
		w.sent.refused = refused.tag
	}
	name := validator.IfMatch.String()
	if status == http.StatusPreconditionRequired {
		w.Learned.backendAsked()
		if !w.sent.name(ownTag(w.decision.current)) {
			w.sent.fields[name] = []string{"*"}
		}
		return w.ifHeld(w.decision)
	}
	p := w.origin.probe(w.r.Context(), w.view)
	if !p.Known {
		return w.notProbed(p, w.decision.field)
	}
	current, res := w.view.EvaluateProbed(p, w.view.Stored(), w.holds.Token())
	if d, past := decidePast(w.exchange, w.view, p, current, res); past {
		return d
	}
	if o, ok := w.view.Observation(current, p.Header); ok {
		w.before = &o
	}
	if res.Verdict != validator.True {
		return refutedBy(w.view, res, current)
	}
	w.decision.current = current
	if lines, changed := (lists{w}).stateField(w.decision); changed {
		w.sent.fields[ifField] = lines
	}
	if !w.sent.name(ownTag(current)) {
		w.sent.fields[name] = nil
		w.sent.none, w.sent.negotiable = true, true
	}
	if err := w.announce(current, w.view.Stored()); err != nil {
		return w.decideOnError(err)
	}
	return w.ifHeld(w.decision)
}

// name puts a tag into If-Match, unless that makes no sense: it was refused before, or a
// different one was, after which the backend's tag had changed once already.
func (c *condition) name(tag validator.ETag) bool {
	if !tag.Valid || tag == c.refused || c.tags == maxTags {
		return false
	}
	c.fields[validator.IfMatch.String()] = []string{tag.String()}
	c.tag, c.negotiable = tag, true
	c.tags++
	return true
}

const maxTags = 2

// without returns the fields that a header has beside those of another one.
func without(h, other http.Header) http.Header {
	rest := make(http.Header)
	for name, lines := range h {
		if known := other[name]; len(known) < len(lines) && slices.Equal(known, lines[:len(known)]) {
			rest[name] = lines[len(known):]
		}
	}
	return rest
}
