package gateway

import (
	"errors"
	"maps"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reading is a GET or HEAD.
type reading struct {
	*exchange
	view     knowledge.View
	known    etagcache.Stored // what was known of the variant before
	storable bool             // whether what the response shows may be stored
	rangeUse rangeUse

	// base is the request before next changed it, if other requests may be derived
	// from it.
	base *http.Request

	capture *proxyhooks.Capture

	seen func() // must be called when the client is about to see the state; see report.go

	begun    time.Time
	untagged bool        // whether the response has a tag that isn't known
	header   http.Header // of the response, once it is there
	reply    reply       // what is sent in place of the response
}

// read forwards a GET or HEAD, labels the response with its validators, and
// evaluates the conditions against them.
func (x *exchange) read() error {
	seen := watchRead(x)
	view, err := viewForRead(x)
	rd := &reading{exchange: x, view: view, known: view.Stored(), storable: err == nil && !view.Busy() && !x.request.PathUnclear, seen: seen}
	if answersUnasked(rd) {
		seen()
		return nil
	}
	rd.rangeUse = chooseRangeUse(x, rd.known)
	if rd.maySupplement() || rd.lists() || rd.rangeUse == forwarded || view.Remembered {
		rd.base = untouched(x.r)
	}
	if rd.rangeUse != forwarded {
		return rd.forward(x.r)
	}
	before := x.rw.Header().Clone()
	err = rd.forward(x.r)
	if rd.reply.kind != withoutRange {
		return err
	}
	header := x.rw.Header()
	cookies := header["Set-Cookie"] // the client has yet to get them
	clear(header)
	maps.Copy(header, before)
	proxyhooks.EditHeader(header, map[string][]string{"Set-Cookie": cookies})
	rd.rangeUse, rd.reply = withheld, reply{}
	return rd.forward(proxyhooks.Isolate(rd.base, x.rw))
}

// forward forwards the request, as x.r or as a copy of it, and answers the client.
func (rd *reading) forward(r *http.Request) error {
	edits := rd.forwardedFields(r.Header)
	proxyhooks.Swap(r.Header, edits)
	rd.header, rd.begun, rd.capture = nil, time.Now(), proxyhooks.NewCapture(rd.rw, counting(rd.Deriver, rd.memory), rd)
	defer rd.capture.Close()
	rd.capture.BufferParts, rd.capture.BufferItems = rd.rangeUse != ordinary || needsTag(rd.request), rd.lists()
	// The tag that is stored of large content must not go stale. If none is stored, the origin
	// is asked once somebody wants to know it.
	rd.capture.SkipLarge = !rd.storable || !rd.known.ETag.Valid
	err := rd.capture.Serve(rd.next, r)
	proxyhooks.Swap(r.Header, edits)
	rd.responder.Course.Forwarded(r, rd.begun, err)
	switch {
	case rd.reply.kind == withoutRange:
		return nil
	case rd.reply.kind != asIs:
		return rd.send(rd.reply)
	case rd.header == nil: // there was no response
		forgetShown(rd)
		rd.responder.Report(answer.Read, "")
	}
	return err
}

// forwardedFields returns what to change in the header of the request for the backend. With the
// identity coding, one content has one tag. The backend doesn't know the handler's
// tags, so it doesn't get the conditions, which are evaluated here. It does get an
// If-None-Match with its own tags, and may then leave out the content. It never
// gets an If-Match, because it may not know the spelling of the tag.
func (rd *reading) forwardedFields(h http.Header) (edits []proxyhooks.Edit) {
	if rd.request.Signed {
		return nil
	}
	remove := func(names ...string) {
		for _, name := range names {
			if _, sent := h[name]; sent {
				edits = append(edits, proxyhooks.Edit{Name: name})
			}
		}
	}
	if lines := h["Accept-Encoding"]; len(lines) != 1 || lines[0] != "identity" {
		edits = append(edits, proxyhooks.Edit{Name: "Accept-Encoding", Lines: []string{"identity"}})
	}
	c, own := rd.request.Conditions, rd.known.Own
	if c.IfMatch != nil || c.IfNoneMatch != nil && !own {
		remove("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
	} else if c.IfNoneMatch != nil {
		// If-Modified-Since must be ignored now (RFC 9110, section 13.1.3), and some
		// backends don't.
		remove("If-Modified-Since")
	}
	if c.If.HasTags() && (rd.enforces() || !own) {
		edits = append(edits, proxyhooks.Edit{Name: ifField, Lines: fieldOfRead(c.If)})
	}
	// HEAD has no parts (RFC 9110, section 14.2). If-Range means nothing without Range.
	if rd.r.Method == http.MethodHead || rd.rangeUse == withheld {
		remove("Range")
	}
	if rd.rangeUse != forwarded {
		remove("If-Range")
	}
	return edits
}

// needsTag reports whether the response to a read can't be sent before its tag is known.
func needsTag(r *resource.Request) bool {
	c := r.Conditions
	return r.Method == http.MethodGet && (c.IfMatch != nil || c.If.HasTags()) && !r.Signed
}

// Label implements proxyhooks.Reading.
func (rd *reading) Label(status int, header http.Header, s proxyhooks.Shown) bool {
	defer rd.responder.Course.Suspend(rd.responder.Course.Resume())
	from, extra := header, supplement{}
	if s.State == validator.Present && !s.ETag.Valid && !s.Versioned && rd.maySupplement() {
		s, from, extra = rd.supplementHead(header, s)
	}
	s.Cached = s.Cached || rd.Learned.tooOld(from, rd.begun)
	rd.cross.learn(status, header, rd.request.OriginalTarget)
	o := s.Observed
	if s.Versioned {
		o = rd.version(o, from)
	}
	if status == http.StatusOK && header["Accept-Ranges"] != nil && !rd.request.Signed && !rd.Deriver.AllowsParts(header, time.Now()) {
		delete(header, "Accept-Ranges")
	}
	rd.setValidators(header, o)
	rememberShown(rd, status, header, s, o)
	if s.Known && !s.Untagged && !s.Versioned && !s.Cached && (o.ETag.Valid || !rd.maySupplement()) {
		rd.observe(o, from)
	}
	current := rd.view.Dated(o, rd.known)
	if status == http.StatusOK {
		answer.SetDate(header, current, time.Now())
	}
	if status == http.StatusOK || status == http.StatusNotModified {
		rd.seen()
	}
	rd.header, rd.untagged = header, s.Untagged && !proxyhooks.MustNotBuffer(header)
	if rd.untagged && rd.storable && rd.r.Method == http.MethodGet {
		if !s.Hashed && !s.Cached && !rd.known.ETag.Valid {
			rd.observe(o, from) // a HEAD may ask for the tag now
		}
		keepEpoch(rd)
	}

	var res validator.Result
	switch {
	case rd.request.TooManyConditions(): // so the mode is report
		rd.responder.ReportRefusal(answer.TooLarge())
	case rd.rangeUse.isPart(status):
		rd.reply = rd.judgePart(header, s)
	case o.State != validator.Present || rd.request.Conditions.Empty():
		rd.responder.Report(answer.Read, "")
	case extra.undecided:
		// RFC 9110 asks for 412 only if the condition is false, and for 304 only if the
		// client's representation is current.
		rd.responder.Report(answer.Read, "only a GET can decide the conditions")
	default:
		rd.reply, res = rd.decide(withWeakTag(current, header))
	}
	if rd.reply.kind == asIs {
		rd.reply = rd.contentReply(status, header, current, res, s)
	}
	if rd.reply.kind == asIs {
		extra.putOn(header, rd.view)
	}
	return rd.reply.kind == asIs
}

// setValidators puts the validators of a representation on a response.
func (rd *reading) setValidators(header http.Header, o validator.Observed) {
	switch {
	case o.ETag.Valid:
		header["Etag"] = []string{o.ETag.String()}
	case rd.Deriver.MayReplaceTag(header):
		// The backend's tag on a part, on a 304 or on content that is too large isn't
		// the tag that a whole representation gets.
		delete(header, "Etag")
	}
	if o.WeakDate {
		delete(header, "Last-Modified") // until its second is over
	}
	proxyhooks.AddVary(rd.Vary, header)
}

// withWeakTag returns r with the weak tag that a response keeps if it has no
// strong one.
func withWeakTag(r validator.Representation, header http.Header) validator.Representation {
	if tag, ok := validator.ParseETag(header.Get("ETag")); ok && tag.Weak && !r.ETag.Valid {
		r.ETag = tag
	}
	return r
}

// decide evaluates the conditions against the representation that is about to be
// sent. It returns what to send in its place, and the result.
func (rd *reading) decide(current validator.Representation) (reply, validator.Result) {
	res := rd.request.Evaluate(current)
	if res.Verdict == validator.NotModified && res.Matched.Valid && rd.Deriver.IsShared(current.ETag) {
		// The client may have a different representation of the same version: caches send
		// the tags of all they have (RFC 9110, section 13.1.2).
		rd.responder.Report(answer.Read, res.Field.String()+": other representations may have the same tag")
		return reply{}, res
	}
	if refusal, unclear := tokensDecide(rd, current, res); unclear {
		rd.responder.Report(refusal.Outcome, refusal.Reason)
		return reply{kind: refused, refusal: refusal}, res
	}
	switch res.Verdict {
	case validator.NotModified:
		rd.responder.Report(answer.Unmodified, rd.responder.Ignored(res.Ignored))
		rd.responder.ReportCondition(res.Field, current.ETag)
		return reply{kind: notModified, tag: tagToConfirm(res.Matched, current.ETag)}, res
	case validator.False, validator.Unverifiable:
		refusal := rd.responder.ConditionFailed(res, current)
		if res.Verdict == validator.Unverifiable && rd.untagged {
			refusal = rd.responder.NotVerifiable(res.Field, "the entity tag of this response is made from its content, which is too long, too slow, or more than there is room for now").As(telemetry.NoTag)
		}
		rd.responder.ReportRefusal(refusal)
		if !rd.enforces() {
			rd.responder.ReportCondition(res.Field, current.ETag)
			return reply{}, validator.Result{}
		}
		return reply{kind: refused, refusal: refusal}, res
	default:
		rd.responder.Report(answer.Read, rd.responder.Ignored(res.Ignored))
		return reply{}, res
	}
}

// version gives o the tag of the resource's version, if the version could be
// stored: otherwise nobody would notice when the resource is written.
func (rd *reading) version(o validator.Observed, header http.Header) validator.Observed {
	if rd.storable {
		tagged := rd.view.Versioned(o, header, rd.known.Observed, rd.view.Entry().Epoch)
		if rd.observe(tagged, header) {
			return tagged
		}
	}
	return o
}

// Late implements proxyhooks.Reading.
func (rd *reading) Late(o validator.Observed) {
	defer rd.responder.Course.Suspend(rd.responder.Course.Resume())
	rd.observe(o, rd.header)
}

// keepEpoch keeps the epoch that was read, until the tag of a response is known at its end,
// which may be long after the store would have forgotten it.
func keepEpoch(rd *reading) {
	_, _ = rd.share.Read(rd.r.Context(), rd.plan.Subject.Key, rd.Terms.WithoutBrief())
}

// observe stores what a response showed, unless the store already knows it. It
// reports whether the store knows it afterwards. A 404 to a HEAD isn't stored if
// the handler can send a GET: it may only mean that the backend has no HEAD.
func (rd *reading) observe(o validator.Observed, header http.Header) bool {
	if !rd.storable || o.State == validator.Absent && rd.maySupplement() {
		return false
	}
	observation, ok := rd.view.Observation(o, header)
	if !ok {
		rd.forget(header)
		return false
	}
	known, ok := rd.view.Variant(observation.Variant)
	if ok && o.ETag.Valid && !o.Own && rd.view.Past(o) == knowledge.NotPast {
		rd.noteChange(observation.Variant, known.ETag != o.ETag)
	}
	if known.ETag == o.ETag {
		checkPromise(rd.exchange, rd.view, &observation) // it is kept
	}
	if ok && observation.Vary == rd.view.Entry().Vary && known.SameValidators(o) && known.Backend == o.Backend && !rd.Verify.stale(known.Age) {
		return true
	}
	if rd.view.Remembered && rd.known.State != validator.Unknown {
		return observeNow(rd, o, header)
	}
	err := rd.view.Store(observation)
	if err != nil && rd.view.Remembered {
		return observeNow(rd, o, header)
	}
	if err == nil {
		checkPromise(rd.exchange, rd.view, &observation)
		rd.Learned.changedElsewhere(known.Observed, o)
	}
	if err != nil && !errors.Is(err, etagcache.ErrStale) && !errors.Is(err, etagcache.ErrBusy) && !errors.Is(err, etagcache.ErrSpent) {
		rd.Logger.Debug("storing what a response showed", zap.Error(err))
	}
	return err == nil
}

// forget drops what is stored of a resource that now belongs to too many groups:
// nobody would notice the invalidation of a group that can't be stored.
func (rd *reading) forget(header http.Header) {
	if rd.view.TooManyGroups(header) && len(rd.view.Entry().Variants) > 0 {
		key := rd.plan.Subject.Key
		if err := rd.share.InvalidateOrJournal(rd.r.Context(), key, rd.Terms); err != nil {
			rd.Logger.Warn("a change could not be stored", zap.String("resource", key), zap.Error(err))
		}
	}
}

// noteChange notes whether a variant has changed since the last read. It warns of a
// resource that differs on every read.
func (rd *reading) noteChange(variant string, changed bool) {
	key := rd.plan.Subject.Key
	if rd.share.Unstable.Note(key, variant, changed) {
		telemetry.CountUnstable()
		rd.Logger.Warn("each of the last reads of this resource showed another content; if it differs on every read, no condition on its entity tag can hold: "+
			"derive the tag from what identifies its state (etag json, etag header) or from the writes (etag version)",
			zap.String("resource", key))
	}
}
