package proxyhooks

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answerWriter is the response writer of a write. It buffers the answer until it is complete,
// and settles the write before the final status goes out. If the answer is too large or takes
// too long, it passes it on, and settles the write at its end.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	writing  Writing
	attempts *attempts

	keepSettled bool // whether the answer may keep SettledField

	// jams is whether a client that doesn't read answers to other requests can hold up an
	// informational one (1xx) to this, as over HTTP/2. Those are left out: others may be
	// waiting for the write.
	jams bool

	holdback

	// The lock of the holdback protects these.
	limit   int64 // of the content that is buffered
	done    bool  // whether the backend says that it is done with the write
	settled bool  // whether its fate was reported
	passed  bool  // whether the client has seen the beginning of the answer
	gone    bool  // whether the client takes no more of it
	streams bool  // whether the answer must be forwarded piece by piece
	length  int64 // of the content; below zero if it isn't announced

	relay *relay      // passes the answer on, unless it is nil
	seen  http.Header // what the client has seen, if there is a relay

	received int64 // bytes of content
}

func newAnswerWriter(w http.ResponseWriter, writing Writing, a *attempts, cancel func()) *answerWriter {
	return &answerWriter{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		writing:               writing,
		attempts:              a,
		holdback:              holdback{client: w, cancel: cancel},
	}
}

// settle reports the fate of the write, unless that has happened. whole means that the
// complete answer is buffered.
func (w *answerWriter) settle(whole bool, fate Fate) {
	if w.settled {
		return
	}
	w.settled = true
	w.unhold() // should Settle panic, nothing must be sent
	answer := Answer{Status: w.status, Header: w.seen, Passed: w.passed, Complete: whole}
	if w.relay == nil { // it may be writing now, and then a writer may change its header
		answer.Header = w.client.Header()
	}
	if whole {
		answer.Content = w.buffered.bytes()
	}
	answer.Redirected = fate == Applied && w.attempts.onlyRedirected(w.status, answer.Header)
	if w.writing.Settle(answer, fate) || w.passed {
		w.mode = passing
	} else {
		w.mode = discarding
	}
}

// pass begins to pass the answer on, and sends what there is of it.
func (w *answerWriter) pass() error {
	w.unhold() // should Pass panic, nothing must be sent
	w.writing.Pass(Answer{Status: w.status, Header: w.client.Header()})
	w.tellSettled()
	w.mode, w.passed = passing, true
	if w.limit < 0 || w.streams || w.status == http.StatusSwitchingProtocols {
		return w.send()
	}
	w.seen = w.client.Header().Clone()
	w.client.WriteHeader(w.status)
	w.relay = newRelay(w.client, w.limit, &w.buffered)
	return nil
}

// losePatience passes the answer on when the content takes too long. It runs on the timer's
// goroutine.
func (w *answerWriter) losePatience() {
	w.sendErr = w.pass()
	if w.relay != nil {
		w.relay.flush()
		return
	}
	w.flush()
}

// notSent settles a write that was lost before anything was sent.
func (w *answerWriter) notSent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takeHeader()
	w.settle(false, Refused)
}

// takeHeader makes the client's header the same as the handler's, except for what the
// backend says to Forward. It returns that.
func (w *answerWriter) takeHeader() (done bool) {
	w.commitHeader()
	header := w.client.Header()
	defer removeSettled(header)
	return w.attempts.proxy.trusted && isSettled(header)
}

// tellSettled puts SettledField back on an answer that goes to a handler, if the answer
// settles the whole write: an earlier attempt may still be under way.
func (w *answerWriter) tellSettled() {
	if w.keepSettled && w.done && w.attempts.fateOfAnswer(w.status, true) != Unanswered {
		w.client.Header()[SettledField] = []string{"?1"}
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
	done := w.takeHeader()
	if status < 200 && status != http.StatusSwitchingProtocols {
		if !w.jams {
			w.client.WriteHeader(status)
		}
		return
	}
	w.status, w.done = status, done
	header := w.client.Header()
	w.streams, w.length = mustStream(header), -1
	if length, announced := ContentLength(header); announced {
		w.length = length
	}
	limit, patience := w.writing.BufferLimit(status, header)
	w.limit = limit
	if limit >= 0 && status >= 200 && !w.streams && !endsInTrailers(header) {
		w.hold(patience, w)
		return
	}
	_ = w.pass() // nothing is buffered yet, so no write can fail
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.received += int64(len(p))
	mode, err := w.buffer(p)
	switch {
	case err != nil:
		return 0, err
	case mode == passing && w.relay != nil:
		w.relay.write(p)
		return len(p), nil
	case mode == passing && !w.gone:
		n, err := w.client.Write(p)
		if err == nil || w.streams {
			return n, err
		}
		w.gone = true // read on: the write isn't over before its answer is complete
		return len(p), nil
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
		return passing, w.pass()
	}
}

func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError flushes what was sent. A buffered answer stays buffered, because the proxy
// also flushes answers that are no streams.
func (w *answerWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.current() != passing, w.gone:
		return nil
	case w.relay != nil:
		w.relay.flush()
		return nil
	}
	return http.NewResponseController(w.client).Flush()
}

// finish settles the write when the answer is complete, and sends what is buffered.
func (w *answerWriter) finish() error {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	fate := w.attempts.fateOfAnswer(w.status, w.done)
	if w.relay != nil {
		w.copyTrailers(w.seen)
		removeSettled(w.seen)
		w.settle(false, fate) // whatever the client has taken
		w.relay.close()
	}
	if w.mode == buffering || w.mode == passing {
		w.commitTrailers()
		removeSettled(w.client.Header())
	}
	if w.mode != buffering {
		w.settle(false, fate)
		return w.sendErr
	}
	if w.settle(true, fate); w.mode != passing {
		return nil
	}
	w.tellSettled()
	return w.send()
}

// complete reports whether the whole answer is there, as far as the header section says.
func (w *answerWriter) complete() bool {
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return true
	}
	return w.length >= 0 && w.received >= w.length
}

// abandon settles the write when next has returned err or panicked, before the answer was
// complete. A nil error stands for a panic.
func (w *answerWriter) abandon(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.takeHeader()
		w.settle(false, w.attempts.fateOfError(err))
		return
	}
	fate := w.attempts.fateOfAnswer(w.status, w.done)
	if fate == Applied && !w.complete() {
		fate = Unanswered // the backend may still be working
	}
	w.settle(false, fate)
}
