package proxyhooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSONContent is the content of a request, as the client sent it: valid JSON in UTF-8.
type JSONContent []byte

// ContentKind says how the content of a request can be read as JSON.
type ContentKind uint8

const (
	// NoJSON means that there is no content, or that its media type isn't JSON.
	NoJSON ContentKind = iota
	// CodedJSON means that the content is JSON in a content coding.
	CodedJSON
	// UnclearJSON means that there are several media types, and one of them is JSON.
	UnclearJSON
	// PlainJSON means that the content is JSON by its media type.
	PlainJSON
)

// ContentKindOf returns how the content of a request can be read as JSON, by its fields.
func ContentKindOf(r *http.Request) ContentKind {
	switch {
	case !hasContent(r):
		return NoJSON
	case !isJSON(r.Header) && namesJSON(r.Header):
		return UnclearJSON
	case !isJSON(r.Header):
		return NoJSON
	case strings.Trim(strings.ToLower(strings.Join(r.Header["Content-Encoding"], ",")), " \t") != "identity" && r.Header["Content-Encoding"] != nil:
		return CodedJSON
	default:
		return PlainJSON
	}
}

// The errors of ReadJSON.
var (
	ErrNotJSON = errors.New("not JSON in UTF-8")
	ErrNoRoom  = errors.New("more content than there is room for")
)

// ReadJSON returns a copy of the content, if ReadAhead has read all of it. It counts as held.
func ReadJSON(r *http.Request, memory *Memory) (JSONContent, error) {
	body, ok := r.Body.(aheadBody)
	if !ok || body.content == nil || !memory.Take(body.size) {
		return nil, ErrNoRoom
	}
	content := make([]byte, body.size)
	if _, err := io.ReadFull(body.reader(), content); err != nil {
		return nil, err
	}
	if !utf8.Valid(content) || !json.Valid(content) {
		return nil, ErrNotJSON
	}
	return content, nil
}

// Find returns the value that a pointer points at, or nil if it points at nothing. It reports
// false if readers may find different values, because a name on the way occurs twice.
func (c JSONContent) Find(p Pointer) (value []byte, clear bool) {
	at, only := p.locate(c)
	if (at == span{}) {
		return nil, only
	}
	return at.of(c), only
}

// Has reports whether a pointer points at a value.
func (c JSONContent) Has(p Pointer) bool {
	value, _ := c.Find(p)
	return value != nil
}

// Member returns the value of a member of the object that the content is, like Find.
func (c JSONContent) Member(name string) (value []byte, clear bool) {
	at := trimmed(c)
	if at.from == at.to || c[at.from] != '{' {
		return nil, true
	}
	return c.Find(MemberPointer(name))
}

// MemberPointer returns a pointer to a member of the object that a document is.
func MemberPointer(name string) Pointer {
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	return Pointer{text: "/" + escaped, tokens: []string{name}}
}

// Without returns the content without the member that a pointer points at. All other bytes
// stay as they are, except for one comma. The result is the same slice if the pointer points
// at no member of an object; otherwise c must not be used any more.
func (c JSONContent) Without(p Pointer) JSONContent {
	if p.isWhole() {
		return c
	}
	last := len(p.tokens) - 1
	parent, _ := Pointer{tokens: p.tokens[:last]}.locate(c)
	cut, end, found := span{}, 0, false
	for name, value := range children(c, parent) {
		switch {
		case name == span{}:
			return c // an element of an array
		case found: // the first member was: the next one takes its place
			return append(c[:cut.from], c[name.from:]...)
		case isName(name.of(c), p.tokens[last]) && end > 0:
			return append(c[:end], c[value.to:]...) // with the comma before it
		case isName(name.of(c), p.tokens[last]):
			cut, found = span{name.from, value.to}, true
		}
		end = value.to
	}
	if !found {
		return c
	}
	return append(c[:cut.from], c[cut.to:]...)
}

// Text returns a value as text: a string without its quotes, or a whole number as it is
// written. It reports false for all other values.
func Text(value []byte) (text string, ok bool) {
	if len(value) > 0 && value[0] == '"' {
		err := json.Unmarshal(value, &text)
		return text, err == nil
	}
	digits := strings.TrimPrefix(string(value), "-")
	return string(value), digits != "" && strings.Trim(digits, "0123456789") == ""
}

// ReplaceContent makes content the content of a request, in place of what was read ahead. It
// returns a function that restores the field that says how long it is.
func ReplaceContent(r *http.Request, content JSONContent) (restore func()) {
	closer := io.Closer(io.NopCloser(nil))
	if r.Body != nil {
		closer = r.Body
	}
	body := aheadBody{Closer: closer, content: bytes.NewReader(content), size: int64(len(content))}
	body.Reader = body.reader()
	r.Body = body
	if r.ContentLength < 0 {
		return func() {}
	}
	r.ContentLength = body.size
	if r.Header["Content-Length"] == nil {
		return func() {}
	}
	return EditHeader(r.Header, map[string][]string{"Content-Length": {strconv.FormatInt(body.size, 10)}})
}

// digestFields are the fields that describe the bytes of content.
var digestFields = [...]string{"Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "X-Amz-Content-Sha256"}

// Digested returns the field that describes the bytes of a request's content, or nothing if
// there is none. Trailer fields may.
func Digested(r *http.Request) (field string) {
	for _, name := range digestFields {
		if r.Header[name] != nil {
			return name
		}
	}
	if len(r.Trailer) > 0 {
		return "Trailer"
	}
	return ""
}
