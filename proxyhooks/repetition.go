package proxyhooks

import (
	"errors"
	"io"
)

// Net/http sends a request again by itself if a connection that it used before breaks while
// nothing was sent yet. Backends close idle connections at any time, so this is common. It
// needs a way to read the content again (Request.GetBody). It also sends again what it takes
// for idempotent, even if that may have been applied: such requests get no GetBody here.

var (
	errNotSent    = errors.New("nothing was sent, and the content can't be read again")
	errNotAgain   = errors.New("the request may have been sent, so it isn't sent again")
	idempotencyIn = [...]string{"Idempotency-Key", "X-Idempotency-Key"}
)

// allowRepetition lets net/http send the content again if nothing was sent. Content is what
// Forward got, and guarded what next gets. Body is nil if all of the content was read ahead.
func (a *attempts) allowRepetition(content io.ReadCloser, guarded *guardedBody, body *trackedBody) {
	r := a.forwarded
	if guarded == nil || isReplayable(r.Method) || r.GetBody != nil {
		return
	}
	for _, name := range idempotencyIn {
		if _, ok := r.Header[name]; ok {
			return
		}
	}
	ahead, _ := content.(aheadBody)
	r.GetBody = func() (io.ReadCloser, error) {
		// A handler may have replaced or limited the content, or its trailer may be lost.
		same := r.Body == io.ReadCloser(guarded) && len(a.original.Trailer) == 0
		switch {
		case same && ahead.content != nil:
			if !a.reportUnsent(false) {
				return nil, errNotAgain
			}
			return &guardedBody{io.NopCloser(ahead.reader()), guarded.held}, nil
		case same && body != nil && !body.begun.Load():
			if !a.reportUnsent(false) {
				return nil, errNotAgain
			}
			return guarded, nil
		case a.reportUnsent(true):
			return nil, errNotSent
		default:
			return nil, errNotAgain
		}
	}
}
