package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// RemoveRepresentationMetadata removes the fields that describe a representation
// that is not sent.
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

// RemoveContentMetadata removes the fields that describe the bytes of the
// content, and the offer to send parts of them.
func RemoveContentMetadata(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		delete(h, name)
	}
}

// SetDate adds a modification date that the handler made to a response that has
// none. A date lets caches guess how long they may use what they have (RFC 9111,
// section 4.2.2), which they couldn't do before. So unless the backend says
// something about caching, caches are told to ask each time, as they did.
func SetDate(h http.Header, r validator.Representation, now time.Time) {
	if r.LastModified.IsZero() || r.WeakDate || r.LastModified.After(now) || h["Last-Modified"] != nil {
		return
	}
	h["Last-Modified"] = []string{validator.FormatDate(r.LastModified)}
	if h["Cache-Control"] == nil && h["Expires"] == nil && h["Pragma"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
}
