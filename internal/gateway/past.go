package gateway

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// decidePast decides about a write to which the origin has shown the past, or may
// have. A condition that holds for a state that was replaced, and for no other, is
// false: what replaced that state is the present. Otherwise nobody can tell.
func decidePast(x *exchange, view knowledge.View, p proxyhooks.Probed, shown validator.Observed, res validator.Result) (d decision, past bool) {
	switch past := view.Past(shown); {
	case past == knowledge.Replaced && res.Verdict == validator.True && holdsOnlyFor(x, view, view.Dated(shown, view.Stored())):
		return refuseWith(x.responder.Replaced(res.Field)), true
	case past != knowledge.NotPast:
		return refuseWith(x.responder.OriginLags()), true
	case p.Cached:
		return refuseWith(x.responder.CannotTell("a cache answered in place of the origin").As(telemetry.CachedAnswer)), true
	}
	return d, false
}

// holdsOnlyFor reports whether the condition, which holds for a state that was replaced,
// can't hold for what has replaced that state. It can if it is *, if it lists the tag of
// yet another state, or if its date is a later one.
func holdsOnlyFor(x *exchange, view knowledge.View, state validator.Representation) bool {
	if x.request.Conditions.IfMatch != nil {
		return namesOnlyReplaced(x, view)
	}
	other := validator.Representation{
		State:        validator.Present,
		ETag:         validator.ETag{Opaque: "another state", Valid: true}, // no client can send this
		LastModified: state.LastModified.Add(time.Second),
	}
	return x.request.Evaluate(other).Verdict == validator.False
}

// namesOnlyReplaced reports whether If-Match lists tags, and writes have replaced the
// states of all of them. It is then false, whatever is there now.
func namesOnlyReplaced(x *exchange, view knowledge.View) bool {
	named := false
	for tag := range validator.Tags(x.request.Conditions.IfMatch) {
		isReplaced := func(t validator.ETag) bool {
			state := validator.Representation{State: validator.Present, ETag: t}
			return t.Valid && view.Past(validator.Observed{Representation: state}) == knowledge.Replaced
		}
		unmarked := tag.Unmarked()
		if !isReplaced(tag) && !slices.ContainsFunc(unmarked[:], isReplaced) {
			return false
		}
		named = true
	}
	return named
}

// namesReplaced reports whether If-Match is false whatever is there now, so that the
// origin need not be asked.
func (w *writing) namesReplaced(view knowledge.View) bool {
	return !w.Verify.Refused && namesOnlyReplaced(w.exchange, view)
}

// announce tells the store what a write is about to replace, unless the store knows
// that. If nobody reports the end of the write, its state is spent all the same.
func (w *writing) announce(current validator.Observed, stored etagcache.Stored) error {
	if id := unknownState(w.Terms, current, stored); id != "" {
		return hold.Announce(w.holds, id)
	}
	return nil
}

// unknownState returns the identity of the state that a write is about to replace, or nothing
// if the store knows that state or need not be told.
func unknownState(t etagcache.Terms, current validator.Observed, stored etagcache.Stored) string {
	if t.Lag == 0 || current.SameState(stored.Observed) {
		return "" // the usual case, without a digest
	}
	if id := current.Identity(); id != stored.Identity() {
		return id
	}
	return ""
}

// replacesAhead returns the identity that the claim can announce, so that announce has nothing
// left to do. It is empty unless the origin has shown the state under the epoch of view. If the
// write isn't forwarded after all, the end of the claim takes the announcement back.
func (w turn) replacesAhead(view knowledge.View) string {
	shown := w.ahead.shown
	if shown == nil || shown.view.Entry().Epoch != view.Entry().Epoch {
		return ""
	}
	return unknownState(w.Terms, shown.current, shown.view.Stored())
}

// replaces reports whether a write, if it succeeds, replaces the state of the subject. A
// POST may do something else, and so may a write whose condition is about something else,
// and one that the backend may take for a read.
func (w *writing) replaces() bool {
	return !w.plan.Guarded && !w.request.Does(http.MethodPost) && !w.request.MayWriteNothing()
}
