package gateway

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// said is what the answer to a write says about what the write has led to.
type said struct {
	kind  saidKind
	shown validator.Observed // what a GET would show, if the answer says so

	// own is the backend's own strong tag on the answer. It may be about the content of the
	// answer rather than the resource, unless a GET shows the same one.
	own validator.ETag

	// onOperatorsWord means that only the option write_etag says so, and not the answer.
	onOperatorsWord bool
}

type saidKind uint8

const (
	saysNothing saidKind = iota // as far as anybody can tell
	isResult                    // the content is the new representation of the target
	isElsewhere                 // the content is the representation of a resource that was created elsewhere
	isDoubtful                  // it should be the representation of the target, but a GET must tell
)

// listener finds out what the answer to a write says.
type listener struct{ *aftermath }

// listen returns what an answer says. Its header is as the backend sent it.
func (w listener) listen(a proxyhooks.Answer, fate proxyhooks.Fate) (s said) {
	if tag, ok := validator.ParseETag(a.Header.Get("ETag")); ok && !tag.Weak && len(a.Header["Etag"]) == 1 {
		s.own = tag
	}
	if !a.Complete || fate != proxyhooks.Applied {
		return s
	}
	switch {
	case w.represents(a.Status, a.Header):
		s.kind = isResult
		s.shown = w.Deriver.FromContent(a.Header, a.Content, time.Now()).Observed
	case len(a.Content) == 0:
		return s
	case w.shouldRepresent(a.Status, a.Header):
		s.onOperatorsWord = true
		s.kind, s.shown = w.examine(a)
	case w.shouldRepresentCreated(a.Status, a.Header):
		s.kind = isElsewhere
		s.shown = w.Deriver.FromContent(a.Header, a.Content, time.Now()).Observed
	}
	if !s.shown.ETag.Valid {
		s.kind = saysNothing
	}
	return s
}

// awaits reports whether the content of an answer with this header section is needed.
func (w listener) awaits(status int, h http.Header) bool {
	return w.represents(status, h) || w.shouldRepresent(status, h) || w.shouldRepresentCreated(status, h)
}

// represents reports whether the content of an answer is the new representation
// of the target (RFC 9110, section 8.7), without a content coding that a read
// wouldn't have.
func (w listener) represents(status int, h http.Header) bool {
	location := h["Content-Location"]
	return w.mayRepresent(status, h) && w.WriteETag != WriteETagOff &&
		len(location) == 1 && location[0] != "" && w.request.IsOwnTarget(location[0])
}

// mayRepresent reports whether the content of an answer can be a representation such as a
// read of the subject shows.
func (w listener) mayRepresent(status int, h http.Header) bool {
	return !w.plan.Guarded && (status == http.StatusOK || status == http.StatusCreated) && h["Content-Encoding"] == nil
}

// shouldRepresent reports whether the content of an answer is the new representation of the
// target because the operator says so. A Content-Location that names something else
// contradicts that (RFC 9110, section 6.4.2), and so does an answer that was asked to be
// minimal (RFC 7240, section 4.2).
func (w listener) shouldRepresent(status int, h http.Header) bool {
	return w.WriteETag == WriteETagAnswer && w.mayRepresent(status, h) && !w.request.Signed &&
		(w.request.DoesOnly(http.MethodPut) || w.request.DoesOnly(http.MethodPatch)) &&
		h["Content-Location"] == nil && !answer.AppliedMinimal(h) && !w.createdElsewhere(status, h) && w.Learned.believesAnswers(time.Now())
}

// shouldRepresentCreated reports the same of a resource that the write has created elsewhere
// (RFC 9110, section 15.3.2).
func (w listener) shouldRepresentCreated(status int, h http.Header) bool {
	location := h["Content-Location"]
	return w.WriteETag == WriteETagAnswer && w.mayRepresent(status, h) && !w.request.Signed &&
		(location == nil || slices.Equal(location, h["Location"])) && !answer.AppliedMinimal(h) && w.createdElsewhere(status, h)
}

// examine looks at an answer whose content should be what a GET would show now. Where
// reads have shown something of another kind, a GET must tell: a different Content-Type, or
// a tag of the backend's own on one side only. So it must where the answer shows the very
// state that the write was to replace: an answer that is always the same would do that.
func (w listener) examine(a proxyhooks.Answer) (saidKind, validator.Observed) {
	h, before := a.Header, w.decision.current
	known := before.State == validator.Present && before.ETag.Valid
	if known && !before.Own && h["Etag"] != nil {
		h = maps.Clone(h)
		delete(h, "Etag") // reads don't have it
	}
	derived := w.Deriver.FromContent(h, a.Content, time.Now())
	shown := derived.Observed
	if derived.Need == proxyhooks.NeedVersion {
		return isResult, w.versioned(shown, h)
	}
	switch {
	case !w.holds.Claimed(): // nothing is stored
	case known && shown.Own != before.Own, !known && shown.Own,
		shown.ETag == before.ETag,
		w.fields != nil && !alike(w.fields, h):
		return isDoubtful, shown
	}
	return isResult, shown
}

// versioned gives what an answer shows the tag of the version that the write has led to, if
// only one write can have.
func (w listener) versioned(o validator.Observed, h http.Header) validator.Observed {
	if !w.holds.Claimed() {
		return o
	}
	view, err := w.view.Confirm() // the write itself may have invalidated a group
	if err != nil {
		return o
	}
	w.view = view
	return knowledge.Own(view).Versioned(o, h, validator.Observed{}, w.holds.Token()+" settled")
}

// alike reports whether two responses agree in the fields that are part of tags.
func alike(a, b http.Header) bool {
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// agrees reports whether a GET after the write shows the tag that the backend itself put on
// its answer, so that this tag is about the resource and not about the answer.
func (w *aftermath) agrees(s said, a proxyhooks.Answer, after validator.Observed) bool {
	return w.WriteETag != WriteETagOff && !w.plan.Guarded && !w.createdElsewhere(a.Status, a.Header) &&
		after.Own && after.ETag == s.own
}

// ownFields returns the fields with which the origin has shown what the request's own fields
// select, or nil.
func (c confirmation) ownFields() http.Header {
	if !c.confirmed || c.view.Negotiated() || c.current.State != validator.Present {
		return nil
	}
	return c.probed.Header
}
