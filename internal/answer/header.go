package answer

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// RemoveRepresentationMetadata removes the fields that describe a representation,
// from an answer that doesn't contain it.
func RemoveRepresentationMetadata(h http.Header) {
	for name := range h {
		switch {
		case strings.HasPrefix(name, "Content-Security-Policy"): // describes no representation
		case strings.HasPrefix(name, "Content-"), strings.HasPrefix(name, "X-Amz-Checksum-"),
			name == "Etag", name == "Last-Modified", name == "Accept-Ranges", name == "Digest",
			name == "Repr-Digest", name == "Transfer-Encoding", name == "Trailer":
			delete(h, name)
		}
	}
}

// RemoveContentMetadata removes the fields that describe the bytes of the content,
// and Accept-Ranges.
func RemoveContentMetadata(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		delete(h, name)
	}
}

// RetryAfter returns how long a response asks its client to wait (RFC 9110, section
// 10.2.3). It reports false if the response doesn't say so.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, ok := validator.ParseDate(value, now)
	return max(0, at.Sub(now)), ok
}

// SetDate adds the modification date that the handler made to a response without a
// date. With a date, caches may guess how long a response stays fresh (RFC 9111,
// section 4.2.2), which they couldn't do before. So unless the backend says
// something about caching, SetDate tells caches to ask each time, as they did.
func SetDate(h http.Header, r validator.Representation, now time.Time) {
	if r.LastModified.IsZero() || r.WeakDate || r.LastModified.After(now) || h["Last-Modified"] != nil {
		return
	}
	h["Last-Modified"] = []string{validator.FormatDate(r.LastModified)}
	if h["Cache-Control"] == nil && h["Expires"] == nil && h["Pragma"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
}
