package proxyhooks

import (
	"encoding/json"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Form says what a [Source] of kind Header or JSON makes of a value. The zero value means
// FormHash.
type Form string

const (
	// FormHash makes a strong tag from a hash of the values.
	FormHash Form = "hash"
	// FormVerbatim takes the one value for the tag itself, as clients do that build their
	// If-Match from a version in the content. A value that is an entity tag already, strong
	// or weak, is that tag.
	FormVerbatim Form = "verbatim"
	// FormWeak is FormVerbatim with a weak tag, for clients that expect one.
	FormWeak Form = "weak"
)

// TakesValue reports whether the tag is a value rather than a hash.
func (s Source) TakesValue() bool { return s.Form == FormVerbatim || s.Form == FormWeak }

// TakesValues reports whether a tag may be a value of the backend's rather than a hash. If
// a tag of the Deriver's is weak, it is one, and it is as good a version as a strong one
// (see [validator.WeakTags]).
func (d Deriver) TakesValues() bool { return slices.ContainsFunc(d.Sources, Source.TakesValue) }

// IsShared reports whether different representations of a resource may have this tag at the
// same time, because it is a version of the resource rather than a hash: JSON and XML, or
// what two users see. It then says nothing about the bytes.
func (d Deriver) IsShared(tag validator.ETag) bool {
	return tag.Valid && d.TakesValues() && !strings.HasPrefix(tag.Opaque, hashMark)
}

// hashMark is what hashes begin with where a tag may also be a value, and values don't.
const hashMark = "~"

// valueTag returns the tag that a value stands for. It reports false if the value can't be
// one, if clients couldn't send it back as it is, or if it ends like a tag that was marked
// on its way (see [validator.ETag.Unmarked]): version x would then match x-gzip.
func (s Source) valueTag(value string) (validator.ETag, bool) {
	tag, isTag := validator.ParseETag(value)
	if !isTag {
		tag, isTag = validator.ParseETag(`"` + value + `"`)
	}
	tag.Weak = tag.Weak || s.Form == FormWeak
	unmarked := tag.Unmarked()
	switch {
	case !isTag, tag.Opaque == "", len(tag.String()) > maxTagLength,
		strings.HasPrefix(tag.Opaque, hashMark), unmarked[0].Valid, unmarked[1].Valid,
		strings.ContainsFunc(tag.Opaque, func(c rune) bool { return c > '~' }): // browsers send other octets than they get
		return validator.ETag{}, false
	}
	return tag, true
}

// tagOfLines returns the tag that the one line of a field stands for.
func (s Source) tagOfLines(h http.Header) (validator.ETag, bool) {
	lines := h[textproto.CanonicalMIMEHeaderKey(s.Field)]
	if len(lines) != 1 {
		return validator.ETag{}, false
	}
	return s.valueTag(strings.Trim(lines[0], " \t"))
}

// tagOfJSON returns the tag that a JSON value stands for: a string, or an integer that every
// client writes in the same way.
func (s Source) tagOfJSON(value json.RawMessage) (validator.ETag, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil && value[0] == '"' {
		return s.valueTag(text)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < -maxExact || n > maxExact || strconv.FormatInt(n, 10) != string(value) {
		return validator.ETag{}, false
	}
	return s.valueTag(string(value))
}

// maxExact is the largest integer that a floating-point number has to itself (RFC 8259,
// section 6). JavaScript rounds larger ones, perhaps to a different version.
const maxExact = 1<<53 - 1
