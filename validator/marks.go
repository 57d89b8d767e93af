package validator

import "strings"

// WithoutCoding returns the tag as it was before a response was compressed on
// its way to the client. A server that compresses on the fly has to tell the
// compressed representation's tag from the other's (RFC 9110, section 8.8.3.3);
// many do so with -gzip, -br, -zstd or -deflate before the closing quote, and
// not all of them undo it when the client sends the tag back.
//
// Exactly one such suffix is taken off. A weak tag may have one too, because
// intermediaries weaken tags; it stays weak. The result is false if there is
// no suffix, or nothing in front of it.
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

// WithItems returns the tag of a list that has got the tags of its items put into
// it. That is another representation than without them, so that they may not
// share a strong tag (RFC 9110, section 8.8.1). The digest is that of what was
// put in: 8 or more of the digits of base32hex, in lower case.
func (t ETag) WithItems(digest string) ETag {
	t.Opaque += itemsMark + digest
	return t
}

// WithoutItems returns the tag as it was before WithItems. Exactly one mark is
// taken off. The result is false if there is none, or nothing in front of it.
func (t ETag) WithoutItems() (ETag, bool) {
	i := strings.LastIndex(t.Opaque, itemsMark)
	if !t.Valid || i < 1 || !isItemsDigest(t.Opaque[i+len(itemsMark):]) {
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

// Unmarked returns the tags that t may be a marked form of: without the mark of a
// content coding, and without that of items, behind which there may be that of a
// coding, too. What there is none of is no tag.
func (t ETag) Unmarked() [2]ETag {
	uncoded, coded := t.WithoutCoding()
	if !coded {
		plain, _ := t.WithoutItems()
		return [2]ETag{{}, plain}
	}
	plain, _ := uncoded.WithoutItems()
	return [2]ETag{uncoded, plain}
}
