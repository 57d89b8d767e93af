package validator

import "strings"

// ETag is an entity tag (RFC 9110, section 8.8.3). The zero value means that there
// is no tag. The tag whose opaque part is empty, `""`, has Valid set.
type ETag struct {
	// Opaque holds the octets between the quotes.
	Opaque string
	// Weak reports whether the tag is marked with W/.
	Weak bool
	// Valid distinguishes a tag from the absence of one.
	Valid bool
}

// ParseETag parses s as one entity tag with nothing around it (RFC 9110,
// section 8.8.3), and reports whether it is one. There is no unescaping, W/ is
// case-sensitive, and octets above 0x7F are kept unchanged. The tag shares the
// memory of s.
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

// String returns the tag as it is sent, `"x"` or `W/"x"`, or the empty string if t
// is not valid. It does not check Opaque.
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

// AppendTo appends the result of String to b.
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

// StrongMatch is the strong comparison: a and b match if neither is weak and their
// octets are the same (RFC 9110, section 8.8.3.2). An ETag that is not valid
// matches nothing.
func StrongMatch(a, b ETag) bool {
	return !a.Weak && !b.Weak && WeakMatch(a, b)
}

// WeakMatch is the weak comparison: a and b match if their octets are the same,
// whether they are weak or not (RFC 9110, section 8.8.3.2). An ETag that is not
// valid matches nothing.
func WeakMatch(a, b ETag) bool {
	return a.Valid && b.Valid && a.Opaque == b.Opaque
}
