package proxyhooks

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

// ErrSpool means that content could not be kept in a file.
var ErrSpool = errors.New("keeping the request content in a temporary file")

// ReadAhead reads the request content, and has the request go on with what was
// read. A client that sends slowly, or gives up, then never keeps others
// waiting. Up to limit bytes are kept in memory. With spool, what is over goes to
// a temporary file, until done is called; otherwise it is read on from the
// client later. Content that must be forwarded piece by piece isn't read ahead.
func ReadAhead(r *http.Request, limit int64, spool bool) (done func(), err error) {
	done = func() {}
	if !hasContent(r) || incremental(r.Header) {
		return done, nil
	}
	var head bytes.Buffer
	if r.ContentLength > 0 {
		head.Grow(int(min(r.ContentLength, limit, trusted)) + bytes.MinRead)
	}
	n, err := head.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return done, err
	}
	ahead := aheadBody{Reader: &head, Closer: r.Body, whole: true}
	if n > limit {
		ahead.Reader, ahead.whole = io.MultiReader(&head, r.Body), false
		if spool {
			var file *os.File
			if file, n, err = spoolContent(ahead.Reader); err != nil {
				return done, err
			}
			ahead.Reader, ahead.whole = file, true
			done = func() { _ = file.Close(); _ = os.Remove(file.Name()) }
		}
	}
	if ahead.whole && r.ContentLength < 0 && len(r.Trailer) == 0 {
		r.ContentLength = n
		r.TransferEncoding = nil
	}
	r.Body = ahead
	return done, nil
}

// Digest returns the SHA-256 of the request content, if all of it is at hand.
func Digest(r *http.Request) (sum [sha256.Size]byte, ok bool) {
	if !hasContent(r) {
		return sha256.Sum256(nil), true
	}
	if Awaited(r) {
		return sum, false
	}
	switch content := r.Body.(aheadBody).Reader.(type) {
	case *bytes.Buffer:
		return sha256.Sum256(content.Bytes()), true
	case *os.File:
		h := sha256.New()
		_, err := io.Copy(h, content)
		if _, seekErr := content.Seek(0, io.SeekStart); err != nil || seekErr != nil {
			return sum, false // the next to read it will find out why
		}
		return [sha256.Size]byte(h.Sum(nil)), true
	}
	return sum, false
}

// Awaited reports whether content may still come from the client: there is some,
// and ReadAhead hasn't read all of it.
func Awaited(r *http.Request) bool {
	ahead, _ := r.Body.(aheadBody)
	return hasContent(r) && !ahead.whole
}

func hasContent(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// trusted is how much memory is taken because of an announced length alone.
const trusted = 64 << 10

// spoolContent copies content to a temporary file and returns it, to be read
// from its beginning, with its length.
func spoolContent(content io.Reader) (file *os.File, n int64, err error) {
	file, err = os.CreateTemp("", "caddy-preconditions-*")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	_ = os.Remove(file.Name()) // the open file is enough, where the system allows it
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	source := &sourceReader{Reader: content}
	if n, err = io.Copy(file, source); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil && source.err == nil {
		err = fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return file, n, err
}

// sourceReader tells an error of the source from one of the destination.
type sourceReader struct {
	io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// aheadBody reads what was read ahead and closes the client's body.
type aheadBody struct {
	io.Reader
	io.Closer
	whole bool // nothing more is to come from the client
}

// trackedBody knows whether all of the content was read.
type trackedBody struct {
	io.ReadCloser
	eof atomic.Bool
}

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.eof.Store(true)
	}
	return n, err
}

// complete reports whether nothing more is to come from the client.
func (b *trackedBody) complete() bool { return b == nil || b.eof.Load() }

// trackBody wraps the request's body; it returns nil if all of it is at hand.
func trackBody(r *http.Request) *trackedBody {
	if !Awaited(r) {
		return nil
	}
	b := &trackedBody{ReadCloser: r.Body}
	r.Body = b
	return b
}
