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

// find returns the value that the pointer points at (RFC 6901, section 4), in a
// value that is well-formed.
func (p Pointer) find(value json.RawMessage) (json.RawMessage, bool) {
	for _, token := range p.tokens {
		var ok bool
		switch firstByte(value) {
		case '{':
			var members map[string]json.RawMessage
			if json.Unmarshal(value, &members) != nil {
				return nil, false
			}
			value, ok = members[token]
		case '[':
			value, ok = element(value, token)
		}
		if !ok {
			return nil, false
		}
	}
	return value, true
}

// element returns the element of an array that a token names: by digits without
// leading zeros (RFC 6901, section 4).
func element(array json.RawMessage, token string) (json.RawMessage, bool) {
	index, err := strconv.ParseUint(token, 10, 31)
	if err != nil || token != strconv.FormatUint(index, 10) {
		return nil, false
	}
	var elements []json.RawMessage
	if json.Unmarshal(array, &elements) != nil || index >= uint64(len(elements)) {
		return nil, false
	}
	return elements[index], true
}

func firstByte(value json.RawMessage) byte {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 {
		return 0
	}
	return value[0]
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
