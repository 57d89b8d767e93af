package proxyhooks

import (
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
	// Unanswered means that nobody knows: the backend gave no answer, and may
	// still apply the write.
	Unanswered Fate = iota
	// Applied means that the backend answered, and that the resource may have
	// changed.
	Applied
	// Refused means that the backend answered and changed nothing, or that
	// nothing was sent to it.
	Refused
)

// Writing receives what becomes of a write that is forwarded.
type Writing interface {
	// Settle is called exactly once, before the client can see the answer. It
	// reports whether the answer is to be sent; if not, it is dropped, and the
	// caller of Forward answers instead. Status is zero where there is none.
	Settle(status int, header http.Header, f Fate) (send bool)
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
		if p != nil || err != nil {
			a.settle(0, fateOfError(err, sent.earlier()))
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
	return nil
}

// answerWriter has the write settled before the final status goes out.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	writing Writing
	sent    *attempts
	settled bool
	dropped bool
}

func (a *answerWriter) settle(status int, f Fate) {
	if !a.settled {
		a.settled = true
		a.dropped = !a.writing.Settle(status, a.Header(), f)
	}
}

func (a *answerWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if a.settled {
			return
		}
		a.settle(status, fateOf(status, a.sent.again()))
		if a.dropped {
			return
		}
	}
	a.ResponseWriterWrapper.WriteHeader(status)
}

func (a *answerWriter) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.dropped {
		return len(p), nil
	}
	return a.ResponseWriterWrapper.Write(p)
}

func (a *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	a.WriteHeader(http.StatusOK)
	if a.dropped {
		return io.Copy(io.Discard, r)
	}
	return a.ResponseWriterWrapper.ReadFrom(r)
}

func (a *answerWriter) FlushError() error {
	a.WriteHeader(http.StatusOK)
	if a.dropped {
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
