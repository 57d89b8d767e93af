package proxyhooks

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Pointer is a JSON pointer (RFC 6901). The zero value points at the whole document.
type Pointer struct {
	text   string
	tokens []string // unescaped
}

// ParsePointer parses the string representation of a JSON pointer (RFC 6901, section 3).
// It must be empty or begin with a slash, and contain ~ only in ~0 and ~1. The error
// doesn't repeat the text.
func ParsePointer(text string) (Pointer, error) {
	p := Pointer{text: text}
	if text == "" {
		return p, nil
	}
	rest, ok := strings.CutPrefix(text, "/")
	switch {
	case !ok:
		return p, errors.New("must be empty or begin with /")
	case !utf8.ValidString(text):
		return p, errors.New("must be UTF-8")
	case strings.Count(text, "~") != strings.Count(text, "~0")+strings.Count(text, "~1"):
		return p, errors.New("must have ~ only in ~0 and ~1")
	}
	for token := range strings.SplitSeq(rest, "/") {
		token = strings.ReplaceAll(token, "~1", "/")
		p.tokens = append(p.tokens, strings.ReplaceAll(token, "~0", "~")) // last, because ~01 means ~1
	}
	return p, nil
}

// String returns the pointer as it was parsed.
func (p Pointer) String() string { return p.text }

// isWhole reports whether the pointer points at the whole document.
func (p Pointer) isWhole() bool { return p.text == "" }

// find returns the value in document that the pointer points at (RFC 6901, section 4). Of
// several members with the same name, the last one counts, as for most readers of JSON.
func (p Pointer) find(document []byte) (value []byte, ok bool) {
	at, _ := p.locate(document)
	return at.of(document), at != span{}
}

// locate returns the position of that value, which is why no library does this: the usual
// ones evaluate a pointer against a decoded document. The position is empty if there is no
// such value. It reports whether all readers find the same: no name on the way occurs twice.
func (p Pointer) locate(document []byte) (at span, only bool) {
	at, only = trimmed(document), true
	for _, token := range p.tokens {
		var count int
		if at, count = child(document, at, token); count == 0 {
			return span{}, only
		}
		only = only && count == 1
	}
	return at, only
}

// child returns the last member or element of the value at parent that a token names, and
// how many there are.
func child(document []byte, parent span, token string) (at span, count int) {
	index := 0
	for name, value := range children(document, parent) {
		switch {
		case name == span{}:
			if strconv.Itoa(index) == token { // so "01" names no element (RFC 6901, section 4)
				return value, 1
			}
			index++
		case isName(name.of(document), token):
			at = value
			count++
		}
	}
	return at, count
}
