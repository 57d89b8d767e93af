package proxyhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// tagEncoding is base32hex in lower case (RFC 4648, section 7). It has no '-', so no tag
// that it makes can look like one with the name of a content coding appended.
var tagEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// tagHash makes an entity tag from everything that is written to it.
type tagHash struct {
	hash.Hash
	mark    string // what the tag begins with
	scratch []byte
	room    [128]byte // for scratch
}

// newTagHash returns a hash to which words have been written. It is keyed if there is
// a secret.
func (d Deriver) newTagHash(words ...string) *tagHash {
	h := new(tagHash)
	h.scratch = h.room[:0]
	if len(d.Secret) > 0 {
		h.Hash = hmac.New(sha256.New, d.Secret)
	} else {
		h.Hash = sha256.New()
	}
	if d.TakesValues() {
		h.mark = hashMark
	}
	h.list(words)
	return h
}

// newContentHash returns a hash to which the source and some representation metadata
// have been written. Equal bytes with different metadata are different representations
// (RFC 9110, section 8.8.1).
func (d Deriver) newContentHash(s Source, h http.Header) *tagHash {
	hash := d.newTagHash(s.words()...)
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
		hash.list(h[name])
	}
	return hash
}

// list writes texts with their lengths, so different lists are never written as the
// same bytes.
func (h *tagHash) list(texts []string) {
	h.scratch = binary.AppendUvarint(h.scratch[:0], uint64(len(texts)))
	for _, t := range texts {
		h.scratch = binary.AppendUvarint(h.scratch, uint64(len(t)))
		h.scratch = append(h.scratch, t...)
	}
	h.Write(h.scratch)
}

// text writes a text with its length.
func (h *tagHash) text(t string) {
	h.number(len(t))
	h.scratch = append(h.scratch[:0], t...)
	h.Write(h.scratch)
}

func (h *tagHash) number(n int) {
	h.scratch = binary.AppendUvarint(h.scratch[:0], uint64(n))
	h.Write(h.scratch)
}

// tag returns a strong tag with the first 128 bits of the hash.
func (h *tagHash) tag() validator.ETag {
	sum := h.Sum(h.scratch[:0])
	text := append(sum[sha256.Size:], h.mark...)
	return validator.ETag{Opaque: string(tagEncoding.AppendEncode(text, sum[:16])), Valid: true}
}

// MayHaveMade reports whether a tag has the form of those that the Deriver makes. A value
// may have any.
func (d Deriver) MayHaveMade(tag validator.ETag) bool {
	if d.TakesValues() {
		return true
	}
	own, _, _ := strings.Cut(tag.Opaque, "-") // the mark of a coding
	sum, err := tagEncoding.DecodeString(own)
	return err == nil && len(sum) == 16 && slices.ContainsFunc(d.Sources, func(s Source) bool { return s.Kind != SourceUpstream })
}
