package gateway

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// aftermath finds out what a write has led to.
type aftermath struct {
	*writing

	// For a probe after the write:
	probes  bool                // whether there is one
	content *proxyhooks.Content // that was sent, if all of it was at hand
	digest  string              // of the rest of the request

	// What it has found out:
	after   *etagcache.Observation // what the origin shows
	receipt string                 // of the write, if it succeeded and may be replayed
	proven  bool                   // the write's own content proves that after is the present
}

// prepareProbe prepares for a probe of the origin after the write, if its result
// is needed. Only the holder of a claim can be sure that what the probe shows is
// the result of its own write.
func (w *aftermath) prepareProbe() {
	if !w.holds.Claimed() || w.untouchable() || !w.mayBeVerbatim() && !w.Replay && !w.always() {
		return
	}
	w.probes = true
	if content, ok := proxyhooks.ContentOf(w.r); ok {
		w.content = &content
	}
	if w.Replay {
		w.digest = requestDigest(w.exchange)
	}
}

// untouchable reports whether the answer goes to the client as it is. An object store that
// speaks S3 says itself what a write has led to (object.go).
func (w *aftermath) untouchable() bool {
	return w.request.Signed || w.request.Operation != resource.NoOperation
}

// always reports whether the client gets the new tag whatever the backend has stored.
func (w *aftermath) always() bool {
	return (w.WriteETag == WriteETagAlways || w.WriteETag == WriteETagAnswer) && !w.plan.Guarded
}

// mayBeVerbatim reports whether the client gets the new tag if the backend has
// stored the content exactly as it was sent. Only a PUT of a whole representation
// asks for that (RFC 9110, sections 9.3.4 and 14.5). The handler must not have changed it.
func (w *aftermath) mayBeVerbatim() bool {
	return w.WriteETag == WriteETagVerbatim && w.putsWhole() && !w.carried.edited
}

// putsWhole reports whether the content is meant to become the representation of
// the subject, as a whole.
func (w *aftermath) putsWhole() bool {
	return !w.plan.Guarded && w.request.DoesOnly(http.MethodPut) &&
		w.r.Header["Content-Range"] == nil && w.r.Header["Content-Encoding"] == nil
}

// observe finds out what the write has led to, if it can: from the answer, or
// with a probe. It removes validators from the answer that may be wrong.
func (w *aftermath) observe(a proxyhooks.Answer, fate proxyhooks.Fate) {
	if !w.enforces() || w.untouchable() || a.Status == 0 {
		return
	}
	said := listener{w}.listen(a, fate)
	w.removeValidators(a)
	if said.kind == isElsewhere {
		setETag(a.Header, said.shown.ETag)
	}
	switch {
	case said.kind == isResult:
		w.proven = true                // the backend itself says that this is the result
		w.view = knowledge.Own(w.view) // its fields have selected the content of the answer
		w.recordResult(said.shown, a.Header, a.Status)
		setETag(a.Header, said.shown.ETag)
		w.promise(said)
	case hasDeleted(w.exchange, a, fate):
		w.proven = true
		w.view = knowledge.Own(w.view)
		w.recordResult(validator.Observed{Representation: validator.Representation{State: validator.Absent}}, nil, a.Status)
	case a.Complete && fate == proxyhooks.Applied && isDone(a.Status) && w.probes:
		w.probeAfter(a, said)
	case a.Complete && fate == proxyhooks.Refused && w.sent.foundFalse(a.Status):
		w.probeRefused(a)
	}
}

// probeRefused asks the origin what there is in place of what the condition of a refused
// write was about. Somebody who doesn't come through here has changed it.
func (w *aftermath) probeRefused(a proxyhooks.Answer) {
	p := w.origin.probe(w.r.Context(), w.view)
	if !p.Known || p.Cached || w.view.Past(p.Observed) != knowledge.NotPast ||
		w.request.Evaluate(p.Observed.Representation).Verdict != validator.False {
		return
	}
	if o, ok := w.view.Observation(p.Observed, p.Header); ok {
		w.writing.before = &o
	}
	if w.Answers.Disclose {
		setETag(a.Header, p.Observed.ETag)
	}
}

// hasDeleted reports whether an answer says that the target is gone (RFC 9110, section
// 9.3.5), so that somebody can create it again at once.
func hasDeleted(x *exchange, a proxyhooks.Answer, fate proxyhooks.Fate) bool {
	return x.Terms.Lag > 0 && fate == proxyhooks.Applied && !x.plan.Guarded &&
		x.request.DoesOnly(http.MethodDelete) &&
		(a.Status == http.StatusOK || a.Status == http.StatusNoContent)
}

// isDone reports whether a status says that the write is done, and done as a whole.
func isDone(status int) bool {
	return status/100 == 2 && status != http.StatusAccepted && status != http.StatusMultiStatus
}

// probeAfter asks the origin, under the claim, what the write has led to. It
// records that for the settlement, and puts the tag on the answer if the option
// write_etag allows it, or if it is the one that the backend itself gave.
func (w *aftermath) probeAfter(a proxyhooks.Answer, said said) {
	view, err := w.view.Confirm() // the write itself may have invalidated a group
	if err != nil {
		return
	}
	w.view = view
	ctx := proxyhooks.WithValuesOf(w.holds.SubjectLost(), w.r.Context())
	if w.Terms.Lease < proxyhooks.DefaultProbeTimeout {
		brief, cancel := context.WithCancel(ctx)
		defer cancel()
		defer time.AfterFunc(w.Terms.Lease, cancel).Stop()
		ctx = brief
	}
	sent := newComparison(w.content)
	if w.Replay || !w.mayBeVerbatim() {
		sent.limit = max(sent.limit, w.Buffer, maxResult)
	}
	p := w.probe(ctx, view, sent)
	if !p.Known || p.Cached || w.holds.Lost() {
		return
	}
	after := p.Observed
	if p.Versioned {
		after = view.Versioned(after, p.Header, validator.Observed{}, w.holds.Token()+" settled")
	}
	w.proven = w.putsWhole() && sent.equal() || said.kind == isDoubtful && said.shown.ETag.Valid && said.shown.ETag == after.ETag
	if !w.proven && mayBePast(view, w.decision.current, after) {
		return
	}
	w.recordResult(after, p.Header, a.Status)
	if w.always() && !w.createdElsewhere(a.Status, a.Header) || w.mayBeVerbatim() && sent.equal() || w.agrees(said, a, after) {
		setETag(a.Header, after.ETag)
	}
}

// probe asks the origin what there is after the write. It writes the content to sent, unless
// the header section tells enough: the client gets the new tag whatever was stored, and it is
// a new one.
func (w *aftermath) probe(ctx context.Context, view knowledge.View, sent *comparison) proxyhooks.Probed {
	if !w.origin.mayUseHead() && !w.always() {
		return w.origin.probeContent(ctx, view, sent)
	}
	before := w.decision.current
	q := question{ctx: ctx, view: view, unwritten: func() bool { return !w.holds.Lost() }}
	byHead := true
	q.get = func() proxyhooks.Probed {
		byHead = false
		return w.origin.probeContent(ctx, view, sent)
	}
	if w.always() && before.ETag.Valid {
		q.enough = func(head proxyhooks.Probed) bool {
			return head.Observed.ETag != before.ETag && !mayBePast(view, before, head.Observed)
		}
	}
	p := w.origin.ask(q)
	sent.differs = sent.differs || byHead // nobody knows
	return p
}

// mayBePast reports whether a probe after a write may have shown the past. What was
// there before the write is taken for that, although the write may have changed
// nothing.
func mayBePast(view knowledge.View, before, after validator.Observed) bool {
	if view.Terms.Lag == 0 {
		return false
	}
	id := after.Identity()
	return view.Past(after) != knowledge.NotPast || id != "" && id == before.Identity()
}

// recordResult records what the write has led to, for its settlement. A response
// with this header showed it. Status is the status of the answer to the write.
func (w *aftermath) recordResult(after validator.Observed, header http.Header, status int) {
	if !w.holds.Claimed() {
		return
	}
	o, ok := w.view.Observation(after, header)
	if !ok || o.State == validator.Present && !o.ETag.Valid {
		return
	}
	w.after = &o
	if w.Replay && w.probes {
		w.receipt = newReceipt(w.digest, w.digestOfContent(), status)
		if w.view.Negotiated() {
			w.receipt = withVariant(w.receipt, o.Variant)
		}
	}
}

// setETag puts a tag on an answer, if it is valid.
func setETag(h http.Header, tag validator.ETag) {
	if tag.Valid {
		h["Etag"] = []string{tag.String()}
	}
}

// digestOfContent returns the digest of the content that was sent, or nil if not all of it
// was at hand.
func (w *aftermath) digestOfContent() *[sha256.Size]byte {
	if w.content == nil {
		return nil
	}
	sum, err := w.content.Digest()
	if err != nil {
		return nil
	}
	return &sum
}

// comparison compares the content that is written to it with the content that the
// client sent.
type comparison struct {
	sent    *proxyhooks.Content // nil if it isn't known
	limit   int64               // how much content to accept
	read    int64
	differs bool
}

// newComparison returns a comparison that accepts as much content as was sent, or what it
// costs little to read.
func newComparison(sent *proxyhooks.Content) *comparison {
	c := &comparison{sent: sent, limit: cheapResult, differs: sent == nil}
	if sent != nil {
		c.limit = max(c.limit, sent.Size)
	}
	return c
}

// maxResult is how much content is read to learn the tag of what a write has led to,
// unless the client sent more. Others wait for the claim meanwhile.
const maxResult = 64 << 20

// cheapResult is how much content is read although the client gets no tag, because it sent
// something else: a new connection to the backend would cost more.
const cheapResult = 256 << 10

func (c *comparison) Write(p []byte) (int, error) {
	c.differs = c.differs || !c.sent.Has(p, c.read)
	if c.read += int64(len(p)); c.read > c.limit {
		return 0, errTooMuch
	}
	return len(p), nil
}

// equal reports whether the content is the same.
func (c *comparison) equal() bool { return !c.differs && c.read == c.sent.Size }

// removeValidators removes the validators that the backend put on its answer to a
// write: they may describe the content of the answer, or nothing. A tag on the
// answer to a write that created a different resource is about that resource (RFC
// 9110, section 15.3.2). It stays, unless reads may show a different one.
func (w *aftermath) removeValidators(a proxyhooks.Answer) {
	if !w.enforces() || w.untouchable() {
		return
	}
	if !w.createdElsewhere(a.Status, a.Header) || w.Deriver.MayReplaceTag(a.Header) {
		delete(a.Header, "Etag")
	}
	delete(a.Header, "Last-Modified")
}

// createdElsewhere reports whether the write created a resource other than its
// target.
func (w *aftermath) createdElsewhere(status int, h http.Header) bool {
	location := h.Get("Location")
	return status == http.StatusCreated && location != "" && !w.request.IsOwnTarget(location)
}
