package validator

import "strings"

// ETag is an entity tag (RFC 9110, section 8.8.3). The zero value is no tag;
// the tag with the empty opaque string, `""`, has Valid set.
type ETag struct {
	// Opaque is the octets between the quotes.
	Opaque string
	// Weak tells that the tag is marked with W/.
	Weak bool
	// Valid tells a tag from the absence of one.
	Valid bool
}

// ParseETag parses s as one entity tag with nothing around it (RFC 9110,
// section 8.8.3). Nothing is unescaped, W/ is case-sensitive, and octets above
// 0x7F are kept as they are. The tag shares its memory with s.
func ParseETag(s string) (ETag, bool) {
	opaque, weak := strings.CutPrefix(s, "W/")
	if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
		return ETag{}, false
	}
	opaque = opaque[1 : len(opaque)-1]
	for i := range len(opaque) {
		if !isETagC(opaque[i]) {
			return ETag{}, false
		}
	}
	return ETag{Opaque: opaque, Weak: weak, Valid: true}, true
}

func isETagC(c byte) bool {
	return c == 0x21 || 0x23 <= c && c <= 0x7E || c >= 0x80
}

// String returns the tag as it is sent, `"x"` or `W/"x"`, and the empty string
// if t is no tag. It does not check Opaque.
func (t ETag) String() string {
	switch {
	case !t.Valid:
		return ""
	case t.Weak:
		return `W/"` + t.Opaque + `"`
	default:
		return `"` + t.Opaque + `"`
	}
}

// AppendTo appends what String returns to b.
func (t ETag) AppendTo(b []byte) []byte {
	if !t.Valid {
		return b
	}
	if t.Weak {
		b = append(b, "W/"...)
	}
	b = append(b, '"')
	b = append(b, t.Opaque...)
	return append(b, '"')
}

// StrongMatch compares a and b strongly: they match if neither is weak and
// their octets are the same (RFC 9110, section 8.8.3.2). What is no tag
// matches nothing.
func StrongMatch(a, b ETag) bool {
	return !a.Weak && !b.Weak && WeakMatch(a, b)
}

// WeakMatch compares a and b weakly: they match if their octets are the same,
// weak or not (RFC 9110, section 8.8.3.2). What is no tag matches nothing.
func WeakMatch(a, b ETag) bool {
	return a.Valid && b.Valid && a.Opaque == b.Opaque
}

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
