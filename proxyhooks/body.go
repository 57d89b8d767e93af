package proxyhooks

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
)

// ReadAhead reads the request content into memory, up to limit bytes, and has
// the request go on with it. A client that sends slowly, or gives up, then
// never holds a claim. Content over the limit is read on from the client later.
func ReadAhead(r *http.Request, limit int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	var head bytes.Buffer
	if r.ContentLength > 0 {
		head.Grow(int(min(r.ContentLength, limit, trusted)) + bytes.MinRead)
	}
	n, err := head.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return err
	}
	if n > limit {
		r.Body = aheadBody{io.MultiReader(&head, r.Body), r.Body}
		return nil
	}
	if r.ContentLength < 0 && len(r.Trailer) == 0 {
		r.ContentLength = n
		r.TransferEncoding = nil
	}
	r.Body = aheadBody{&head, r.Body}
	return nil
}

// trusted is how much memory is taken because of an announced length alone.
const trusted = 64 << 10

// aheadBody reads what was read ahead and closes the client's body.
type aheadBody struct {
	io.Reader
	io.Closer
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
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if ahead, ok := r.Body.(aheadBody); ok {
		if _, whole := ahead.Reader.(*bytes.Buffer); whole {
			return nil
		}
	}
	b := &trackedBody{ReadCloser: r.Body}
	r.Body = b
	return b
}
