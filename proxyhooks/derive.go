package proxyhooks

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"hash"
	"mime"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Kind is what a Source makes a tag of.
type Kind string

const (
	// Upstream takes the backend's own tag, if it is strong: a weak one is of
	// no use to If-Match (RFC 9110, section 13.1.1).
	Upstream Kind = "upstream"
	// Header makes a tag from a response field, if that has a value.
	Header Kind = "header"
	// JSON makes a tag from values in JSON content, if all are there.
	JSON Kind = "json"
	// Modified makes a tag from Last-Modified and Content-Length, if both are
	// there and no other change can share the date (RFC 9110, section 8.8.2.2).
	Modified Kind = "modified"
	// Body makes a tag from the content.
	Body Kind = "body"
	// Version leaves the tag to the store, which counts the writes.
	Version Kind = "version"
)

// AlwaysYields reports whether no source is ever tried after one of the kind.
func (k Kind) AlwaysYields() bool { return k == Body || k == Version }

// Source is a way to get an entity tag from a response.
type Source struct {
	Kind     Kind
	Field    string    // for Header: the field's name
	Pointers []Pointer // for JSON
}

// words returns the kind and what belongs to it.
func (s Source) words() []string {
	words := []string{string(s.Kind)}
	switch s.Kind {
	case Header:
		words = append(words, textproto.CanonicalMIMEHeaderKey(s.Field))
	case JSON:
		for _, p := range s.Pointers {
			words = append(words, p.text)
		}
	}
	return words
}

// Deriver derives the validators of a representation from the response to a
// GET, by the first of its sources that yields.
type Deriver struct {
	Sources []Source
	// Secret, if there is one, keys the tags, so that nobody can guess content
	// and see from its tag whether the guess is right.
	Secret []byte
	// Limit is how many bytes of content are held in memory to know its tag
	// before it is sent. JSON doesn't yield for more.
	Limit int64
}

// Scheme names the derivation: tags of different schemes can't be compared. It
// tells secrets apart without showing them.
func (d Deriver) Scheme() string {
	var b strings.Builder
	for i, s := range d.Sources {
		if i > 0 {
			b.WriteByte(',')
		}
		words := s.words()
		b.WriteString(words[0])
		for _, word := range words[1:] {
			b.WriteString(" " + strconv.Quote(word))
		}
	}
	if len(d.Secret) > 0 {
		h := d.newTagHash("scheme")
		b.WriteString("#" + h.tag().Opaque)
	}
	return b.String()
}

// VersionTag returns the tag for a representation that is first seen in an epoch.
func (d Deriver) VersionTag(epoch, variant string) validator.ETag {
	h := d.newTagHash(string(Version))
	h.list([]string{epoch, variant})
	return h.tag()
}

// Versions reports whether tags may be the store's own versions.
func (d Deriver) Versions() bool {
	return len(d.Sources) > 0 && d.Sources[len(d.Sources)-1].Kind == Version
}

// Need is what is needed besides the header section to know the tag of a
// response.
type Need uint8

const (
	// NeedNothing: the tag is known, or there is none.
	NeedNothing Need = iota
	// NeedContent: the tag is made from the content.
	NeedContent
	// NeedVersion: the tag is the store's own version.
	NeedVersion
)

// Derivation is what is known of the validators of a response so far.
type Derivation struct {
	// Observed has no tag as long as anything is needed to know it.
	validator.Observed
	Need Need

	json   []jsonTag // in order, if the content is needed
	body   *tagHash  // then this one, if it isn't nil
	after  validator.Observed
	orNeed Need // what comes of it if none of these yields, with after

	// values tells that the tag is made of values in the content.
	values bool

	// getOnly tells that GET may have header fields that count and that HEAD
	// may leave out (RFC 9110, section 9.3.2).
	getOnly bool
}

// FromHeader returns what the header section of a response shows. It reports ok
// = false where a response of that status says nothing about the
// representation but its date, as a part does.
func (d Deriver) FromHeader(status int, h http.Header, now time.Time) (x Derivation, ok bool) {
	if status == http.StatusNotFound || status == http.StatusGone {
		x.State = validator.Absent
		return x, true
	}
	x.LastModified, x.WeakDate = modified(h, now)
	if status != http.StatusOK && status != http.StatusNoContent {
		return x, false
	}
	x.State = validator.Present
	x.after = x.Observed
	for _, s := range d.Sources {
		if d.try(&x, s, h) {
			break
		}
	}
	ours := x.after.ETag.Valid && !x.after.Own
	x.getOnly = x.getOnly || ours && len(h["Content-Type"]) == 0
	if len(x.json) > 0 || x.body != nil {
		x.Need = NeedContent
	} else {
		x.fallBack()
	}
	return x, true
}

// FromContent returns what the header section and the content of a response show
// that are those of a 200 (OK) to a GET.
func (d Deriver) FromContent(h http.Header, content []byte, now time.Time) Derivation {
	x, _ := d.FromHeader(http.StatusOK, h, now)
	if int64(len(content)) > d.Limit {
		x.passJSON()
	}
	x.write(content)
	x.end(content)
	return x
}

// try has x note what a source makes of a header section, and reports whether
// the source is sure to yield.
func (d Deriver) try(x *Derivation, s Source, h http.Header) bool {
	switch s.Kind {
	case Upstream:
		x.after.ETag, x.after.Own = ownTag(h)
	case Header:
		x.after.ETag = d.tagOfField(s, h)
	case JSON:
		if length, announced := contentLength(h); isJSON(h) && (!announced || length <= d.Limit) {
			x.json = append(x.json, jsonTag{d.newContentHash(s, h), s.Pointers})
		}
	case Modified:
		x.after.ETag = d.tagOfDate(s, h, x.Observed)
		_, announced := contentLength(h)
		x.getOnly = !announced
	case Body:
		x.body = d.newContentHash(s, h)
	case Version:
		x.orNeed = NeedVersion
	}
	return x.after.ETag.Valid || s.Kind.AlwaysYields()
}

// write takes in content.
func (x *Derivation) write(p []byte) {
	if x.body != nil {
		x.body.Write(p)
	}
}

// passJSON goes on to the sources after JSON: the content is longer than they
// read.
func (x *Derivation) passJSON() {
	x.json = nil
	if x.body == nil {
		x.fallBack()
	}
}

// end takes in that the content has ended. All of it is needed if JSON is still
// to be tried.
func (x *Derivation) end(content []byte) {
	if x.Need != NeedContent {
		return
	}
	if len(x.json) > 0 && utf8.Valid(content) && json.Valid(content) {
		for _, j := range x.json {
			if tag, ok := j.tag(content); ok {
				x.ETag, x.Need, x.values = tag, NeedNothing, true
				return
			}
		}
	}
	x.passJSON()
	if x.body != nil {
		x.ETag, x.Need = x.body.tag(), NeedNothing
	}
}

// exact reports whether content with other bytes has another tag, as far as the
// backend tells. Values in JSON, and the store's version, can be the same where the
// rest differs on every read. And a version that is known goes with content that
// came just after it was current.
func (x *Derivation) exact() bool { return !x.values && x.Need != NeedVersion }

func (x *Derivation) fallBack() {
	x.Observed, x.Need = x.after, x.orNeed
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
	if !ok || tag.Weak {
		return validator.ETag{}, false
	}
	return tag, true
}

// modified returns the modification date that a response gives, and whether
// another change may share it: that is so until the second is over by the
// clock that made the date (RFC 9110, section 8.8.2.2), and for another one, as
// that clock may lag behind the one of Date. A file's does: Linux dates files
// by the last tick, which is some milliseconds ago.
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
	return at, date.Sub(at) < 2*time.Second
}

// TooLarge reports whether a response announces more content than Limit.
func (d Deriver) TooLarge(h http.Header) bool {
	n, announced := contentLength(h)
	return announced && n > d.Limit
}

// contentLength returns the announced length of the content, if there is one.
func contentLength(h http.Header) (int64, bool) {
	lines := h["Content-Length"]
	if len(lines) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(lines[0], 10, 63)
	return int64(n), err == nil
}

// isJSON reports whether the content is JSON by its media type (RFC 6839,
// section 3.1).
func isJSON(h http.Header) bool {
	lines := h["Content-Type"]
	if len(lines) != 1 {
		return false
	}
	mediatype, _, _ := mime.ParseMediaType(lines[0])
	return mediatype == "application/json" || strings.HasSuffix(mediatype, "+json")
}

// tagOfField makes a tag from the lines of a field.
func (d Deriver) tagOfField(s Source, h http.Header) validator.ETag {
	lines := h[textproto.CanonicalMIMEHeaderKey(s.Field)]
	if strings.Trim(strings.Join(lines, ""), " \t") == "" {
		return validator.ETag{}
	}
	c := d.newContentHash(s, h)
	c.list(lines)
	return c.tag()
}

// tagOfDate makes a tag from the modification date and the length.
func (d Deriver) tagOfDate(s Source, h http.Header, o validator.Observed) validator.ETag {
	length, announced := contentLength(h)
	if o.LastModified.IsZero() || o.WeakDate || !announced {
		return validator.ETag{}
	}
	c := d.newContentHash(s, h)
	c.list([]string{validator.FormatDate(o.LastModified), strconv.FormatInt(length, 10)})
	return c.tag()
}

// jsonTag makes a tag from values in JSON content.
type jsonTag struct {
	*tagHash
	pointers []Pointer
}

func (j jsonTag) tag(content []byte) (validator.ETag, bool) {
	for _, p := range j.pointers {
		value, ok := p.find(bytes.TrimSpace(content))
		if !ok {
			return validator.ETag{}, false
		}
		text, err := canonical(value)
		if err != nil {
			return validator.ETag{}, false
		}
		j.text(string(text))
	}
	return j.tagHash.tag(), true
}

// tagEncoding writes no '-', so that no tag of ours can look like one that a
// content coding was appended to.
var tagEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// tagHash makes a tag from whatever is written to it.
type tagHash struct{ hash.Hash }

func (d Deriver) newTagHash(words ...string) *tagHash {
	h := &tagHash{sha256.New()}
	if len(d.Secret) > 0 {
		h = &tagHash{hmac.New(sha256.New, d.Secret)}
	}
	h.list(words)
	return h
}

// newContentHash has written the source and the representation metadata without
// which equal bytes are not equal representations (RFC 9110, section 8.8.1).
func (d Deriver) newContentHash(s Source, h http.Header) *tagHash {
	c := d.newTagHash(s.words()...)
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
		c.list(h[name])
	}
	return c
}

// list writes texts so that no other texts are written as the same bytes.
func (h *tagHash) list(texts []string) {
	h.number(len(texts))
	for _, t := range texts {
		h.text(t)
	}
}

func (h *tagHash) text(t string) {
	h.number(len(t))
	h.Write([]byte(t))
}

func (h *tagHash) number(n int) {
	var b [binary.MaxVarintLen64]byte
	h.Write(b[:binary.PutUvarint(b[:], uint64(n))])
}

func (h *tagHash) tag() validator.ETag {
	var sum [sha256.Size]byte
	return validator.ETag{Opaque: tagEncoding.EncodeToString(h.Sum(sum[:0])[:16]), Valid: true}
}

// Replaces reports whether a whole representation whose header has the tag that
// h has may go out with another one.
func (d Deriver) Replaces(h http.Header) bool {
	for _, s := range d.Sources {
		if s.Kind != Upstream {
			return true
		}
		if _, own := ownTag(h); own {
			return false
		}
	}
	return false
}
