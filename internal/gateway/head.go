package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// maySupplement reports whether a response to HEAD may be supplemented with what it
// left out. Signed requests and their answers stay as they are.
func (rd *reading) maySupplement() bool { return rd.r.Method == http.MethodHead && !rd.request.Signed }

// supplement is how a response to HEAD gets what it left out (RFC 9110, section
// 9.3.2).
//
// A HEAD must not become a GET of what nobody has read before: a GET uses up one-time
// links and computes exports, and clients send HEAD to avoid that. So a GET follows
// only if a condition needs it, and only if the representation was read before.
type supplement struct {
	// label is a tag from the store, for the response if it is sent as it is. It may be
	// out of date, which a write would find out. So no condition is decided by it, and
	// neither a 304 nor a 412 shows it.
	label etagcache.Stored

	// undecided means that nobody knows whether the conditions hold.
	undecided bool
}

// supplementHead finds out what the response to a HEAD left out. If it has sent a GET
// for that, it returns what the GET showed, with its header.
func (rd *reading) supplementHead(header http.Header, s proxyhooks.Shown) (proxyhooks.Shown, http.Header, supplement) {
	shown := s.Representation
	if !rd.Deriver.MayReplaceTag(header) {
		shown = withWeakTag(shown, header)
	}
	if rd.request.TooManyConditions() {
		return s, header, supplement{}
	}
	undecided := validator.Undecided(rd.request.Meaning, rd.request.Conditions, shown, time.Now())
	label := storedLabel(rd.view, shown)
	if asksForOrigin(rd.request.Fields) {
		label = etagcache.Stored{}
	}
	switch {
	case !undecided && !label.ETag.Valid && mayAskForTag(rd, header):
		ctx, cancel := context.WithTimeout(rd.r.Context(), tagPatience)
		defer cancel()
		if got, its, ok := get(ctx, rd, maxAskedForTag); ok && got.ETag.Valid {
			return got, its, supplement{}
		}
	case !undecided && (label.ETag.Valid || !rd.Namer.WebDAV):
		return s, header, supplement{label: label}
	case (knowledge.Seen(rd.view) || rd.Namer.WebDAV) && rd.request.OneTime == nil && !rd.Deriver.TooLarge(header):
		if got, its, ok := get(rd.r.Context(), rd, rd.Buffer); ok {
			return got, its, supplement{}
		}
	}
	return s, header, supplement{undecided: undecided}
}

// get sends a GET after a HEAD, and reads up to limit bytes. It returns what that has shown,
// with its header, if it shows the representation and all of its validators.
func get(ctx context.Context, rd *reading, limit int64) (s proxyhooks.Shown, header http.Header, ok bool) {
	begun := time.Now()
	p := proxyhooks.Probe(ctx, rd.next, rd.base, counting(rd.Deriver, rd.memory), limit)
	noteProbe(rd.responder.Course, begun, p)
	rd.warnOfSession(p.Header)
	s = proxyhooks.Shown{Observed: p.Observed, Known: true, Versioned: p.Versioned, Cached: p.Cached}
	return s, p.Header, p.Err == nil && !p.Untagged && p.Observed.State == validator.Present
}

// A GET doesn't hash content that is too large to be buffered, unless its tag is stored. A HEAD
// asks for the tag then. These are the bounds, as for content that goes to a temporary file.
const (
	maxAskedForTag = 64 << 20
	tagPatience    = 10 * time.Second
)

// mayAskForTag reports whether a HEAD without conditions may be followed by a GET, because
// somebody has read this very representation, and its content wasn't hashed.
func mayAskForTag(rd *reading, header http.Header) bool {
	known := rd.known
	length, announced := proxyhooks.ContentLength(header)
	return rd.storable && known.State == validator.Present && !known.ETag.Valid &&
		rd.request.Conditions.Empty() && rd.request.OneTime == nil && (!announced || length <= maxAskedForTag)
}

// asksForOrigin reports whether a request doesn't want to hear what somebody has stored (RFC
// 9111, section 5.2.1.4). A handler further out asks like that.
func asksForOrigin(h http.Header) bool {
	return strings.Contains(strings.ToLower(strings.Join(h["Cache-Control"], ",")), "no-cache")
}

// storedLabel returns what is stored of a representation, if it has a tag and nothing that
// a HEAD has shown speaks against it.
func storedLabel(v knowledge.View, shown validator.Representation) etagcache.Stored {
	known := v.Stored()
	if v.Busy() || shown.ETag.Valid || known.State != validator.Present || !known.ETag.Valid ||
		!shown.LastModified.IsZero() && !shown.LastModified.Equal(known.LastModified) {
		return etagcache.Stored{}
	}
	return known
}

// putOn puts the label on the header of a response that is sent as it is.
func (s supplement) putOn(header http.Header, v knowledge.View) {
	if !s.label.ETag.Valid {
		return
	}
	setETag(header, s.label.ETag)
	if s.label.LastModified.IsZero() {
		answer.SetDate(header, v.Dated(s.label.Observed, s.label), time.Now())
	}
}
