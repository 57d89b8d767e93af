package proxyhooks

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answerWriter is the response writer of a write. It settles the write before the final
// status goes out, and may buffer the answer until it is complete, or until patience is
// over. Then it settles the write as it does for an answer that is too large.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	writing  Writing
	attempts *attempts

	holdback

	// The lock of the holdback protects these.
	fate    Fate  // as far as it is known
	limit   int64 // of the content that is buffered
	settled bool
}

func newAnswerWriter(w http.ResponseWriter, writing Writing, a *attempts, cancel func()) *answerWriter {
	wrapped := &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}
	return &answerWriter{
		ResponseWriterWrapper: wrapped,
		writing:               writing,
		attempts:              a,
		holdback:              holdback{client: wrapped, cancel: cancel},
	}
}

// settle reports the fate of the write, unless that has happened. whole means that the
// complete answer is buffered.
func (w *answerWriter) settle(whole bool) {
	if w.settled {
		return
	}
	w.settled = true
	w.unhold() // should Settle panic, nothing must be sent
	if w.attempts.maybeUnanswered() {
		w.fate = Unanswered
	}
	answer := Answer{Status: w.status, Header: w.client.Header(), Complete: whole}
	if whole {
		answer.Content = w.buffered.Bytes()
	}
	if w.writing.Settle(answer, w.fate) {
		w.mode = passing
	} else {
		w.mode = discarding
	}
}

// settleAndSend settles the write and sends what there is of the answer.
func (w *answerWriter) settleAndSend(whole bool) error {
	w.settle(whole)
	if w.mode != passing {
		return nil
	}
	return w.send()
}

// losePatience does the same when the content takes too long. It runs on the timer's
// goroutine.
func (w *answerWriter) losePatience() {
	w.sendErr = w.settleAndSend(false)
	if w.mode == passing {
		w.flush()
	}
}

// Header returns the handler's header.
func (w *answerWriter) Header() http.Header { return w.handlerHeader() }

func (w *answerWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode != waiting {
		return
	}
	w.commitHeader()
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.client.WriteHeader(status)
		return
	}
	w.status, w.fate = status, fateOf(status, w.attempts.maybeResent())
	header := w.client.Header()
	limit, patience := w.writing.BufferLimit(status, header)
	if limit >= 0 && status >= 200 && !mustNotBuffer(header) {
		w.limit = limit
		w.hold(patience, w.losePatience)
		return
	}
	_ = w.settleAndSend(false) // nothing is buffered yet, so no write can fail
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	mode, err := w.buffer(p)
	switch {
	case err != nil:
		return 0, err
	case mode == passing:
		return w.client.Write(p)
	default:
		return len(p), nil
	}
}

// buffer buffers p if the answer is still held back and p fits. Otherwise it returns what
// to do with p instead.
func (w *answerWriter) buffer(p []byte) (holdMode, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mode != buffering:
		return w.mode, w.sendErr
	case w.keep(p, w.limit):
		return buffering, nil
	default:
		err := w.settleAndSend(false)
		return w.mode, err
	}
}

func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.current() == passing {
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError flushes what was sent. A buffered answer stays buffered, because the proxy
// also flushes answers that are no streams.
func (w *answerWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.current() == passing {
		return http.NewResponseController(w.client).Flush()
	}
	return nil
}

// finish settles the write when the answer is complete, and sends what is buffered.
func (w *answerWriter) finish() error {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == buffering || w.mode == passing {
		w.commitTrailers()
	}
	if w.mode == buffering {
		return w.settleAndSend(true)
	}
	return w.sendErr
}

// abandon settles the write when next has returned err or panicked, before the answer was
// complete. A nil error stands for a panic.
func (w *answerWriter) abandon(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == waiting {
		w.commitHeader()
		w.fate = fateOfError(err, w.attempts.maybeSentBefore())
	}
	w.settle(false)
}
