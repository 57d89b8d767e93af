package preconditions

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reading is a GET or HEAD.
type reading struct {
	*exchange
	before   etagcache.Stored // what was known of the variant
	storable bool             // whether what the response shows may be stored
	response http.Header      // its header, once it is there
	base     *http.Request    // the request as it was before next, if others may be made of it
	ranges   []string         // the Range that the backend doesn't get, and the client may
	matched  validator.ETag   // what an If-Match lists of what is current
	instead  func() error     // answers in place of the response
}

// read forwards a GET or HEAD, labels the response with its validators, and
// evaluates the conditions against them.
func (x *exchange) read() error {
	err := x.readEntry()
	rd := &reading{exchange: x, before: x.stored(), storable: err == nil && x.entry.Busy == 0}
	if rd.mayAsk() || rd.lists() {
		rd.base = x.r.Clone(x.r.Context())
	}
	restore := proxyhooks.Edit(x.r.Header, rd.forwarded())
	capture := proxyhooks.NewCapture(x.w, x.h.deriver, rd)
	capture.HoldParts, capture.HoldItems = rd.ranges != nil, rd.lists()
	err = capture.Serve(x.next, x.r)
	restore()
	if rd.instead != nil {
		return rd.instead()
	}
	if rd.response == nil { // no response
		rd.report(outcomeRead, "")
	}
	return err
}

// forwarded returns the request fields that the backend gets otherwise than the
// client sent them. The identity coding makes one content have one tag. The
// backend has never heard of our tags, so that it must not see conditions that
// are evaluated here; with its own tags, it may save itself the content. An
// If-Match it doesn't get even then: it may not know the spelling of the tag.
func (rd *reading) forwarded() map[string][]string {
	if rd.signed {
		return nil
	}
	changes := map[string][]string{"Accept-Encoding": {"identity"}}
	c, own := rd.conditions, rd.before.Own
	if c.IfMatch != nil || c.IfNoneMatch != nil && !own {
		for _, f := range []validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfModifiedSince, validator.IfUnmodifiedSince} {
			changes[f.String()] = nil
		}
	} else if c.IfNoneMatch != nil {
		// It doesn't count (RFC 9110, section 13.1.3), but for some backends it does.
		changes[validator.IfModifiedSince.String()] = nil
	}
	switch ifRange := rd.r.Header["If-Range"]; {
	case rd.r.Method == http.MethodHead:
		// There are no parts of it (RFC 9110, section 14.2).
		changes["Range"], changes["If-Range"] = nil, nil
	case !c.Empty(), ifRange != nil && !(own && !marked(ifRange, rd.before.ETag)):
		// A part shows no tag to evaluate the conditions against, and a
		// backend that doesn't know the tag must not choose the part.
		rd.ranges = rd.r.Header["Range"]
		changes["Range"], changes["If-Range"] = nil, nil
	}
	return changes
}

// marked reports whether an If-Range has a tag with a mark that it got on its way
// to the client. A backend that ignores the mark would send a part of another
// representation than the client has.
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
	if s.Untagged && rd.mayAsk() {
		s, from = rd.shownByGet(s, header)
	}
	o := s.Observed
	if s.Versioned {
		o = rd.version(o, from)
	}
	switch {
	case o.ETag.Valid:
		header["Etag"] = []string{o.ETag.String()}
	case rd.h.deriver.Replaces(header):
		// Of a part, a 304 or what is too large: not the tag that the whole has.
		delete(header, "Etag")
	}
	if o.WeakDate {
		delete(header, "Last-Modified") // until its second is over
	}
	proxyhooks.SendVary(rd.h.vary, header)
	if s.Known && !s.Untagged && !s.Versioned {
		rd.observe(o, from)
	}
	r := rd.dated(o, rd.before)
	if status == http.StatusOK {
		sendDate(header, r, time.Now())
	}
	rd.response = header
	switch {
	case rd.tooMany(): // as the mode is report
		f := rd.tooLarge()
		rd.report(f.outcome, f.reason)
	case o.State != validator.Present || rd.conditions.Empty():
		rd.report(outcomeRead, "")
	case !rd.decide(status, header, labelled(r, header)):
		return false
	}
	r, content := rd.extend(status, header, r, s.Content)
	if s.Exact {
		rd.cut(status, r, content)
	}
	return rd.instead == nil
}

// labelled returns r with the weak tag that a response keeps where it has no other.
func labelled(r validator.Representation, header http.Header) validator.Representation {
	if tag, ok := validator.ParseETag(header.Get("ETag")); ok && tag.Weak && !r.ETag.Valid {
		r.ETag = tag
	}
	return r
}

// cut has the part sent that the client asks for, in place of the whole, where
// the backend was not asked for it. What an If-Range says counts only now that
// the conditions hold (RFC 9110, section 13.2.2). An If-Match may ask for the rest of
// what its tag is of (section 13.1.1): one that matches but for its mark is of other
// bytes.
func (rd *reading) cut(status int, r validator.Representation, content []byte) {
	if status != http.StatusOK || rd.ranges == nil || content == nil || !r.ETag.Valid ||
		rd.matched.Valid && rd.matched != r.ETag ||
		!validator.IfRange(rd.header["If-Range"], r, time.Now()) {
		return
	}
	parts, ok := proxyhooks.ParseRange(rd.ranges, int64(len(content)))
	if ok {
		rd.instead = func() error {
			proxyhooks.SendParts(rd.w, parts, content)
			return nil
		}
	}
}

// version gives o the tag that the version of the resource has, once that is
// stored: otherwise nobody would miss it when the resource is written.
func (rd *reading) version(o validator.Observed, header http.Header) validator.Observed {
	if rd.storable {
		tagged := rd.versioned(o, header, rd.before.Observed, rd.entry.Epoch)
		if rd.observe(tagged, header) {
			return tagged
		}
	}
	return o
}

// decide evaluates the conditions against the representation that is about to
// be sent, and reports whether it may be.
func (rd *reading) decide(status int, header http.Header, current validator.Representation) bool {
	res := rd.evaluate(current)
	switch {
	case res.Verdict == validator.NotModified:
		rd.report(outcomeUnmodified, "")
		rd.reportCondition(res.Field, current.ETag)
		rd.instead = func() error { return rd.notModified(res, current) }
	case res.Verdict == validator.False, res.Verdict == validator.Unverifiable:
		f := rd.failed(res, current)
		rd.report(f.outcome, f.reason)
		if rd.h.Mode == modeReport {
			rd.reportCondition(res.Field, current.ETag)
			return true
		}
		rd.instead = func() error { return rd.sendRefusal(f) }
	default:
		rd.report(outcomeRead, "")
		rd.matched = res.Matched
		return true
	}
	return false
}

// Late implements proxyhooks.Reading.
func (rd *reading) Late(o validator.Observed) {
	rd.observe(o, rd.response)
}

// notModified sends 304 with the fields of the response that it stands for (RFC
// 9110, section 15.4.5), and with the tag by which the client knows it.
func (rd *reading) notModified(res validator.Result, current validator.Representation) error {
	header := rd.w.Header()
	location := header["Content-Location"]
	modified := header["Last-Modified"]
	removeRepresentationMetadata(header)
	if location != nil {
		header["Content-Location"] = location
	}
	// A weak one stays so if the current one is that of a list without the tags of
	// its items, which is not what the client has.
	withItems := res.Matched.Unmarked()[1].Valid
	switch {
	case res.Matched.Valid && (!res.Matched.Weak || withItems):
		header["Etag"] = []string{res.Matched.String()}
	case current.ETag.Valid:
		header["Etag"] = []string{current.ETag.String()}
	case modified != nil:
		header["Last-Modified"] = modified
	}
	rd.w.WriteHeader(http.StatusNotModified)
	return nil
}

// mayAsk reports whether it is for a GET to say what this request, a HEAD, doesn't
// show.
func (rd *reading) mayAsk() bool { return rd.r.Method == http.MethodHead && !rd.signed }

// shownByGet finds out by a GET what a HEAD doesn't show, and returns it with the
// header that the GET has: HEAD may leave out fields that tell what it depends on
// (RFC 9110, section 9.3.2). It returns what it got where there is no tag to be had.
func (rd *reading) shownByGet(s proxyhooks.Shown, header http.Header) (proxyhooks.Shown, http.Header) {
	if rd.h.deriver.TooLarge(header) {
		return s, header
	}
	p := proxyhooks.Probe(rd.r.Context(), rd.next, rd.base, rd.h.deriver, rd.h.Buffer)
	if p.Err != nil || p.Observed.State != validator.Present || !p.Observed.ETag.Valid && !p.Versioned {
		return s, header
	}
	return proxyhooks.Shown{Observed: p.Observed, Known: true, Versioned: p.Versioned}, p.Header
}

// observe stores what a response showed, unless that is what the store knows. It
// reports whether the store knows it then. That a HEAD gets 404 may only mean that
// the backend has no HEAD; a GET will tell, where the handler can send one.
func (rd *reading) observe(o validator.Observed, header http.Header) bool {
	if !rd.storable || o.State == validator.Absent && rd.mayAsk() {
		return false
	}
	observation, ok := rd.observation(o, header)
	if !ok {
		rd.forget(header)
		return false
	}
	known, ok := rd.known()[observation.Variant]
	if ok && o.ETag.Valid && !o.Own {
		rd.noteChange(observation.Variant, known.ETag != o.ETag)
	}
	if ok && observation.Vary == rd.entry.Vary && known.SameValidators(o) && !rd.h.verify.stale(known.Age) {
		return true
	}
	err := rd.h.store.Observe(rd.detached(), rd.key, rd.entry, observation, rd.h.terms)
	if err != nil && !errors.Is(err, etagcache.ErrStale) && !errors.Is(err, etagcache.ErrBusy) {
		rd.h.logger.Debug("storing what a response showed", zap.Error(err))
	}
	return err == nil
}

// stale reports whether a validator that was stored so long ago should be
// stored again, so that it is young when a write comes.
func (v verification) stale(age time.Duration) bool {
	return v.younger > 0 && age > v.younger/2
}
