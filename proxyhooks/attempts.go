package proxyhooks

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// attempts follows what is sent of a write. One proxy may try several backends, and
// several proxies may run in a row. Then one backend may have applied what another
// refused, or may still apply what another has answered.
type attempts struct {
	proxy     proxyState
	original  *http.Request // as Forward got it
	forwarded *http.Request // as next got it
	open      Statuses      // they say nothing about the write
	connected func()        // called before anything is sent on a connection

	mu   sync.Mutex // protects everything below
	list []*attempt
}

// attempt is one round trip of a transport. Net/http may send the request more than once
// in it, each time on a different connection.
type attempt struct {
	upstream any // what the proxy says about where it goes; nil if it isn't Caddy's
	trace    *httptrace.ClientTrace

	sent, answered int
	connecting     bool      // again, after it was sent
	strange        bool      // its events don't come from one trace
	unsent         bool      // net/http has given up before anything was sent
	answer         published // if another attempt followed

	// From the header section that was sent:
	method     string // HTTP/2 shows it
	framed     bool   // it has a length or a transfer coding
	forwarding bool   // it names the method of a different request
	overriding bool   // it overrides its own method
	idempotent bool   // net/http sends it again even if it may have been applied
}

// newAttempts returns the attempts of a write, before there are any. Whoever calls it calls
// restore when the write is over.
func newAttempts(r *http.Request, open Statuses, connected func()) (a *attempts, restore func()) {
	a = &attempts{original: r, forwarded: r, open: open, connected: connected}
	a.proxy, restore = proxyStateOf(r)
	return a, restore
}

// trace returns a context that makes net/http report its attempts here.
func (a *attempts) trace(ctx context.Context) context.Context {
	marker := new(httptrace.ClientTrace)
	return tracedContext{httptrace.WithClientTrace(ctx, marker), marker, func() *httptrace.ClientTrace {
		trace := a.newTrace()
		httptrace.WithClientTrace(ctx, trace) // adds the hooks of ctx to it
		return trace
	}}
}

// tracedContext gives everyone who asks for its trace a new one. The proxy asks once for
// each attempt, so whatever is reported to one trace is about one attempt.
type tracedContext struct {
	context.Context //nolint:containedctx // it is one
	marker          *httptrace.ClientTrace
	newTrace        func() *httptrace.ClientTrace
}

func (c tracedContext) Value(key any) any {
	value := c.Context.Value(key)
	if value == any(c.marker) {
		return c.newTrace()
	}
	return value
}

func (a *attempts) newTrace() *httptrace.ClientTrace {
	trace := new(httptrace.ClientTrace)
	on := func(f func(*attempt)) {
		a.mu.Lock()
		defer a.mu.Unlock()
		f(a.of(trace))
	}
	*trace = httptrace.ClientTrace{
		GetConn:              func(string) { a.begin(trace) },
		GotConn:              func(httptrace.GotConnInfo) { a.connected() },
		WroteHeaderField:     func(name string, lines []string) { on(func(at *attempt) { at.note(name, lines) }) },
		WroteHeaders:         func() { on(func(at *attempt) { at.sent, at.connecting = at.sent+1, false }) },
		GotFirstResponseByte: func() { on(func(at *attempt) { at.answered++ }) },
	}
	return trace
}

// begin begins an attempt, unless net/http goes on with one on a different connection. It
// runs on the goroutine of the proxy.
func (a *attempts) begin(trace *httptrace.ClientTrace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.list {
		if at.trace == trace {
			at.connecting = true
			return
		}
	}
	if n := len(a.list); n > 0 {
		a.list[n-1].answer = a.proxy.published()
	}
	a.proxy.forget()
	a.list = append(a.list, &attempt{trace: trace, upstream: a.proxy.upstream()})
}

// of returns the attempt that an event of a trace is about: the latest if that trace
// hasn't begun one.
func (a *attempts) of(trace *httptrace.ClientTrace) *attempt {
	for _, at := range slices.Backward(a.list) {
		if at.trace == trace {
			return at
		}
	}
	if len(a.list) == 0 {
		a.list = append(a.list, new(attempt))
	}
	last := a.list[len(a.list)-1]
	last.strange = true
	return last
}

func (at *attempt) note(name string, lines []string) {
	switch name = http.CanonicalHeaderKey(name); name {
	case ":method":
		at.method = strings.Join(lines, "")
	case "Content-Length", "Transfer-Encoding":
		at.framed = true
	case "X-Forwarded-Method":
		at.forwarding = true
	case "Idempotency-Key", "X-Idempotency-Key":
		at.idempotent = true
	default:
		at.overriding = at.overriding || IsMethodOverride(name)
	}
}

// certainlyAsks reports whether a GET was sent in place of the write, to ask about it, as
// forward_auth does. In HTTP/1.1 the trace doesn't show the method, but every POST, PUT and
// PATCH that net/http sends is framed.
func (a *attempts) certainlyAsks(at *attempt) bool {
	if at.upstream == nil || at.strange || at.sent == 0 || !at.forwarding || at.overriding ||
		a.original.Header["X-Forwarded-Method"] != nil {
		return false
	}
	if at.method != "" {
		return isReplayable(at.method) && !isReplayable(a.forwarded.Method)
	}
	return !at.framed && isFramed(a.original.Method) && isFramed(a.forwarded.Method)
}

// certainlyRepeats reports whether net/http sends the request of an attempt again only if
// nothing of it was sent before, as it does unless it takes the request for idempotent.
func (a *attempts) certainlyRepeats(at *attempt) bool {
	if at.upstream == nil || at.strange || at.idempotent || isReplayable(a.forwarded.Method) || at.method != "" && isReplayable(at.method) {
		return false
	}
	return at.framed || at.method != "" || !isFramed(a.forwarded.Method) && !at.forwarding // else it is a GET
}

// isFramed reports whether every request with this method has a length or a transfer coding.
func isFramed(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// isReplayable reports whether net/http takes a method for idempotent.
func isReplayable(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// reportUnsent notes that net/http wants to send the content again. It reports whether
// that means that nothing was sent so far. If it gets no content, it gives up.
func (a *attempts) reportUnsent(givesUp bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == 0 {
		return false
	}
	last := a.list[len(a.list)-1]
	if last.answered > 0 || !a.certainlyRepeats(last) && (last.sent > 0 || last.upstream == nil || last.strange) {
		return false
	}
	last.unsent = givesUp
	return true
}

// fateOfAnswer returns what is known about the write after an answer. Settled means that
// the backend itself says with it that it is done.
func (a *attempts) fateOfAnswer(status int, settled bool) Fate {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.proxy.published()
	if a.onlyAsked() && last.status == status && status/100 != 2 {
		return Refused // the answer to the question is passed on
	}
	settled = settled || last.settled && last.status == status
	return a.fateIfSent(fateOf(status, settled, a.open), a.fateOfAttempts(last, settled, true))
}

// fateOfError returns what is known about the write if next returned an error in place of
// an answer. A nil error stands for a panic.
func (a *attempts) fateOfError(err error) Fate {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.proxy.published()
	sent := a.fateOfAttempts(last, false, false)
	unsent := notDialed(err) || len(a.list) > 0 && a.list[len(a.list)-1].unsent
	switch {
	case unsent && (a.untraced() || len(a.list) == 0) && a.proxy.retries() > 0:
		return Unanswered
	case unsent:
		return sent
	case a.onlyAsked() && a.list[len(a.list)-1].answered == 0 && err != nil:
		return Refused // the question failed, so the write was never sent
	}
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && last.status != 0 && last.status == handlerErr.StatusCode {
		return a.fateIfSent(sent, sent) // a retry was wanted, but not granted
	}
	return a.fateIfSent(fateOfError(err), sent)
}

// fateIfSent returns the worst of what follows from the answer to the client and from the
// attempts that are known. There may have been more.
func (a *attempts) fateIfSent(shown, sent Fate) Fate {
	if a.untraced() || len(a.list) == 0 && a.proxy.retries() > 0 {
		sent = worse(sent, Applied)
	}
	return worse(shown, sent)
}

// onlyAsked reports whether nothing but questions about the write was sent.
func (a *attempts) onlyAsked() bool {
	return len(a.list) > 0 && !a.untraced() &&
		!slices.ContainsFunc(a.list, func(at *attempt) bool { return !a.certainlyAsks(at) })
}

// onlyRedirected reports whether the only backend that got the write has redirected the client
// as the answer with this status and header does.
func (a *attempts) onlyRedirected(status int, h http.Header) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
	default:
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) != 1 || a.untraced() || a.proxy.intercepted().status != 0 || a.proxy.retries() > 0 {
		return false
	}
	only, location := a.list[0], h["Location"]
	return only.sent == 1 && !only.strange && a.proxy.published().status == status &&
		len(location) == 1 && a.proxy.value(proxyLocation) == location[0]
}

// untraced reports whether a proxy sent the request last that doesn't speak HTTP, so its
// attempts aren't known (FastCGI).
func (a *attempts) untraced() bool {
	upstream := a.proxy.upstream()
	if upstream == nil {
		return false
	}
	return len(a.list) == 0 || a.list[len(a.list)-1].upstream != upstream
}

// fateOfAttempts returns the worst fate of all attempts. Last is what the proxy says about
// the answer to the last of them. If it says nothing, that is what the client gets, if it
// gets one. Settled means that the backend is done according to that.
func (a *attempts) fateOfAttempts(last published, settled, answered bool) Fate {
	fate, untraced, sent := Refused, a.untraced(), 0
	for i, at := range a.list {
		latest := i == len(a.list)-1 && !untraced
		answer := at.answer
		if latest {
			answer = last
			answer.settled = answer.settled || settled
		}
		repeats := a.certainlyRepeats(at)
		switch {
		case a.certainlyAsks(at), at.sent == 0, at.unsent, at.connecting && repeats:
			continue // the write wasn't sent
		case at.answered == 0, at.sent > 1 && !repeats, answer.status == 0 && !(latest && answered):
			return Unanswered
		}
		fate = worse(fate, answer.fate(false, a.open))
		if sent++; sent > 1 {
			fate = worse(fate, Applied) // one backend may refuse what another has applied
		}
	}
	if untraced {
		fate = worse(fate, last.fate(settled, a.open))
	}
	return worse(fate, a.proxy.intercepted().fate(settled, a.open))
}

// fate returns what an answer says about the write, if there is one.
func (p published) fate(settled bool, open Statuses) Fate {
	if p.status == 0 {
		return Refused
	}
	return fateOf(p.status, p.settled || settled, open)
}
