package multistatus

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Namespaces of properties.
const (
	dav     = "DAV:"
	caldav  = "urn:ietf:params:xml:ns:caldav"
	carddav = "urn:ietf:params:xml:ns:carddav"
)

const (
	// maxElement is how many bytes one response may have, and whatever is between two of them.
	maxElement = 16 << 20
	// maxTag is how many bytes a start tag may have. In memory it takes many times as much.
	maxTag = 64 << 10
	// maxDepth is how many elements may be inside each other. Clients can store properties of
	// any depth.
	maxDepth = 512
)

// The errors of Rewrite, besides those of the reader, the writer and the XML.
var (
	ErrTooLarge       = errors.New("a response is too large")
	ErrTooDeep        = errors.New("a response has too many elements inside each other")
	errNotMultistatus = errors.New("not a multistatus element")
)

// scanner yields the tokens of XML, and keeps the bytes that they were made of.
type scanner struct {
	*xml.Decoder
	kept   *keeper
	before int64 // the offset before the last token
	depth  int
}

func newScanner(r io.Reader) *scanner {
	kept := &keeper{r: bufio.NewReader(r), limit: maxElement}
	s := &scanner{Decoder: xml.NewDecoder(kept), kept: kept}
	s.CharsetReader = sameCharset
	return s
}

// sameCharset accepts other names of UTF-8, and of a part of it.
func sameCharset(charset string, content io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf8", "us-ascii", "ascii":
		return content, nil
	default:
		return nil, errors.New("it is in " + charset + ", not in UTF-8")
	}
}

// next returns the next token.
func (s *scanner) next() (xml.Token, error) {
	s.before = s.InputOffset()
	s.kept.token = int(s.before - s.kept.taken)
	t, err := s.Token()
	switch t.(type) {
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, ErrTooDeep
		}
	case xml.EndElement:
		s.depth--
	}
	return t, err
}

// take returns the bytes up to an offset that weren't taken before.
func (s *scanner) take(offset int64) []byte {
	n := offset - s.kept.taken
	taken := s.kept.bytes[:n:n]
	s.kept.bytes, s.kept.taken = append([]byte(nil), s.kept.bytes[n:]...), offset
	return taken
}

// children calls f for each child of the element whose start was the last token. F must read
// the child to its end.
func (s *scanner) children(f func(xml.Name) error) error {
	for {
		t, err := s.next()
		if err != nil {
			return broken(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := f(t.Name); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// skip reads an element to its end.
func (s *scanner) skip() error {
	return s.children(func(xml.Name) error { return s.skip() })
}

// text reads an element to its end, and returns the text in it.
func (s *scanner) text() (string, error) {
	var b strings.Builder
	for depth := 0; ; {
		t, err := s.next()
		if err != nil {
			return "", broken(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.StartElement:
			depth++
		case xml.EndElement:
			if depth == 0 {
				return b.String(), nil
			}
			depth--
		}
	}
}

// broken makes the end of the content within an element an error.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// keeper keeps the bytes that are read from it.
type keeper struct {
	r     *bufio.Reader
	limit int // of bytes
	bytes []byte
	taken int64
	token int // where in bytes the token begins that is read
}

// ReadByte makes the decoder read no further than it has to.
func (k *keeper) ReadByte() (byte, error) {
	if n := len(k.bytes); n >= k.limit || n-k.token >= maxTag && k.inTag() {
		return 0, ErrTooLarge
	}
	b, err := k.r.ReadByte()
	if err == nil {
		k.bytes = append(k.bytes, b)
	}
	return b, err
}

// inTag reports whether the token that is read is a tag, rather than text, CDATA or a comment.
func (k *keeper) inTag() bool { return k.bytes[k.token] == '<' && k.bytes[k.token+1] != '!' }

// Read is there for the decoder, which doesn't call it.
func (k *keeper) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if p[n], err = k.ReadByte(); err == nil {
			n++
		}
	}
	return n, err
}
