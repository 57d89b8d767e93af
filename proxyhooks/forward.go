package proxyhooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Fate is what is known of a write that was forwarded.
type Fate uint8

const (
	// Unanswered means that nobody knows: the backend gave no answer, or none to
	// one of several attempts, and may still apply the write.
	Unanswered Fate = iota
	// Applied means that the backend answered, and that the resource may have
	// changed.
	Applied
	// Refused means that the backend answered and changed nothing, or that
	// nothing was sent to it.
	Refused
)

// Answer is the backend's answer to a write.
type Answer struct {
	Status int         // zero if there is none
	Header http.Header // the client's, which may be edited
	// Whole tells that all of it has come, with the Content, so that the
	// backend is free to be asked.
	Whole   bool
	Content []byte
}

// Writing receives what becomes of a write that is forwarded.
type Writing interface {
	// Hold is called once, if there is an answer. It returns how many bytes of
	// its content may be held back until the answer is whole: negative if it
	// isn't to be held back at all.
	Hold(status int, header http.Header) (limit int64)

	// Settle is called exactly once, before the client can see the answer. It
	// reports whether the answer is to be sent; if not, it is dropped, and the
	// caller of Forward answers instead.
	Settle(a Answer, f Fate) (send bool)
}

// Forward runs next on a write. A client that goes away doesn't cut the
// backend short once the content has been forwarded: the write goes on for at
// most linger, so that its fate becomes known. The end of ctx, which is not
// derived from the request's, ends the write at once.
func Forward(ctx context.Context, next caddyhttp.Handler, w http.ResponseWriter, r *http.Request, linger time.Duration, writing Writing) (err error) {
	client := r.Context()
	forwarded, cancel := context.WithCancelCause(context.WithoutCancel(client))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()

	body := trackBody(r)
	defer context.AfterFunc(client, func() {
		if body.complete() {
			select {
			case <-time.After(linger):
			case <-forwarded.Done():
			}
		}
		cancel(context.Cause(client))
	})()

	sent := &attempts{request: r}
	a := &answerWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		writing:               writing,
		sent:                  sent,
	}
	defer func() {
		p := recover()
		switch {
		case a.holding:
			a.settle(false)
		case p != nil || err != nil:
			a.fate = fateOfError(err, sent.earlier())
			a.settle(false)
		}
		switch {
		case a.dropped && (p == nil || p == http.ErrAbortHandler):
			err = nil
		case p != nil:
			panic(p)
		}
	}()
	if err := next.ServeHTTP(a, r.WithContext(sent.trace(forwarded))); err != nil {
		return err
	}
	a.WriteHeader(http.StatusOK)
	if a.holding {
		return a.send(true)
	}
	return nil
}

// answerWriter has the write settled before the final status goes out. It may
// hold the answer back until all of it is there.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	writing Writing
	sent    *attempts

	status  int  // of the answer, once it has begun
	fate    Fate // as far as is known
	limit   int64
	holding bool
	held    bytes.Buffer
	settled bool
	dropped bool
}

func (a *answerWriter) settle(whole bool) {
	a.holding = false
	if a.settled {
		return
	}
	a.settled = true
	if a.sent.open() {
		a.fate = Unanswered
	}
	answer := Answer{Status: a.status, Header: a.Header(), Whole: whole}
	if whole {
		answer.Content = a.held.Bytes()
	}
	a.dropped = !a.writing.Settle(answer, a.fate)
}

// send has the write settled, and sends what is there of the answer.
func (a *answerWriter) send(whole bool) error {
	a.settle(whole)
	if a.dropped {
		return nil
	}
	a.ResponseWriterWrapper.WriteHeader(a.status)
	_, err := a.held.WriteTo(a.ResponseWriterWrapper)
	return err
}

func (a *answerWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		a.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	if a.status != 0 {
		return
	}
	a.status, a.fate = status, fateOf(status, a.sent.again())
	if a.limit = a.writing.Hold(status, a.Header()); a.limit >= 0 && status >= 200 && !streams(a.Header()) {
		a.holding = true
		return
	}
	_ = a.send(false) // there is nothing to write yet
}

func (a *answerWriter) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.holding {
		if int64(a.held.Len()+len(p)) <= a.limit {
			return a.held.Write(p)
		}
		if err := a.send(false); err != nil {
			return 0, err
		}
	}
	if a.dropped {
		return len(p), nil
	}
	return a.ResponseWriterWrapper.Write(p)
}

func (a *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	a.WriteHeader(http.StatusOK)
	switch {
	case a.holding:
		return io.Copy(struct{ io.Writer }{a}, r)
	case a.dropped:
		return io.Copy(io.Discard, r)
	default:
		return a.ResponseWriterWrapper.ReadFrom(r)
	}
}

// FlushError flushes what may be sent. The proxy also flushes answers that are
// no streams.
func (a *answerWriter) FlushError() error {
	a.WriteHeader(http.StatusOK)
	if a.holding || a.dropped {
		return nil
	}
	return http.NewResponseController(a.ResponseWriterWrapper).Flush()
}

// fateOf tells what the status of an answer says about the write.
func fateOf(status int, retried bool) Fate {
	switch {
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout,
		status == statusClientClosedRequest:
		return Unanswered // a gateway says so, and speaks for itself only
	case status < 400, status >= 500, status == http.StatusRequestTimeout, retried:
		return Applied
	default:
		return Refused
	}
}

// fateOfError tells what an error of the chain, given before any answer, says
// about the write, of which something may have been sent before. Nil stands for
// a panic.
func fateOfError(err error, sent bool) Fate {
	if notDialed(err) && !sent {
		return Refused
	}
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return Unanswered
	}
	switch he.StatusCode {
	case 0, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
		statusClientClosedRequest, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		// A content that broke off halfway, or a proxy that lost its backend.
		return Unanswered
	default:
		return Applied // a handler's own word; the backend may or may not have heard
	}
}

// notDialed reports whether the proxy could not even connect to its backend.
func notDialed(err error) bool {
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// statusClientClosedRequest is what Caddy's proxy writes when the request's
// context was cancelled before the backend answered.
const statusClientClosedRequest = 499
