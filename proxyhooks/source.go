package proxyhooks

import "net/textproto"

// SourceKind says what a [Source] makes an entity tag from.
type SourceKind string

const (
	// SourceUpstream uses the backend's own tag, if it is strong. A weak tag is of no use to
	// If-Match (RFC 9110, section 13.1.1).
	SourceUpstream SourceKind = "upstream"
	// SourceHeader makes a tag from a response field, if the field has a value (see [Form]).
	SourceHeader SourceKind = "header"
	// SourceJSON makes a tag from values in JSON content, if all of them exist (see [Form]).
	SourceJSON SourceKind = "json"
	// SourceModified makes a tag from Last-Modified and Content-Length, if the response has
	// both and no other change can share the date (RFC 9110, section 8.8.2.2).
	SourceModified SourceKind = "modified"
	// SourceBody makes a tag from the content.
	SourceBody SourceKind = "body"
	// SourceVersion leaves the tag to the store, which counts the writes.
	SourceVersion SourceKind = "version"
)

// AlwaysYields reports whether a source of this kind always yields a tag, so that no
// source after it is ever tried.
func (k SourceKind) AlwaysYields() bool { return k == SourceBody || k == SourceVersion }

// Source is one way to get an entity tag from a response.
type Source struct {
	Kind     SourceKind
	Field    string    // for Header: the name of the field
	Pointers []Pointer // for JSON: the values to use, in this order
	Form     Form      // for Header and JSON; one pointer, unless it is FormHash
}

// words returns the kind and its arguments.
func (s Source) words() []string {
	words := []string{string(s.Kind)}
	switch s.Kind {
	case SourceHeader:
		words = append(words, textproto.CanonicalMIMEHeaderKey(s.Field))
	case SourceJSON:
		for _, p := range s.Pointers {
			words = append(words, p.text)
		}
	}
	if s.TakesValue() {
		words = append(words, string(s.Form))
	}
	return words
}
