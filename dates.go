package preconditions

import (
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// dated returns o with a modification date: the backend's, or else one that is
// made of the time at which the store first saw it as it is. Known is what was
// stored of it before. Where that is something else, the change may have come
// at any time up to now.
//
// The date is the end of the second in which it was first seen, and weak until
// then: so no two states have the same one, and none has one at which another
// could still be seen.
func (x *exchange) dated(o validator.Observed, known etagcache.Stored) validator.Representation {
	r := o.Representation
	now := x.entry.Now
	if r.State != validator.Present || !r.ETag.Valid || !r.LastModified.IsZero() || now.IsZero() {
		return r
	}
	since := now
	if known.State == validator.Present && known.ETag == r.ETag && known.Own == o.Own && !known.Since.IsZero() {
		since = known.Since
	}
	r.LastModified = since.Truncate(time.Second).Add(time.Second).UTC()
	r.WeakDate = since == now || now.Before(r.LastModified)
	return r
}

// sendDate puts a date of ours on a response that has none. A date lets caches
// guess for how long they may use what they have (RFC 9111, section 4.2.2), which
// they didn't do before: unless the backend says something about caching, they
// are told to ask each time, as they did.
func sendDate(h http.Header, r validator.Representation, now time.Time) {
	if r.LastModified.IsZero() || r.WeakDate || r.LastModified.After(now) || h["Last-Modified"] != nil {
		return
	}
	h["Last-Modified"] = []string{validator.FormatDate(r.LastModified)}
	if h["Cache-Control"] == nil && h["Expires"] == nil && h["Pragma"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
}
