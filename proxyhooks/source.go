package proxyhooks

import "net/textproto"

// Kind says what a [Source] makes an entity tag from.
type Kind string

const (
	// Upstream uses the backend's own tag, if it is strong. A weak tag is of no use to
	// If-Match (RFC 9110, section 13.1.1).
	Upstream Kind = "upstream"
	// Header makes a tag from a response field, if the field has a value.
	Header Kind = "header"
	// JSON makes a tag from values in JSON content, if all of them exist.
	JSON Kind = "json"
	// Modified makes a tag from Last-Modified and Content-Length, if the response has
	// both and no other change can share the date (RFC 9110, section 8.8.2.2).
	Modified Kind = "modified"
	// Body makes a tag from the content.
	Body Kind = "body"
	// Version leaves the tag to the store, which counts the writes.
	Version Kind = "version"
)

// AlwaysYields reports whether a source of this kind always yields a tag, so that no
// source after it is ever tried.
func (k Kind) AlwaysYields() bool { return k == Body || k == Version }

// Source is one way to get an entity tag from a response.
type Source struct {
	Kind     Kind
	Field    string    // for Header: the name of the field
	Pointers []Pointer // for JSON: the values to use, in this order
}

// words returns the kind and its arguments.
func (s Source) words() []string {
	words := []string{string(s.Kind)}
	switch s.Kind {
	case Header:
		words = append(words, textproto.CanonicalMIMEHeaderKey(s.Field))
	case JSON:
		for _, p := range s.Pointers {
			words = append(words, p.text)
		}
	}
	return words
}
