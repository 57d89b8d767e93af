package proxyhooks

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// attempts counts how often a write is sent. The proxy may try a second backend, and
// net/http a second connection. Then one backend may have applied what another refused,
// or may still apply what another has answered.
type attempts struct {
	request               *http.Request
	begun, sent, answered atomic.Int32 // by net/http
	interim               atomic.Bool  // whether any answer was a 1xx

	connected func() // called before anything is sent on a connection
}

// trace returns a context that makes net/http report its attempts here.
func (a *attempts) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              func(string) { a.begun.Add(1) },
		GotConn:              func(httptrace.GotConnInfo) { a.connected() },
		WroteHeaders:         func() { a.sent.Add(1) },
		GotFirstResponseByte: func() { a.answered.Add(1) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			a.interim.Store(true)
			return nil
		},
	})
}

// maybeResent reports whether a write that was answered may have been sent more than
// once. The proxy publishes its own count only after the answer, so a transport that
// can't be traced (FastCGI) leaves the question open.
func (a *attempts) maybeResent() bool {
	untraced := a.begun.Load() == 0 && a.placeholder("http.reverse_proxy.upstream.address") != nil
	return untraced || a.sent.Load() > 1 || a.retries() > 0
}

// maybeUnanswered reports whether an attempt that was sent may have got no answer. It
// may then still be applied, whatever became of the others. If one of several attempts
// got a 1xx, that attempt may have got nothing else.
func (a *attempts) maybeUnanswered() bool {
	sent := a.sent.Load()
	return sent > a.answered.Load() || sent > 1 && a.interim.Load()
}

// maybeSentBefore reports whether something may have been sent before the last attempt,
// which failed to connect.
func (a *attempts) maybeSentBefore() bool {
	if a.begun.Load() > 0 {
		return a.sent.Load() > 0
	}
	return a.retries() > 0
}

// retries returns how often the proxy tried again. It is known once the proxy is done.
func (a *attempts) retries() int {
	n, _ := a.placeholder("http.reverse_proxy.retries").(int)
	return n
}

func (a *attempts) placeholder(name string) any {
	repl, ok := a.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil
	}
	value, _ := repl.Get(name)
	return value
}
