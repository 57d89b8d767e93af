package proxyhooks

import (
	"bytes"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answerWriter is the response writer of a write. It settles the write before the final
// status goes out, and may buffer the answer until it is complete.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	writing  Writing
	attempts *attempts

	status    int   // of the answer; zero until it begins
	fate      Fate  // as far as it is known
	limit     int64 // of buffered
	buffering bool
	buffered  bytes.Buffer
	settled   bool
	dropped   bool
}

// settle reports the fate of the write, unless that has happened. whole means that the
// complete answer is buffered.
func (w *answerWriter) settle(whole bool) {
	w.buffering = false
	if w.settled {
		return
	}
	w.settled = true
	if w.attempts.maybeUnanswered() {
		w.fate = Unanswered
	}
	answer := Answer{Status: w.status, Header: w.Header(), Complete: whole}
	if whole {
		answer.Content = w.buffered.Bytes()
	}
	w.dropped = !w.writing.Settle(answer, w.fate)
}

// send settles the write and sends what is buffered of the answer.
func (w *answerWriter) send(whole bool) error {
	w.settle(whole)
	if w.dropped {
		return nil
	}
	w.ResponseWriterWrapper.WriteHeader(w.status)
	_, err := w.buffered.WriteTo(w.ResponseWriterWrapper)
	return err
}

func (w *answerWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status, w.fate = status, fateOf(status, w.attempts.maybeResent())
	if w.limit = w.writing.BufferLimit(status, w.Header()); w.limit >= 0 && status >= 200 && !mustNotBuffer(w.Header()) {
		w.buffering = true
		return
	}
	_ = w.send(false) // nothing is buffered yet, so no write can fail
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.buffering {
		if int64(w.buffered.Len()+len(p)) <= w.limit {
			return w.buffered.Write(p)
		}
		if err := w.send(false); err != nil {
			return 0, err
		}
	}
	if w.dropped {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.buffering:
		return io.Copy(struct{ io.Writer }{w}, r)
	case w.dropped:
		return io.Copy(io.Discard, r)
	default:
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
}

// FlushError flushes what was sent. A buffered answer stays buffered, because the proxy
// also flushes answers that are no streams.
func (w *answerWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.buffering || w.dropped {
		return nil
	}
	return http.NewResponseController(w.ResponseWriterWrapper).Flush()
}
