package proxyhooks

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// attempts counts how often a write is sent: the proxy may try another backend,
// and net/http another connection. Then one backend may have applied what
// another refused, or may yet apply what another has answered.
type attempts struct {
	request               *http.Request
	begun, sent, answered atomic.Int32 // by net/http
	interim               atomic.Bool  // whether an answer was a 1xx
}

// trace returns a context of which the count is taken.
func (a *attempts) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              func(string) { a.begun.Add(1) },
		WroteHeaders:         func() { a.sent.Add(1) },
		GotFirstResponseByte: func() { a.answered.Add(1) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			a.interim.Store(true)
			return nil
		},
	})
}

// again reports whether the write, which was answered, may have been sent more
// than once. What the proxy itself tells comes only after the answer, so that a
// transport that can't be traced (FastCGI) leaves it open.
func (a *attempts) again() bool {
	untraced := a.begun.Load() == 0 && a.placeholder("http.reverse_proxy.upstream.address") != nil
	return untraced || a.sent.Load() > 1 || a.retries() > 0
}

// open reports whether an attempt that was sent may have got no answer, so that
// it may still land whatever became of the others. Of several, any may have got
// no more than the 1xx.
func (a *attempts) open() bool {
	sent := a.sent.Load()
	return sent > a.answered.Load() || sent > 1 && a.interim.Load()
}

// earlier reports whether something may have been sent before the last attempt,
// which failed to connect.
func (a *attempts) earlier() bool {
	if a.begun.Load() > 0 {
		return a.sent.Load() > 0
	}
	return a.retries() > 0
}

// retries is how often the proxy tried again, once it has ended.
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
