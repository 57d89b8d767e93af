package gateway

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A Range beside a condition, or beside If-Range, asks for a part of one version. The
// handler sends a part only if its bytes belong to a version for which the conditions
// hold. There are two ways to know that.
//
// The backend makes the part. Its 206 shows the backend's own tag and date, and the
// conditions are compared with these. If they can't be, the backend is asked again,
// without Range.
//
// Or the handler cuts the part out of a 200, whose tag and date the conditions are compared
// with. If the header section tells them, the content may stream by. If the tag is made
// from the content, the whole of it must have arrived before the part may be sent.

// rangeUse says what becomes of the Range of a request.
type rangeUse uint8

const (
	ordinary  rangeUse = iota // no Range, or no condition to compare with a part
	forwarded                 // the backend gets it
	withheld                  // the handler obeys it
)

// chooseRangeUse decides who obeys Range, if this is known of the representation.
func chooseRangeUse(x *exchange, known etagcache.Stored) rangeUse {
	ifRange := x.r.Header["If-Range"]
	sources := x.Deriver.Sources
	switch {
	case x.request.Signed, x.r.Method != http.MethodGet, x.r.Header["Range"] == nil,
		x.request.Conditions.Empty() && ifRange == nil:
		return ordinary
	case x.Items != nil && !(known.Own && x.request.Conditions.Empty()), // the backend's parts have no tags of items
		x.r.ContentLength != 0 || x.request.OneTime != nil, // the request can't be sent again
		known.ETag.Valid && (!known.Own || marked(ifRange, known.ETag)),
		len(sources) == 0 || sources[0].Kind != proxyhooks.SourceUpstream:
		return withheld
	default:
		return forwarded
	}
}

// isPart reports whether a response is what the backend made of a Range that it was given.
func (u rangeUse) isPart(status int) bool {
	return u == forwarded && (status == http.StatusPartialContent || status == http.StatusRequestedRangeNotSatisfiable)
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

// judgePart decides about a part that the backend made. It compares the conditions
// with the validators that the response itself shows.
func (rd *reading) judgePart(header http.Header, s proxyhooks.Shown) reply {
	shown := s.Representation
	shown.State = validator.Present
	if !rd.Deriver.MayReplaceTag(header) {
		shown.ETag, _ = validator.ParseETag(header.Get("ETag"))
	}
	again := reply{kind: withoutRange}
	if validator.Undecided(rd.request.Meaning, rd.request.Conditions, shown, time.Now()) {
		return again
	}
	r, res := rd.decide(shown)
	if r.kind == asIs && !rd.partHolds(shown, res) {
		return again
	}
	return r
}

// partHolds reports whether a client whose conditions gave res may get a part of r, rather
// than the whole. If-Range counts only now that the conditions hold (RFC 9110, section
// 13.2.2). A tag that matched only without its mark belongs to different bytes. A date
// that two versions may share proves nothing (section 8.8.2.2).
func (rd *reading) partHolds(r validator.Representation, res validator.Result) bool {
	return (!res.Matched.Valid || res.Matched == r.ETag) &&
		(res.Field != validator.IfUnmodifiedSince || !r.WeakDate) &&
		validator.IfRange(rd.request.Fields["If-Range"], r, time.Now())
}

// cut returns what to send in place of a response whose conditions hold, if the handler
// has to obey Range. Content is what to cut from, or nil if it streams by.
func (rd *reading) cut(header http.Header, r validator.Representation, res validator.Result, content *source, exact bool) (reply, bool) {
	c := rd.request.Conditions
	comparesTags := c.IfMatch != nil || c.IfNoneMatch != nil || c.If.HasTags()
	if rd.rangeUse == ordinary || !exact || !rd.partHolds(r, res) || comparesTags && !r.ETag.Valid {
		return reply{}, false
	}
	streams := content == nil
	if streams {
		length, ok := proxyhooks.ContentLength(header)
		if !ok {
			return reply{}, false
		}
		content = &source{size: length}
	}
	parts, ok := proxyhooks.ParseRange(rd.request.Fields["Range"], content.size)
	switch {
	case !ok:
		return reply{}, false
	case !streams || len(parts) == 0:
		return reply{kind: partial, parts: parts, source: *content}, true
	case len(parts) == 1:
		rd.capture.SendPart(parts[0], content.size)
	}
	return reply{}, false
}

// source is content from which parts are cut.
type source struct {
	io.ReadSeeker
	size int64
}

func newSource(content []byte) *source {
	return &source{bytes.NewReader(content), int64(len(content))}
}

// sourceOf returns the whole content that a response showed, or nil.
func sourceOf(s proxyhooks.Shown) *source {
	switch {
	case s.Spooled != nil:
		return &source{s.Spooled, s.Spooled.Size()}
	case s.Content != nil:
		return newSource(s.Content)
	default:
		return nil
	}
}
