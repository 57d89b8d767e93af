package gateway

import (
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// confirmation is what the condition of a write was compared with.
type confirmation struct {
	view      knowledge.View // of the representation
	current   validator.Observed
	res       validator.Result
	confirmed bool              // the origin has just shown it
	probed    proxyhooks.Probed // what the origin answered

	// undecided, if not nil, is what becomes of the write because the origin left the
	// condition open.
	undecided *decision
}

// confirmer asks the origin about the condition of a write.
type confirmer struct{ *writing }

// confirm asks the origin for the representation that the condition is about. If the
// write's own fields select a different one, and the origin doesn't confirm the
// condition for the first, the write is decided by its own representation.
func (w confirmer) confirm(view knowledge.View, stored etagcache.Stored, res validator.Result) confirmation {
	first := w.ask(view, stored, res)
	if !view.Negotiated() || first.decides() {
		return first
	}
	own := knowledge.Own(view)
	known := own.Stored()
	second := confirmation{view: own, current: known.Observed, res: own.Evaluate(known.Observed, known)}
	if !w.refutes(second.res) {
		second = w.ask(own, known, second.res)
	}
	if first.passes() && !second.decides() {
		return first
	}
	return second
}

// decides reports whether the condition is decided, whatever other representations
// there are: If-Match holds for this one, or `If-None-Match: *` doesn't.
func (c confirmation) decides() bool {
	return c.undecided == nil &&
		(c.res.Verdict == validator.True || c.res.Verdict == validator.False && c.res.Reason == validator.Exists)
}

// passes reports whether the origin may confirm the condition if it is asked again.
func (c confirmation) passes() bool {
	return c.undecided != nil && c.undecided.refusalIfAny().Outcome == answer.Unavailable
}

// ask asks the origin for the representation that a view is about, and evaluates the
// condition. It records what the origin showed first, for the settlement.
func (w confirmer) ask(view knowledge.View, stored etagcache.Stored, res validator.Result) confirmation {
	c := confirmation{view: view, current: stored.Observed, res: res}
	decide := func(d decision) confirmation {
		c.undecided = &d
		return c
	}
	p := w.probe(view, stored)
	c.probed = p
	if w.origin.trustsStore(p, c.current, res) {
		if !storeshare.Trusted(w.share) {
			return decide(refuseWith(w.responder.CannotTell(untrusted).As(telemetry.StoreEvicts)))
		}
		// Make sure that no group of the resource has changed since it was read.
		view, err := view.Confirm()
		if err != nil {
			return decide(w.decideOnError(err))
		}
		if view, stored, res = view.EvaluateStored(); res.Verdict == validator.True {
			return confirmation{view: view, current: stored.Observed, res: res}
		}
	}
	switch {
	case !p.Known && w.request.OneTime != nil && w.namesReplaced(view):
		return decide(refuseWith(w.responder.Replaced(res.Field)))
	case !p.Known:
		return decide(w.notProbed(p, res.Field))
	}
	c.current, c.res = view.EvaluateProbed(p, stored, w.epoch(view))
	if d, past := decidePast(w.exchange, view, p, c.current, c.res); past {
		return decide(d)
	}
	if c.res.Verdict == validator.Unverifiable && p.Untagged && !proxyhooks.MustNotBuffer(p.Header) {
		return decide(refuseWith(w.responder.NotVerifiable(res.Field, "the entity tag of the resource is made from its content, which is too long, or more than there is room for now").As(telemetry.NoTag)))
	}
	c.confirmed = true
	if o, ok := view.Observation(c.current, p.Header); ok && w.before == nil {
		w.before = &o
	}
	return c
}

// probe asks the origin for the representation that a view is about. It is enough to hear
// that it is what is stored.
func (w confirmer) probe(view knowledge.View, stored etagcache.Stored) proxyhooks.Probed {
	got, ok := w.takenOver(view)
	switch {
	case ok:
	case w.origin.mayUseHead():
		return w.origin.ask(w.question(view, stored))
	default:
		got = w.origin.probe(w.r.Context(), view)
	}
	got = w.origin.consider(got)
	if isUnexpected(got, stored.Observed) {
		w.question(view, stored).noteBypass(w.Learned, got)
	}
	return got
}

func (w confirmer) question(view knowledge.View, stored etagcache.Stored) question {
	q := question{ctx: w.r.Context(), view: view, stored: stored.Observed}
	q.get = func() proxyhooks.Probed { return w.origin.probe(q.ctx, view) }
	if stored.State == validator.Present && stored.ETag.Valid {
		q.enough = func(head proxyhooks.Probed) bool { return sameShown(head.Observed, stored.Observed) }
	}
	q.unwritten = func() bool {
		if w.holds.Claimed() {
			return !w.holds.Lost()
		}
		now, err := w.reader.Read()
		return err == nil && !view.Busy() && !now.Busy() && now.Entry().Epoch == view.Entry().Epoch
	}
	return q
}

// epoch returns the epoch from which a version is made that the origin shows now.
func (w confirmer) epoch(view knowledge.View) string {
	if w.holds.Claimed() {
		return w.holds.Token()
	}
	return view.Entry().Epoch
}

// creationAdvice tells a client that wants to create something once with a POST what the
// condition is about.
func creationAdvice(x *exchange, res validator.Result) string {
	if x.plan.Guarded || x.request.Operation != resource.NoOperation || x.request.Meaning != http.MethodPost || res.Field != validator.IfNoneMatch || res.Reason != validator.Exists {
		return ""
	}
	return " The condition is about the target of the POST, which is there, and not about what the POST would create. " +
		"The operator can say in the option guards what it is about."
}

// negotiationAdvice tells a client whose tag doesn't match that it may be the tag of a
// different representation, which only the client knows how to ask for.
func (d decision) negotiationAdvice() string {
	if d.result.Field != validator.IfMatch || d.result.Reason != validator.NoMatch {
		return ""
	}
	names := knowledge.NegotiatedBy(d.view, d.shown)
	if names == nil {
		return ""
	}
	return " Responses depend on " + strings.Join(names, ", ") + ": send what you sent when you read the resource."
}
