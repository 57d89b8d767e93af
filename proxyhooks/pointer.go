package proxyhooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Pointer is a JSON pointer (RFC 6901).
type Pointer struct {
	text   string
	tokens []string // unescaped
}

// ParsePointer parses the string representation of a JSON pointer (RFC 6901,
// section 3): it is empty or begins with a slash, and ~ stands only in ~0 and
// ~1.
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
		p.tokens = append(p.tokens, strings.ReplaceAll(token, "~0", "~")) // in this order: ~01 is ~1
	}
	return p, nil
}

// String returns the pointer as it was parsed.
func (p Pointer) String() string { return p.text }

// whole reports whether the pointer points at all there is.
func (p Pointer) whole() bool { return p.text == "" }

// find returns the value that the pointer points at (RFC 6901, section 4), in a
// value that is well-formed.
func (p Pointer) find(value json.RawMessage) (json.RawMessage, bool) {
	at, ok := p.locate(value)
	return at.of(value), ok
}

// locate returns where that value stands. Of members of one name the last one
// counts, as it does for most readers.
func (p Pointer) locate(text []byte) (at span, ok bool) {
	at = trimmed(text)
	for _, token := range p.tokens {
		if at, ok = child(text, at, token); !ok {
			return span{}, false
		}
	}
	return at, true
}

// child returns the member or element of a value that a token names.
func child(text []byte, value span, token string) (at span, ok bool) {
	index := 0
	for name, child := range children(text, value) {
		switch {
		case name == span{}:
			if strconv.Itoa(index) == token { // without leading zeros (RFC 6901, section 4)
				return child, true
			}
			index++
		case isName(name.of(text), token):
			at, ok = child, true
		}
	}
	return at, ok
}

// canonical returns one spelling for all that differ in nothing but white space,
// escapes and the order of members. A number keeps its own: 1 and 1.0 may be two
// versions.
func canonical(value json.RawMessage) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(decoded)
	if err != nil || !bytes.ContainsRune(encoded, utf8.RuneError) {
		return encoded, err
	}
	// The replacement character may stand for any half of a surrogate pair.
	var compact bytes.Buffer
	err = json.Compact(&compact, value)
	return compact.Bytes(), err
}
