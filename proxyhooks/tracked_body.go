package proxyhooks

import (
	"io"
	"net/http"
	"sync/atomic"
)

// trackedBody records whether all of the request content was read. A nil *trackedBody
// stands for content that is already complete.
type trackedBody struct {
	io.ReadCloser
	begun atomic.Bool
	eof   atomic.Bool
}

// trackBody wraps r.Body. It returns nil if nothing is left to read from the client.
func trackBody(r *http.Request) *trackedBody {
	if !ContentPending(r) {
		return nil
	}
	b := &trackedBody{ReadCloser: r.Body}
	r.Body = b
	return b
}

func (b *trackedBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.eof.Store(true)
	}
	return n, err
}

// guardBody makes the content of r unreadable as soon as held reports false. A process that
// stood still must not go on sending what it has half sent.
// It returns what r then reads, which is nil if r has no content.
func guardBody(r *http.Request, held func() bool) *guardedBody {
	if !hasContent(r) {
		return nil
	}
	guarded := &guardedBody{r.Body, held}
	r.Body = guarded
	return guarded
}

type guardedBody struct {
	io.ReadCloser
	held func() bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.held() {
		return 0, ErrLeaseLost
	}
	return b.ReadCloser.Read(p)
}

// complete reports whether nothing is left to read from the client.
func (b *trackedBody) complete() bool { return b == nil || b.eof.Load() }
