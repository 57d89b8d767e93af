package gateway

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reading is a GET or HEAD.
type reading struct {
	*exchange
	view     knowledge.View
	known    etagcache.Stored // what was known of the variant before
	storable bool             // whether what the response shows may be stored
	ranges   []string         // the Range field, if this handler has to obey it

	// base is the request before next changed it, if other requests may be derived
	// from it.
	base *http.Request

	begun  time.Time
	header http.Header // of the response, once it is there
	reply  reply       // what is sent in place of the response
}

// read forwards a GET or HEAD, labels the response with its validators, and
// evaluates the conditions against them.
func (x *exchange) read() error {
	view, err := x.reader.Read()
	rd := &reading{exchange: x, view: view, known: view.Stored(), storable: err == nil && !view.Busy(), begun: time.Now()}
	if rd.mayProbe() || rd.lists() {
		rd.base = x.r.Clone(x.r.Context())
	}
	restore := proxyhooks.EditHeader(x.r.Header, rd.forwardedFields())
	capture := proxyhooks.NewCapture(x.rw, x.Deriver, rd)
	capture.BufferParts, capture.BufferItems = rd.ranges != nil, rd.lists()
	err = capture.Serve(x.next, x.r)
	restore()
	if rd.reply.kind != asIs {
		return rd.send(rd.reply)
	}
	if rd.header == nil { // there was no response
		rd.responder.Report(answer.Read, "")
	}
	return err
}

// forwardedFields returns the request fields to change for the backend. With the
// identity coding, one content has one tag. The backend doesn't know the handler's
// tags, so it doesn't get the conditions, which are evaluated here. It does get an
// If-None-Match with its own tags, and may then leave out the content. It never
// gets an If-Match, because it may not know the spelling of the tag.
func (rd *reading) forwardedFields() map[string][]string {
	if rd.request.Signed {
		return nil
	}
	changes := map[string][]string{"Accept-Encoding": {"identity"}}
	c, own := rd.request.Conditions, rd.known.Own
	if c.IfMatch != nil || c.IfNoneMatch != nil && !own {
		for _, field := range []validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfModifiedSince, validator.IfUnmodifiedSince} {
			changes[field.String()] = nil
		}
	} else if c.IfNoneMatch != nil {
		// If-Modified-Since must be ignored now (RFC 9110, section 13.1.3), and some
		// backends don't.
		changes[validator.IfModifiedSince.String()] = nil
	}
	switch ifRange := rd.r.Header["If-Range"]; {
	case rd.r.Method == http.MethodHead:
		// HEAD has no parts (RFC 9110, section 14.2).
		changes["Range"], changes["If-Range"] = nil, nil
	case !c.Empty(), ifRange != nil && !(own && !marked(ifRange, rd.known.ETag)):
		// A 206 shows no tag to evaluate the conditions against, and a backend that
		// doesn't know the tag in If-Range must not evaluate it.
		rd.ranges = rd.r.Header["Range"]
		changes["Range"], changes["If-Range"] = nil, nil
	}
	return changes
}

// marked reports whether an If-Range carries the tag with a mark, which was added
// on the way to the client (such as -gzip). A backend that ignores the mark would
// send a part of a representation that the client doesn't have.
func marked(ifRange []string, tag validator.ETag) bool {
	if len(ifRange) != 1 {
		return false
	}
	sent, _ := validator.ParseETag(ifRange[0])
	unmarked := sent.Unmarked()
	return validator.StrongMatch(unmarked[0], tag) || validator.StrongMatch(unmarked[1], tag)
}

// Label implements proxyhooks.Reading.
func (rd *reading) Label(status int, header http.Header, s proxyhooks.Shown) bool {
	from := header
	if s.Untagged && rd.mayProbe() {
		s, from = rd.shownByGet(s, header)
	}
	s.Cached = s.Cached || rd.Learned.tooOld(from, rd.begun)
	o := s.Observed
	if s.Versioned {
		o = rd.version(o, from)
	}
	rd.setValidators(header, o)
	if s.Known && !s.Untagged && !s.Versioned && !s.Cached {
		rd.observe(o, from)
	}
	current := rd.view.Dated(o, rd.known)
	if status == http.StatusOK {
		answer.SetDate(header, current, time.Now())
	}
	rd.header = header

	var matched validator.ETag
	switch {
	case rd.request.TooManyConditions(): // so the mode is report
		refusal := answer.TooLarge()
		rd.responder.Report(refusal.Outcome, refusal.Reason)
	case o.State != validator.Present || rd.request.Conditions.Empty():
		rd.responder.Report(answer.Read, "")
	default:
		rd.reply, matched = rd.decide(withWeakTag(current, header))
	}
	if rd.reply.kind == asIs {
		rd.reply = rd.contentReply(status, header, current, matched, s)
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
// sent. It returns what to send in its place, and the listed tag that matched.
func (rd *reading) decide(current validator.Representation) (reply, validator.ETag) {
	res := rd.request.Evaluate(current)
	switch res.Verdict {
	case validator.NotModified:
		rd.responder.Report(answer.Unmodified, "")
		rd.responder.ReportCondition(res.Field, current.ETag)
		return reply{kind: notModified, tag: tagToConfirm(res.Matched, current.ETag)}, res.Matched
	case validator.False, validator.Unverifiable:
		refusal := rd.responder.ConditionFailed(res, current)
		rd.responder.Report(refusal.Outcome, refusal.Reason)
		if !rd.enforces() {
			rd.responder.ReportCondition(res.Field, current.ETag)
			return reply{}, validator.ETag{}
		}
		return reply{kind: refused, refusal: refusal}, validator.ETag{}
	default:
		rd.responder.Report(answer.Read, "")
		return reply{}, res.Matched
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
	rd.observe(o, rd.header)
}

// mayProbe reports whether the handler may send a GET to find out what this
// request, a HEAD, doesn't show.
func (rd *reading) mayProbe() bool { return rd.r.Method == http.MethodHead && !rd.request.Signed }

// shownByGet finds out with a GET what a HEAD doesn't show. It also returns the
// header of the GET, because HEAD may leave out fields that say what the response
// depends on (RFC 9110, section 9.3.2). If the GET shows no tag either, it returns
// its arguments.
func (rd *reading) shownByGet(s proxyhooks.Shown, header http.Header) (proxyhooks.Shown, http.Header) {
	if rd.Deriver.TooLarge(header) {
		return s, header
	}
	p := proxyhooks.Probe(rd.r.Context(), rd.next, rd.base, rd.Deriver, rd.Buffer)
	rd.warnOfSession(p.Header)
	if p.Err != nil || p.Observed.State != validator.Present || !p.Observed.ETag.Valid && !p.Versioned {
		return s, header
	}
	return proxyhooks.Shown{Observed: p.Observed, Known: true, Versioned: p.Versioned, Cached: p.Cached}, p.Header
}

// observe stores what a response showed, unless the store already knows it. It
// reports whether the store knows it afterwards. A 404 to a HEAD isn't stored if
// the handler can send a GET: it may only mean that the backend has no HEAD.
func (rd *reading) observe(o validator.Observed, header http.Header) bool {
	if !rd.storable || o.State == validator.Absent && rd.mayProbe() {
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
	if ok && observation.Vary == rd.view.Entry().Vary && known.SameValidators(o) && known.Backend == o.Backend && !rd.Verify.stale(known.Age) {
		return true
	}
	err := rd.view.Store(observation)
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
		answer.CountUnstable()
		rd.Logger.Warn("the content differs on every read of this resource, so no condition on its entity tag can hold; "+
			"derive the tag from what identifies its state (etag json, etag header) or from the writes (etag version)",
			zap.String("resource", key))
	}
}
