package proxyhooks

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// maxTagLength is the longest entity tag of a backend, in bytes, that is worth
// storing.
const maxTagLength = 512

// backendTag returns the backend's own entity tag, weak or strong. It isn't valid
// unless the response has exactly one.
func backendTag(h http.Header) validator.ETag {
	lines := h["Etag"]
	if len(lines) != 1 || len(lines[0]) > maxTagLength {
		return validator.ETag{}
	}
	tag, _ := validator.ParseETag(lines[0])
	return tag
}

// ownTag returns the backend's own entity tag, if the response has exactly one and it
// is strong.
func ownTag(h http.Header) (validator.ETag, bool) {
	if tag := backendTag(h); tag.Valid && !tag.Weak {
		return tag, true
	}
	return validator.ETag{}, false
}

// lastModified returns the modification date of a response to a request that was sent at
// the time asked, and whether it is weak: a later change may share it. A date is weak until
// its second is over by the clock that made it (RFC 9110, section 8.8.2.2), and for one
// second more, because that clock may lag behind the clock that made Date. The clock of a
// file system does: Linux dates files by the last tick, which is some milliseconds ago.
//
// What counts is when the origin looked, which may be long before it answered.
func lastModified(h http.Header, asked time.Time) (at time.Time, weak bool) {
	lines := h["Last-Modified"]
	if len(lines) != 1 {
		return time.Time{}, false
	}
	at, ok := validator.ParseDate(lines[0], asked)
	if !ok {
		return time.Time{}, false
	}
	looked, ok := validator.ParseDate(h.Get("Date"), asked)
	if took := time.Since(asked); !ok {
		looked = asked
	} else if took > promptly {
		looked = looked.Add(-took)
	}
	return at, looked.Sub(at) < 2*time.Second
}

// promptly is how long a response may take that is dated when the origin looked. It is a
// part of the second for which a date stays weak.
const promptly = 500 * time.Millisecond

// ContentLength returns the announced length of the content. It reports false if no
// valid length is announced.
func ContentLength(h http.Header) (int64, bool) {
	lines := h["Content-Length"]
	if len(lines) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(lines[0], 10, 63)
	return int64(n), err == nil
}

// isJSON reports whether the media type says that the content is JSON (RFC 6839,
// section 3.1). Nobody has registered text/json, but some backends read it.
func isJSON(h http.Header) bool {
	lines := h["Content-Type"]
	if len(lines) != 1 {
		return false
	}
	mediatype := mediaType(lines[0])
	return mediatype == "application/json" || mediatype == "text/json" || strings.HasSuffix(mediatype, "+json")
}

// mediaType returns the media type in a Content-Type, in lower case and without parameters, or
// nothing if it has none.
func mediaType(value string) string {
	plain := true
	for i := 0; i < len(value) && plain; i++ {
		c := value[i]
		plain = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == '/'
	}
	if i := strings.IndexByte(value, '/'); plain && i > 0 && i == strings.LastIndexByte(value, '/') && i < len(value)-1 {
		return value // the usual case
	}
	mediatype, _, _ := mime.ParseMediaType(value)
	return mediatype
}

// namesJSON reports whether JSON is among the media types of a message. There should be only
// one, and servers differ in which of several they believe.
func namesJSON(h http.Header) bool {
	for _, line := range h["Content-Type"] {
		for text := range strings.SplitSeq(line, ",") {
			if isJSON(http.Header{"Content-Type": {text}}) {
				return true
			}
		}
	}
	return false
}

// MustNotBuffer reports whether a response must not be buffered, because it is a
// stream or ends in trailer fields.
func MustNotBuffer(h http.Header) bool { return mustStream(h) || endsInTrailers(h) }

// endsInTrailers reports whether a response announces trailer fields.
func endsInTrailers(h http.Header) bool { return h.Get("Trailer") != "" }

// mustStream reports whether a message must be forwarded piece by piece, because it
// may take long to end, or never end.
func mustStream(h http.Header) bool {
	mediatype := mediaType(h.Get("Content-Type"))
	return mediatype == "text/event-stream" || strings.HasPrefix(mediatype, "application/grpc") ||
		caddyhttp.IsIncremental(h)
}
