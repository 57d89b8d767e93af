package gateway

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
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

	// none means that the write goes without a condition, although it had one.
	none bool

	// negotiable means that the write can be sent again with a different condition.
	negotiable bool
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

// conditionFields are the fields that a backend may take for a condition on a write.
var conditionFields = [...]validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfUnmodifiedSince}

// condition returns the condition with which to forward a write.
func (w *writing) condition(d decision) condition {
	negotiable := d.outcome == answer.Passed && w.holds.Claimed() && !w.plan.Guarded &&
		w.request.OneTime == nil && !proxyhooks.ContentPending(w.r)
	return w.conditionFor(d, negotiable)
}

// conditionFor does the same, if it is known whether the condition is negotiable.
func (x *exchange) conditionFor(d decision, negotiable bool) condition {
	if !x.request.Conditional || x.request.Signed || !x.enforces() && d.current.Own {
		return condition{}
	}
	c := condition{fields: make(map[string][]string), negotiable: negotiable}
	for _, field := range conditionFields {
		c.fields[field.String()] = nil
	}
	own := ownTag(d.current)
	field, lines := x.keptCondition(d)
	switch {
	case field != validator.None:
		c.fields[field.String()] = lines
		if field == validator.IfMatch && own.Valid && negotiable && d.view.Negotiated() {
			c.tag = own // the backend may compare it with what the write's own fields select
		}
	case own.Valid && negotiable && (d.confirmed || x.Learned.asksForCondition()):
		c.tag = own
		c.fields[validator.IfMatch.String()] = []string{own.String()}
	default:
		c.none = true
	}
	return c
}

// ownTag returns the tag by which the backend itself knows a representation.
func ownTag(o validator.Observed) validator.ETag {
	if o.Own {
		return o.ETag
	}
	return o.Backend
}

// keptCondition returns the condition of the client that means the same to the backend, or
// None. The backend gets its own tag in its own spelling.
func (x *exchange) keptCondition(d decision) (validator.Field, []string) {
	sent, current := x.request.Conditions, d.current
	switch {
	case x.plan.Guarded, d.outcome != answer.Passed:
		// It is about a different resource, or doesn't count.
	case sent.IfMatch != nil:
		if isWildcard(sent.IfMatch) {
			return validator.IfMatch, []string{"*"}
		}
		if res := x.request.Evaluate(current.Representation); current.Own && res.Matched.Valid && res.Field == validator.IfMatch {
			return validator.IfMatch, []string{current.ETag.String()}
		}
	case sent.IfNoneMatch != nil:
		if isWildcard(sent.IfNoneMatch) || current.Own {
			return validator.IfNoneMatch, sent.IfNoneMatch
		}
	case !current.LastModified.IsZero():
		return validator.IfUnmodifiedSince, sent.IfUnmodifiedSince // the date is the backend's own
	}
	return validator.None, nil
}

// isWildcard reports whether a field is a single *.
func isWildcard(lines []string) bool {
	return len(lines) == 1 && strings.Trim(lines[0], " \t") == "*"
}

// forwardAgain forwards a write again that the backend has refused, perhaps only because of
// the form of the condition. Again is the request before the handlers behind this one
// changed it, and header is what the header of the answer was.
func (w *writing) forwardAgain(ctx context.Context, again *http.Request, header http.Header) error {
	clear(w.rw.Header())
	maps.Copy(w.rw.Header(), header)
	if d := w.reconsider(); d.kind != forward || !proxyhooks.Reopen(again) {
		w.release()
		return d.conclude(w.exchange)
	}
	w.refusedAs = 0
	return w.concludeForward(w.send(ctx, proxyhooks.Isolate(again, w.rw)))
}

// reconsider decides about a write that the backend has refused. It changes the condition
// that goes along. A backend that asks for a condition gets its own tag, or one that says
// no more than that the resource exists. If the backend says that its own tag doesn't match, the origin is
// asked once more: it may have been changed since, by somebody who doesn't come through here.
func (w *writing) reconsider() decision {
	name := validator.IfMatch.String()
	d := w.decision
	if w.refusedAs == http.StatusPreconditionRequired {
		w.Learned.backendAsked()
		w.sent = condition{fields: maps.Clone(w.sent.fields)}
		w.sent.fields[name] = []string{"*"}
		if own := ownTag(d.current); own.Valid {
			w.sent.fields[name] = []string{own.String()}
		}
		return d
	}
	p := w.origin.probeFor(w.r.Context(), w.view)
	if !p.Known {
		return w.notProbed(p, w.decision.field)
	}
	current, res := w.view.EvaluateProbed(p, w.view.Stored(), w.holds.Token())
	if d, past := decidePast(w.responder, w.view, p, current, res); past {
		return d
	}
	if o, ok := w.view.Observation(current, p.Header); ok {
		w.before = &o
	}
	if res.Verdict != validator.True {
		return refutedBy(w.view, res, current)
	}
	refused := w.sent.tag
	w.sent = condition{fields: maps.Clone(w.sent.fields)}
	w.sent.fields[name] = nil
	if tag := ownTag(current); tag.Valid && tag != refused {
		w.sent.fields[name] = []string{tag.String()}
	}
	d.current = current
	w.decision = d
	return w.decideFinally(d)
}
