package validator

import "strings"

// WithoutCoding returns the tag as it was before a response was compressed on
// its way to the client. A server that compresses on the fly must give the
// compressed representation a tag of its own (RFC 9110, section 8.8.3.3). Many
// servers insert -gzip, -br, -zstd or -deflate before the closing quote, and not
// all of them remove it when the client sends the tag back.
//
// WithoutCoding removes exactly one such suffix. A weak tag can have one too,
// because intermediaries weaken tags; it stays weak. The result is false if there
// is no suffix, or nothing in front of it.
func (t ETag) WithoutCoding() (ETag, bool) {
	n := codingSuffix(t.Opaque)
	if !t.Valid || n == 0 {
		return ETag{}, false
	}
	t.Opaque = t.Opaque[:len(t.Opaque)-n]
	return t, true
}

// codingSuffix returns the length of the suffix that names a content coding,
// or 0.
func codingSuffix(opaque string) int {
	i := strings.LastIndexByte(opaque, '-')
	if i < 1 {
		return 0
	}
	switch opaque[i+1:] {
	case "gzip", "br", "zstd", "deflate":
		return len(opaque) - i
	default:
		return 0
	}
}

// WithItems returns the tag of a list into which the tags of its items were
// inserted. That is a different representation from the list without them, so the
// two must not share a strong tag (RFC 9110, section 8.8.1). The digest is a digest
// of what was inserted: at least 8 lower-case digits of base32hex.
func (t ETag) WithItems(digest string) ETag {
	t.Opaque += itemsMark + digest
	return t
}

// WithoutItems returns the tag as it was before WithItems. It removes exactly one
// mark. The result is false if there is no mark, or nothing in front of it.
func (t ETag) WithoutItems() (ETag, bool) {
	i := strings.LastIndexByte(t.Opaque, '-') // no digest has one
	if !t.Valid || i < 1 {
		return ETag{}, false
	}
	digest, marked := strings.CutPrefix(t.Opaque[i:], itemsMark)
	if !marked || !isItemsDigest(digest) {
		return ETag{}, false
	}
	t.Opaque = t.Opaque[:i]
	return t, true
}

const itemsMark = "-items"

func isItemsDigest(s string) bool {
	return len(s) >= 8 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'v')
	})
}

// Unmarked returns the tags of which t may be a marked form. The first is t without
// the mark of a content coding. The second is t without the mark of items, and
// without the mark of a coding that may follow it. Either is the zero ETag if t has
// no such mark.
func (t ETag) Unmarked() [2]ETag {
	uncoded, coded := t.WithoutCoding()
	if !coded {
		plain, _ := t.WithoutItems()
		return [2]ETag{{}, plain}
	}
	plain, _ := uncoded.WithoutItems()
	return [2]ETag{uncoded, plain}
}
