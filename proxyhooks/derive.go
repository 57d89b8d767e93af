package proxyhooks

import (
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Source names a way to get an entity tag from a response.
type Source string

const (
	// SourceUpstream takes the backend's own tag, if it is strong: a weak one
	// is of no use to If-Match (RFC 9110, section 13.1.1).
	SourceUpstream Source = "upstream"
	// SourceBody makes a tag from the content and from the fields that say how
	// to read it.
	SourceBody Source = "body"
)

// Deriver derives the validators of a representation from the response to a
// GET, by the first of its sources that yields.
type Deriver struct {
	Sources []Source
}

// Scheme names the derivation: tags of different schemes can't be compared.
func (d Deriver) Scheme() string {
	names := make([]string, len(d.Sources))
	for i, s := range d.Sources {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

// FromHeader returns what the header section of a response shows, and whether
// the content must be read to know the tag. It reports ok = false where a
// response of that status says nothing about the representation.
func (d Deriver) FromHeader(status int, h http.Header, now time.Time) (o etagcache.Observed, needBody, ok bool) {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		o.State = validator.Absent
		return o, false, true
	case http.StatusOK, http.StatusNoContent:
	default:
		return o, false, false
	}
	o.State = validator.Present
	o.LastModified, o.WeakDate = modified(h, now)
	for _, source := range d.Sources {
		switch source {
		case SourceUpstream:
			if tag, valid := ownTag(h); valid {
				o.ETag, o.Own = tag, true
				return o, false, true
			}
		case SourceBody:
			return o, true, true
		}
	}
	return o, false, true
}

// maxTag is how long a backend's tag may be. A longer one isn't worth storing.
const maxTag = 512

// ownTag returns the backend's own tag, if it is a single strong one.
func ownTag(h http.Header) (validator.ETag, bool) {
	lines := h["Etag"]
	if len(lines) != 1 || len(lines[0]) > maxTag {
		return validator.ETag{}, false
	}
	tag, ok := validator.ParseETag(lines[0])
	return tag, ok && !tag.Weak
}

// modified returns the modification date that a response gives, and whether
// another change may share it: that is so until the second is over by the
// clock that made the date (RFC 9110, section 8.8.2.2).
func modified(h http.Header, now time.Time) (at time.Time, weak bool) {
	lines := h["Last-Modified"]
	if len(lines) != 1 {
		return time.Time{}, false
	}
	at, ok := validator.ParseDate(lines[0], now)
	if !ok {
		return time.Time{}, false
	}
	date, ok := validator.ParseDate(h.Get("Date"), now)
	if !ok {
		date = now
	}
	return at, date.Sub(at) < time.Second
}

// tagEncoding writes no '-', so that no tag of ours can look like one that a
// content coding was appended to.
var tagEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// contentHash makes a tag from the content and from the representation metadata
// without which equal bytes are not equal representations (RFC 9110, section
// 8.8.1).
type contentHash struct{ hash.Hash }

func newContentHash(h http.Header) contentHash {
	c := contentHash{sha256.New()}
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
		for _, value := range h[name] {
			c.Write([]byte(value))
			c.Write([]byte{1})
		}
		c.Write([]byte{0})
	}
	return c
}

func (c contentHash) tag() validator.ETag {
	var sum [sha256.Size]byte
	return validator.ETag{Opaque: tagEncoding.EncodeToString(c.Sum(sum[:0])[:16]), Valid: true}
}

// Replaces reports whether a whole representation whose header has the tag that
// h has goes out with another one.
func (d Deriver) Replaces(h http.Header) bool {
	_, own := ownTag(h)
	return slices.Contains(d.Sources, SourceBody) && !(own && slices.Contains(d.Sources, SourceUpstream))
}
