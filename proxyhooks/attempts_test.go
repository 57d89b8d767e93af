package proxyhooks

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// imitation does what Caddy's proxy and net/http do with a write, as far as attempts can
// see. Each word of the text is one attempt, and each letter an event:
//
//	b  net/http begins, or begins again on a different connection
//	k  it sends a field Idempotency-Key
//	q  it sends a GET that asks about the write, as forward_auth does
//	s  it sends the write
//	g  it sends a request without a length, such as a GET or DELETE
//	i  the first byte of an interim answer comes
//	a  the first byte of the answer comes
//	f  in place of b: the proxy speaks FastCGI
//
// A number is the status that the proxy publishes, and "!" stands for a backend that says
// that it is done.
func imitation(text string) func(r *http.Request) {
	return func(r *http.Request) {
		for i, word := range strings.Fields(text) {
			imitateAttempt(r, i, word)
		}
	}
}

func imitateAttempt(r *http.Request, i int, word string) {
	repl := replacer(r)
	repl.Set(upstreamAddress, fmt.Sprint("backend-", i))
	trace := httptrace.ContextClientTrace(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{}))
	events := strings.TrimRight(word, "0123456789!")
	for _, event := range events {
		switch event {
		case 'b':
			trace.GetConn("legacy.example:80")
		case 'k':
			trace.WroteHeaderField("idempotency-key", []string{"x"})
		case 'q':
			trace.WroteHeaderField("X-Forwarded-Method", []string{r.Method})
			trace.WroteHeaders()
		case 'g':
			trace.WroteHeaders()
		case 's':
			trace.WroteHeaderField("Content-Length", []string{"7"})
			trace.WroteHeaders()
		case 'i', 'a':
			trace.GotFirstResponseByte()
		}
	}
	rest, done := strings.CutSuffix(word[len(events):], "!")
	repl.Delete(proxySettled)
	if done {
		repl.Set(proxySettled, "?1")
	}
	if status, err := strconv.Atoi(rest); err == nil {
		repl.Set(proxyStatus, status)
	}
}

// attempted forwards a write through the imitation of a proxy, and returns its fate. A
// status of 0 stands for `error 503`, -500 for `error 500`, and -1 for a backend that can't be
// dialed.
func attempted(t *testing.T, r *http.Request, do func(r *http.Request), status int) Fate {
	t.Helper()
	rec := newRecorder()
	_ = forward(rec, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		do(r)
		switch status {
		case -1:
			return caddyhttp.Error(502, &net.OpError{Op: "dial", Err: errLegacy})
		case 0:
			return caddyhttp.Error(503, errLegacy)
		case -500:
			return caddyhttp.Error(500, errLegacy)
		}
		w.WriteHeader(status)
		return nil
	}))
	if sent := fmt.Sprint("header ", status); status > 0 && !slices.Contains(rec.events, sent) {
		t.Errorf("got %q, want %q", rec.events, sent)
	}
	return rec.fate(t)
}

// TestFateOfAttempts: the fate of a write is the worst that follows from any attempt at it,
// and from the answer that the client gets.
func TestFateOfAttempts(t *testing.T) {
	for _, test := range []struct {
		attempts string
		status   int
		fate     Fate
	}{
		// One attempt.
		{"bsa204", 204, Applied},
		{"bsa503", 503, Unanswered},
		{"bsa409", 409, Refused},
		{"bsi204", 204, Applied},
		{"bsi409", 409, Refused},
		{"bsa", 204, Applied}, // of a proxy that publishes nothing
		{"bsa", 409, Refused},
		{"bs", 409, Unanswered},
		{"b", 0, Applied},
		{"b", -1, Refused},
		{"bsa204", 0, Applied},
		{"bsa204", -1, Applied}, // something else couldn't be dialed
		{"bsa503", -1, Unanswered},
		{"bsa", -1, Unanswered},
		{"bsa", 0, Unanswered},
		{"bsa503", 0, Unanswered},
		{"bsa503!", 0, Applied},
		{"bsa500", -500, Applied},
		{"bsa204", -500, Unanswered},

		// The client sees something else than the backend said.
		{"bsa500", 404, Applied},
		{"bsa503", 404, Unanswered},
		{"bsa202", 200, Unanswered},
		{"bsa204", 404, Applied},
		{"bsa404", 200, Applied},
		{"bsa404", 410, Refused},
		{"bsa404", 503, Unanswered},

		// The backend is done.
		{"bsa503!", 503, Applied},
		{"bsa503!", 404, Applied},
		{"bsa202!", 200, Applied},
		{"bsa409!", 409, Refused},
		{"bsa204!", 503, Unanswered}, // somebody else says that
		{"bsa503! bsa404", 404, Applied},
		{"bsa503 bsa404!", 404, Unanswered},

		// Several attempts.
		{"bsa404 bsa204", 204, Applied},
		{"bsa404 bsa409", 409, Applied},
		{"bsa500 bsa409", 409, Applied},
		{"bsa503 bsa409", 409, Unanswered},
		{"bsa bsa409", 409, Unanswered}, // nobody knows what the first answer was
		{"b bsa204", 204, Applied},
		{"b bsa409", 409, Refused},
		{"bs bsa204", 204, Unanswered},
		{"bs bsa409", 409, Unanswered},
		{"bs bsa bsa204", 204, Unanswered},
		{"bsa404 bs bsa204", 204, Unanswered},
		{"bsi bsa204", 204, Unanswered},
		{"bsi bsa409", 409, Unanswered},
		{"bs b", 503, Unanswered},
		{"bs b", -1, Unanswered},
		{"bsa404 b", -1, Refused},
		{"bsa500 b", -1, Applied},
		{"bsa503 b", -1, Unanswered},
		{"bsa409 bs", 0, Unanswered},
		{"b b", -1, Refused},

		// Net/http has sent it again, because nothing was sent before.
		{"bsbsa204", 204, Applied},
		{"bsbsa409", 409, Refused},
		{"bsbsbsa409", 409, Refused},
		{"bsbsa503", 503, Unanswered},
		{"bsbs", 0, Unanswered},
		{"bsb", -1, Refused},
		// Or it may have been sent before: it is taken for idempotent.
		{"bksbksa204", 204, Unanswered},
		{"bksbksa409", 409, Unanswered},
		{"bksb", -1, Unanswered},
		{"bksa409", 409, Refused},
		{"bgbga204", 204, Unanswered}, // a proxy has made a GET of the PUT
		{"bgb", -1, Unanswered},
		{"bga409", 409, Refused},

		// Somebody was asked about the write first.
		{"bqa200 bsa204", 204, Applied},
		{"bqa200 bsa409", 409, Refused},
		{"bqa200 bsa503", 503, Unanswered},
		{"bqa200 bs", 0, Unanswered},
		{"bqa200 b", -1, Refused},
		{"bqa200 b", 0, Applied},
		{"bqa401", 401, Refused},
		{"bqa503", 503, Refused},
		{"bqa202", 202, Unanswered}, // a handler that can't be seen has answered
		{"bqa200", 503, Unanswered},
		{"bqa200", 204, Applied},
		{"bqa401", 302, Applied},
		{"bq", 0, Refused},
		{"bqbq", 0, Refused},
		{"bqa200", 0, Applied},
		{"b", -1, Refused},
		{"bsa200 bqa401", 401, Applied}, // the first has got the write

		// What isn't HTTP can't be followed.
		{"f204", 204, Applied},
		{"f404", 404, Applied},
		{"f503", 503, Unanswered},
		{"f503", 404, Unanswered},
		{"f503!", 404, Applied},
		{"f", -1, Refused},
		{"bqa200 f404", 404, Applied},
		{"bqa200 f503", 404, Unanswered},
		{"bqa200 f", 503, Unanswered},
		{"bs f404", 404, Unanswered},
	} {
		t.Run(fmt.Sprintf("%s %d", test.attempts, test.status), func(t *testing.T) {
			if got := attempted(t, newRequest("PUT", strings.NewReader("content")), imitation(test.attempts), test.status); got != test.fate {
				t.Errorf("got %d, want %d", got, test.fate)
			}
		})
	}
}

// TestFateOfRepetitions: net/http repeats what it doesn't take for idempotent only if nothing
// was sent.
func TestFateOfRepetitions(t *testing.T) {
	for _, test := range []struct {
		method, attempts string
		fate             Fate
	}{
		{"DELETE", "bgbga204", Applied},
		{"DELETE", "bkgbkga204", Unanswered},
		{"DELETE", "bqbqa204", Unanswered}, // it may be a GET
		{"MKCOL", "bgbga204", Applied},
		{"POST", "bsbsa204", Applied},
		{"GET", "bgbga204", Unanswered}, // it names the method of the write in a field
		{"OPTIONS", "bgbga204", Unanswered},
	} {
		if got := attempted(t, newRequest(test.method, nil), imitation(test.attempts), 204); got != test.fate {
			t.Errorf("%s %s: got %d, want %d", test.method, test.attempts, got, test.fate)
		}
	}
}

// TestFateOfQuestions: only a GET that certainly isn't the write is taken for a question.
func TestFateOfQuestions(t *testing.T) {
	const asked = "bqa503"
	field := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			trace := httptrace.ContextClientTrace(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{}))
			replacer(r).Set(upstreamAddress, "backend")
			trace.GetConn("legacy.example:80")
			trace.WroteHeaderField("X-Forwarded-Method", []string{r.Method})
			trace.WroteHeaderField(name, []string{value})
			trace.WroteHeaders()
			trace.GotFirstResponseByte()
			replacer(r).Set(proxyStatus, 503)
		}
	}
	for _, test := range []struct {
		name string
		r    *http.Request
		do   func(*http.Request)
		fate Fate
	}{
		{"a PUT is asked about", newRequest("PUT", nil), imitation(asked), Refused},
		{"a PATCH is asked about", newRequest("PATCH", nil), imitation(asked), Refused},
		{"a DELETE may look the same", newRequest("DELETE", nil), imitation(asked), Unanswered},
		{"HTTP/2 shows that it is a GET", newRequest("DELETE", nil), field(":method", "GET"), Refused},
		{"the client says so", newRequest("PUT", nil, "X-Forwarded-Method", "PUT"), imitation(asked), Unanswered},
		{"a GET may be the write", newRequest("GET", nil), imitation(asked), Unanswered},
		{"it names another method", newRequest("PUT", nil), field("X-HTTP-Method-Override", "PUT"), Unanswered},
		{"it names another method in a different spelling", newRequest("PUT", nil), field("X_HTTP_Method", "PUT"), Unanswered},
		{"its length is announced", newRequest("PUT", nil), field("Content-Length", "7"), Unanswered},
		{"it is chunked", newRequest("PUT", nil), field("Transfer-Encoding", "chunked"), Unanswered},
		{"HTTP/2 shows its method", newRequest("PUT", nil), field(":method", "PUT"), Unanswered},
		{"a proxy that isn't Caddy's", newRequest("PUT", nil), func(r *http.Request) {
			imitation(asked)(r)
			replacer(r).Delete(upstreamAddress)
		}, Refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := attempted(t, test.r, test.do, 503); got != test.fate {
				t.Errorf("got %d, want %d", got, test.fate)
			}
		})
	}
}

// TestFateOfForeignProxies: proxies that aren't Caddy's use the trace in ways of their own.
func TestFateOfForeignProxies(t *testing.T) {
	direct := func(statuses ...int) func(r *http.Request) {
		return func(r *http.Request) {
			for range statuses {
				outer := httptrace.ContextClientTrace(r.Context()) // by the transport
				outer.GetConn("legacy.example:80")
				inner := httptrace.ContextClientTrace(r.Context()) // by the request
				inner.WroteHeaderField("Content-Length", nil)
				inner.WroteHeaders()
				outer.GotFirstResponseByte()
			}
		}
	}
	once := func(r *http.Request) {
		trace := httptrace.ContextClientTrace(r.Context())
		for range 2 {
			trace.GetConn("legacy.example:80")
			trace.WroteHeaderField("Content-Length", nil)
			trace.WroteHeaders()
		}
		trace.GotFirstResponseByte()
	}
	for _, test := range []struct {
		name   string
		do     func(*http.Request)
		status int
		fate   Fate
	}{
		{"one attempt", direct(1), 204, Applied},
		{"one attempt, refused", direct(1), 409, Refused},
		{"two attempts", direct(1, 2), 204, Unanswered},
		{"two attempts, one trace", once, 204, Unanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := attempted(t, newRequest("PUT", nil), test.do, test.status); got != test.fate {
				t.Errorf("got %d, want %d", got, test.fate)
			}
		})
	}
}

// TestFateOfIntercepted: what the handler intercept hides counts, too.
func TestFateOfIntercepted(t *testing.T) {
	for _, test := range []struct {
		hidden, shown int
		settled       bool
		fate          Fate
	}{
		{500, 404, false, Applied},
		{503, 404, false, Unanswered},
		{503, 404, true, Applied},
		{404, 200, false, Applied},
		{404, 410, false, Refused},
	} {
		do := func(r *http.Request) {
			replacer(r).Set("http.intercept.status_code", test.hidden)
			if test.settled {
				replacer(r).Set("http.intercept.header.Preconditions-Settled", "?1")
			}
		}
		if got := attempted(t, newRequest("PUT", nil), do, test.shown); got != test.fate {
			t.Errorf("%d shown as %d, settled %t: got %d, want %d", test.hidden, test.shown, test.settled, got, test.fate)
		}
	}
}

// TestFateIgnoresProxiesInFront: what a proxy in front of the handler has published says
// nothing about the write. It is still there afterwards.
func TestFateIgnoresProxiesInFront(t *testing.T) {
	r := newRequest("PUT", nil)
	imitation("f503")(r)
	replacer(r).Set(proxyRetries, 3)
	if got := attempted(t, r, func(*http.Request) {}, 404); got != Refused {
		t.Errorf("got %d", got)
	}
	if got, _ := replacer(r).Get(proxyStatus); got != 503 {
		t.Errorf("the status is %v afterwards", got)
	}
	if got := attempted(t, r, imitation("bsa204"), 204); got != Applied {
		t.Errorf("got %d", got)
	}
	if got, _ := replacer(r).Get(proxyStatus); got != 204 {
		t.Errorf("the status is %v afterwards", got)
	}
}

// TestAttemptsKeepOtherTraces: whoever else traces the request still hears of everything.
func TestAttemptsKeepOtherTraces(t *testing.T) {
	heard := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { heard++ }})
	a, restore := newAttempts(newRequest("PUT", nil), nil, func() {})
	defer restore()
	traced := a.trace(ctx)
	httptrace.ContextClientTrace(traced).GotFirstResponseByte()
	httptrace.ContextClientTrace(httptrace.WithClientTrace(traced, &httptrace.ClientTrace{})).GotFirstResponseByte()
	if heard != 2 {
		t.Errorf("heard of %d answers", heard)
	}
	under, cancel := context.WithCancel(traced)
	cancel()
	if under.Err() == nil {
		t.Error("not cancelled")
	}
}

// TestSettledField: with a field of its own, a backend says that it is done. The client
// never gets that field.
func TestSettledField(t *testing.T) {
	for _, test := range []struct {
		status int
		lines  []string
		fate   Fate
	}{
		{503, []string{"?1"}, Applied},
		{503, []string{" ?1 "}, Applied},
		{202, []string{"?1"}, Applied},
		{524, []string{"?1"}, Applied},
		{204, []string{"?1"}, Applied},
		{404, []string{"?1"}, Refused},
		{408, []string{"?1"}, Applied},
		{503, []string{"?0"}, Unanswered},
		{503, []string{"1"}, Unanswered},
		{503, []string{"true"}, Unanswered},
		{503, []string{"?1, ?1"}, Unanswered},
		{503, []string{"?1", "?1"}, Unanswered},
		{503, []string{"?1;a"}, Unanswered},
		{503, []string{""}, Unanswered},
		{503, nil, Unanswered},
	} {
		for _, limit := range []int64{1000, 0, -1} {
			rec := newRecorder()
			rec.bufferLimit = limit
			_ = forward(rec, newRequest("PUT", nil), handler(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()[SettledField] = test.lines
				w.WriteHeader(103)
				if _, ok := rec.header[SettledField]; ok {
					t.Error("an interim answer has the field")
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte("content"))
				w.Header()[http.TrailerPrefix+SettledField] = test.lines
			}))
			if got := rec.fate(t); got != test.fate {
				t.Errorf("%d %q: got %d, want %d", test.status, test.lines, got, test.fate)
			}
			for name := range rec.header {
				if strings.Contains(name, SettledField) {
					t.Errorf("%d %q: the client got %s", test.status, test.lines, name)
				}
			}
		}
	}
	t.Run("an error", func(t *testing.T) {
		rec := newRecorder()
		_ = forward(rec, newRequest("PUT", nil), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(SettledField, "?1")
			return caddyhttp.Error(502, errLegacy)
		}))
		if rec.fate(t) != Unanswered || len(rec.header) != 0 {
			t.Errorf("fate %d, the client got %v", rec.fates[0], rec.header)
		}
	})
	t.Run("repeated from the request", func(t *testing.T) {
		rec := newRecorder()
		_ = forward(rec, newRequest("PUT", nil, SettledField, "?1"), responding(503, "", SettledField, "?1"))
		if rec.fate(t) != Unanswered || len(rec.header) != 0 {
			t.Errorf("fate %d, the client got %v", rec.fates[0], rec.header)
		}
		got := attempted(t, newRequest("PUT", nil, SettledField, "?1"), imitation("bsa503!"), 503)
		if got != Unanswered {
			t.Errorf("fate %d", got)
		}
	})
}

// TestKeepSettled: a handler further out also gets that field, unless an earlier attempt at
// the write may still be under way.
func TestKeepSettled(t *testing.T) {
	for _, test := range []struct {
		attempts string
		lines    []string
		kept     bool
	}{
		{"bsa503!", []string{"?1"}, true},
		{"bsa503", []string{"?0"}, false},
		{"bsa503", nil, false},
		{"bs bsa503!", []string{"?1"}, false},
	} {
		for _, limit := range []int64{1000, 0, -1} {
			rec := newRecorder()
			rec.bufferLimit = limit
			next := handler(func(w http.ResponseWriter, r *http.Request) {
				imitation(test.attempts)(r)
				w.Header()[SettledField] = test.lines
				w.WriteHeader(503)
				_, _ = w.Write([]byte("content"))
			})
			kept := false
			seen := &seenHeader{rec, func(h http.Header) { kept = h[SettledField] != nil }}
			if err := Forward(t.Context(), next, seen, newRequest("PUT", nil), Forwarding{KeepSettled: true}, rec); err != nil {
				t.Fatal(err)
			}
			if kept != test.kept {
				t.Errorf("%s %q, limit %d: kept: %t", test.attempts, test.lines, limit, kept)
			}
		}
	}
}

// seenHeader is a response writer that shows the header section as it is sent.
type seenHeader struct {
	http.ResponseWriter
	show func(http.Header)
}

func (s *seenHeader) WriteHeader(status int) {
	s.show(s.Header())
	s.ResponseWriter.WriteHeader(status)
}
