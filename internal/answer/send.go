package answer

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Limits on the content that is read after its request was refused. If a connection
// is closed with unread content, it is reset, and the client may lose the answer.
// So the content is read and discarded, within limits.
const (
	maxDiscard     = 16 << 20
	maxDiscardTime = 5 * time.Second
	// A client that waits for 100 (Continue) will send nothing.
	maxDiscardTimeExpect = 500 * time.Millisecond
)

// Send sends an answer made by the handler, and then makes sure that it arrives.
// Content may be nil.
func (a *Responder) Send(status int, content []byte) error {
	a.answerBeforeContent()
	a.Writer.WriteHeader(status)
	if a.Request.Method != http.MethodHead && content != nil {
		if _, err := a.Writer.Write(content); err != nil {
			return nil //nolint:nilerr // the client is gone
		}
	}
	a.discardContent()
	return nil
}

// answerBeforeContent makes sure that the answer goes out at once. Otherwise Caddy's
// HTTP/1 server would hold it back until the content has come, and a client that
// expects 100 (Continue) sends none (RFC 9110, section 10.1.1).
//
// After the answer, discardContent reads the rest of the content. If that isn't
// called, or can't finish, the connection must end. Otherwise the rest would be
// taken for another request (RFC 9112, section 9.3).
func (a *Responder) answerBeforeContent() {
	r := a.Request.Request
	if r.ProtoMajor != 1 || !proxyhooks.ContentPending(r) {
		return
	}
	_ = http.NewResponseController(a.Writer).EnableFullDuplex() // without it, the answer is late
	if a.ErrorRoutes || ExpectsContinue(r) || r.ContentLength > maxDiscard {
		a.Writer.Header().Set("Connection", "close")
	}
}

// discardContent flushes the answer and discards what the client still sends, within
// limits.
func (a *Responder) discardContent() {
	r := a.Request.Request
	if r.ProtoMajor != 1 || !proxyhooks.ContentPending(r) {
		return
	}
	c := http.NewResponseController(a.Writer)
	patience := maxDiscardTime
	if ExpectsContinue(r) {
		patience = maxDiscardTimeExpect
	}
	if c.Flush() == nil && c.SetReadDeadline(time.Now().Add(patience)) == nil {
		n, err := io.CopyN(io.Discard, r.Body, maxDiscard)
		if err == io.EOF && n < maxDiscard {
			_ = c.SetReadDeadline(time.Time{}) // the connection can go on
			return
		}
	}
	closeAfterAnswer(a.Writer)
}

// closeAfterAnswer makes net/http close an HTTP/1 connection once the answer is
// complete. With full duplex, net/http doesn't do that by itself if content is left
// that came too late or is malformed. The only way to ask for it is a MaxBytesReader
// that has reached its limit.
func closeAfterAnswer(w http.ResponseWriter) {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	tooLarge := http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = io.Copy(io.Discard, tooLarge)
}

// ExpectsContinue reports whether the client waits for 100 (Continue), as some server may
// read it: some take the expectation for granted wherever it stands.
func ExpectsContinue(r *http.Request) bool {
	return strings.Contains(strings.ToLower(strings.Join(r.Header["Expect"], ",")), "100-continue")
}
