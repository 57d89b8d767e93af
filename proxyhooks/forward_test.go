package proxyhooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const linger = 30 * time.Second

var usual = Forwarding{Linger: linger, Unanswered: DefaultUnanswered()}

func forward(rec *recorder, r *http.Request, next caddyhttp.Handler) error {
	return Forward(context.Background(), next, rec, r, usual, rec)
}

// fate returns the fate of the write, and fails unless Settle was called exactly once.
func (rec *recorder) fate(t *testing.T) Fate {
	t.Helper()
	if len(rec.fates) != 1 {
		t.Fatalf("settled %d times: %q", len(rec.fates), rec.events)
	}
	return rec.fates[0]
}

// retrying returns a next handler that has tried again some times, without saying what it
// has sent.
func retrying(times int, next caddyhttp.Handler) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		defer replacer(r).Set("http.reverse_proxy.retries", times)
		return next.ServeHTTP(w, r)
	})
}

// TestFateOfStatus: the status of an answer decides the fate of the write (RFC 9110,
// section 15), which is settled before the client can see the answer.
func TestFateOfStatus(t *testing.T) {
	fates := map[int]Fate{
		101: Applied, 200: Applied, 201: Applied, 202: Unanswered, 203: Applied, 204: Applied, 206: Applied, 207: Applied,
		301: Applied, 302: Applied, 303: Applied, 304: Applied, 307: Refused, 308: Refused,
		400: Refused, 401: Refused, 403: Refused, 404: Refused, 405: Refused, 409: Refused, 412: Refused, 413: Refused,
		415: Refused, 422: Refused, 423: Refused, 424: Refused, 429: Refused,
		408: Applied, 425: Refused, 498: Refused, 499: Unanswered,
		500: Applied, 501: Applied, 502: Unanswered, 503: Unanswered, 504: Unanswered, 505: Applied, 507: Applied, 511: Applied,
		519: Applied, 520: Unanswered, 522: Unanswered, 524: Unanswered, 529: Unanswered, 530: Unanswered, 531: Applied,
		561: Applied, 597: Applied, 598: Unanswered, 599: Unanswered, 600: Unanswered, 999: Unanswered,
	}
	for status, want := range fates {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			rec := newRecorder()
			if err := forward(rec, newRequest("PUT", nil), responding(status, "content")); err != nil {
				t.Error(err)
			}
			if status == 101 { // what follows is no longer HTTP
				rec.expect(t, "pass 101", "header 101", "content", "settle 101")
			} else {
				rec.expect(t, fmt.Sprint("settle ", status), fmt.Sprint("header ", status), "content")
			}
			if got := rec.fate(t); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
		t.Run(fmt.Sprint(status, " after a retry"), func(t *testing.T) {
			if want == Refused {
				want = Applied // the first backend may have applied it
			}
			rec := newRecorder()
			r := newRequest("PUT", nil)
			if err := forward(rec, r, retrying(1, responding(status, "content"))); err != nil {
				t.Error(err)
			}
			if got := rec.fate(t); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

// TestForwardSettlesFirst: the write is settled before anything is sent, no matter how
// the handler answers.
func TestForwardSettlesFirst(t *testing.T) {
	for name, next := range map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"Write":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "content") },
		"ReadFrom": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(strings.NewReader("content"), 9))
		},
		"Flush": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"twice": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			w.WriteHeader(500)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			if err := forward(rec, newRequest("PUT", nil), handler(next)); err != nil {
				t.Error(err)
			}
			if rec.fate(t) != Applied || len(rec.events) < 2 || rec.events[0] != "settle 200" || rec.events[1] != "header 200" {
				t.Errorf("%q", rec.events)
			}

			rec = newRecorder()
			rec.drop = true
			if err := forward(rec, newRequest("PUT", nil), handler(next)); err != nil {
				t.Error(err)
			}
			rec.expect(t, "settle 200")
		})
	}
	t.Run("informational responses pass through (15.2)", func(t *testing.T) {
		rec := newRecorder()
		_ = forward(rec, newRequest("PUT", nil), handler(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(204)
		}))
		rec.expect(t, "header 103", "settle 204", "header 204")
	})
	t.Run("but not where other answers that the client doesn't read may hold them up", func(t *testing.T) {
		rec := newRecorder()
		r := newRequest("PUT", nil)
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		_ = forward(rec, r, handler(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(204)
		}))
		rec.expect(t, "settle 204", "header 204")
	})
}

// TestForwardBuffers: a write is settled when its answer is complete, whether it was
// buffered until then or passed on. An answer that breaks off is none.
func TestForwardBuffers(t *testing.T) {
	content := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "con")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, io.LimitReader(strings.NewReader("tent"), 9))
	}
	for _, tt := range []struct {
		name   string
		limit  int64
		next   http.HandlerFunc
		events []string
		whole  []string
		fate   Fate
	}{
		{"whole", 7, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(201)
			content(w)
		}, []string{"header 103", "settle 201", "header 201", "content"}, []string{"content"}, Applied},
		{"without content", 0, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
		}, []string{"settle 204", "header 204"}, []string{""}, Applied},
		{"too long", 6, func(w http.ResponseWriter, _ *http.Request) {
			content(w)
		}, []string{"pass 200", "header 200", "content", "content", "settle 200"}, nil, Applied},
		{"an event stream", 7, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			content(w)
		}, []string{"pass 200", "header 200", "content", "flush", "content", "settle 200"}, nil, Applied},
		{"broken off when it was passed on", 0, func(w http.ResponseWriter, _ *http.Request) {
			content(w)
			panic(http.ErrAbortHandler)
		}, []string{"pass 200", "header 200", "content", "flush", "content", "settle 200"}, nil, Unanswered},
		{"broken off behind its end", 7, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "7")
			content(w)
			panic(http.ErrAbortHandler)
		}, []string{"settle 200"}, nil, Applied},
		{"broken off before its end", 7, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "8")
			content(w)
			panic(http.ErrAbortHandler)
		}, []string{"settle 200"}, nil, Unanswered},
		{"a refusal that is broken off", 7, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(413)
			content(w)
			panic(http.ErrAbortHandler)
		}, []string{"settle 413"}, nil, Refused},
		{"broken off", 7, func(w http.ResponseWriter, _ *http.Request) {
			content(w)
			panic(http.ErrAbortHandler)
		}, []string{"settle 200"}, nil, Unanswered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder()
			rec.bufferLimit = tt.limit
			p := recovered(func() {
				if err := forward(rec, newRequest("PUT", nil), handler(tt.next)); err != nil {
					t.Error(err)
				}
			})
			if (p != nil) != strings.Contains(tt.name, "broken off") {
				t.Errorf("panic: %v", p)
			}
			rec.expect(t, tt.events...)
			if rec.fate(t) != tt.fate || !slices.Equal(rec.whole, tt.whole) {
				t.Errorf("fate %d, whole %q, want %q", rec.fates[0], rec.whole, tt.whole)
			}

			rec = newRecorder()
			rec.bufferLimit, rec.drop = tt.limit, true
			_ = recovered(func() { _ = forward(rec, newRequest("PUT", nil), handler(tt.next)) })
			for _, event := range rec.events {
				if rec.events[0] == "pass 200" {
					break // too late to drop it
				}
				if event == "content" || event == "header 200" || event == "header 201" {
					t.Errorf("a dropped answer was sent: %q", rec.events)
				}
			}
		})
	}
}

// TestFateOfError: an error of the next handler decides the fate of a write without an
// answer.
func TestFateOfError(t *testing.T) {
	dial := reverseproxy.DialError{}
	tests := []struct {
		name    string
		err     error
		fate    Fate
		retried Fate
	}{
		{"dial", dial, Refused, Unanswered},
		{"dial, as 502", caddyhttp.Error(502, dial), Refused, Unanswered},
		{"dial, by net", caddyhttp.Error(502, &net.OpError{Op: "dial", Err: errLegacy}), Refused, Unanswered},
		{"read, by net", caddyhttp.Error(502, &net.OpError{Op: "read", Err: errLegacy}), Unanswered, Unanswered},
		{"no status", errLegacy, Unanswered, Unanswered},
		{"status 0", caddyhttp.HandlerError{Err: errLegacy}, Unanswered, Unanswered},
		{"400", caddyhttp.Error(400, errLegacy), Unanswered, Unanswered},
		{"408", caddyhttp.Error(408, errLegacy), Unanswered, Unanswered},
		{"413", caddyhttp.Error(413, errLegacy), Unanswered, Unanswered},
		{"499", caddyhttp.Error(499, errLegacy), Unanswered, Unanswered},
		{"500", caddyhttp.Error(500, errLegacy), Unanswered, Unanswered},
		{"502", caddyhttp.Error(502, errLegacy), Unanswered, Unanswered},
		{"504", caddyhttp.Error(504, errLegacy), Unanswered, Unanswered},
		{"503", caddyhttp.Error(503, errLegacy), Applied, Applied},
		{"403", caddyhttp.Error(403, errLegacy), Applied, Applied},
	}
	for _, test := range tests {
		for retries, want := range []Fate{test.fate, test.retried} {
			t.Run(fmt.Sprintf("%s, %d retries", test.name, retries), func(t *testing.T) {
				r := newRequest("PUT", nil)
				rec := newRecorder()
				if err := forward(rec, r, retrying(retries, failing(test.err))); !errors.Is(err, test.err) {
					t.Errorf("got %v", err)
				}
				if got := rec.fate(t); got != want {
					t.Errorf("got %d, want %d", got, want)
				}
				rec.expect(t, "settle 0")

				rec = newRecorder()
				rec.drop = true
				if err := forward(rec, r, retrying(retries, failing(test.err))); err != nil {
					t.Errorf("a dropped answer returns %v", err)
				}
			})
		}
	}
	t.Run("after the answer", func(t *testing.T) {
		rec := newRecorder()
		if err := forward(rec, newRequest("PUT", nil), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(400)
			return errLegacy
		})); !errors.Is(err, errLegacy) {
			t.Error(err)
		}
		if rec.fate(t) != Refused {
			t.Error(rec.fates)
		}
	})
}

// TestForwardPanics: a panic is passed on after the write is settled.
func TestForwardPanics(t *testing.T) {
	for _, value := range []any{http.ErrAbortHandler, "bug"} {
		for _, status := range []int{0, 204, 400} {
			for _, dropped := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v after %d, dropped %t", value, status, dropped), func(t *testing.T) {
					rec := newRecorder()
					rec.drop = dropped
					p := recovered(func() {
						if err := forward(rec, newRequest("PUT", nil), handler(func(w http.ResponseWriter, _ *http.Request) {
							if status != 0 {
								w.WriteHeader(status)
							}
							panic(value)
						})); err != nil {
							t.Error(err)
						}
					})
					want := value
					if dropped && value == http.ErrAbortHandler {
						want = nil
					}
					if p != want {
						t.Errorf("panics with %v", p)
					}
					if got := rec.fate(t); got != map[int]Fate{0: Unanswered, 204: Applied, 400: Refused}[status] {
						t.Errorf("got %d", got)
					}
				})
			}
		}
	}
}

// TestForwardClientDisconnects: a client that disconnects doesn't cut off a backend
// that has the whole content.
func TestForwardClientDisconnects(t *testing.T) {
	for _, test := range []struct {
		name    string
		content string
		read    int64 // by the proxy, before the client disconnects
		ahead   bool
		takes   time.Duration // by the backend, after that
		want    time.Duration
		fate    Fate
	}{
		{"no content", "", 0, false, time.Second, time.Second, Applied},
		{"no content, backend is slow", "", 0, false, time.Hour, linger, Unanswered},
		{"content was read", "content", 100, false, time.Second, time.Second, Applied},
		{"content was read ahead", "content", 0, true, time.Second, time.Second, Applied},
		{"content was read, backend is slow", "content", 100, false, time.Hour, linger, Unanswered},
		{"content was read in part", "content", 3, false, time.Second, 0, Unanswered},
		{"content was not read", "content", 0, false, time.Second, 0, Unanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRequest("PUT", nil)
				if test.content != "" {
					r = newRequest("PUT", strings.NewReader(test.content))
				}
				if test.ahead {
					if _, err := ReadAhead(r, 100, false, nil); err != nil {
						t.Fatal(err)
					}
				}
				client, leave := context.WithCancelCause(r.Context())
				rec := newRecorder()
				var begun time.Time
				if err := forward(rec, r.WithContext(client), handler(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.CopyN(io.Discard, r.Body, test.read)
					begun = time.Now()
					leave(errLegacy)
					select {
					case <-time.After(test.takes):
						w.WriteHeader(204)
					case <-r.Context().Done():
						if cause := context.Cause(r.Context()); cause != errLegacy {
							t.Errorf("cause %v", cause)
						}
						w.WriteHeader(499) // as the proxy does
					}
				})); err != nil {
					t.Error(err)
				}
				if got := time.Since(begun); got != test.want {
					t.Errorf("took %s, want %s", got, test.want)
				}
				if got := rec.fate(t); got != test.fate {
					t.Errorf("got %d, want %d", got, test.fate)
				}
			})
		})
	}
}

// TestForwardLeaseLost: losing the lease cuts the backend off at once.
func TestForwardLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease, lose := context.WithCancelCause(context.Background())
		rec := newRecorder()
		rec.drop = true
		begun := time.Now()
		time.AfterFunc(time.Second, func() { lose(ErrLeaseLost) })
		if err := Forward(lease, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return caddyhttp.Error(502, context.Cause(r.Context()))
		}), rec, newRequest("PUT", nil), usual, rec); err != nil {
			t.Error(err)
		}
		if got := time.Since(begun); got != time.Second {
			t.Errorf("took %s", got)
		}
		rec.expect(t, "settle 0")
		if rec.fate(t) != Unanswered {
			t.Error(rec.fates)
		}
	})
}

// TestForwardContext: next gets a context with the values of the request's context,
// which ends with the call.
func TestForwardContext(t *testing.T) {
	rec := newRecorder()
	r := newRequest("PUT", nil)
	var forwarded context.Context
	_ = forward(rec, r, handler(func(_ http.ResponseWriter, fr *http.Request) {
		if replacer(fr) != replacer(r) {
			t.Error("a different replacer")
		}
		forwarded = fr.Context()
		if forwarded.Err() != nil {
			t.Error(forwarded.Err())
		}
	}))
	if forwarded.Err() == nil {
		t.Error("the context outlives the call")
	}
}

// TestForwardLost: a write whose lock is lost isn't sent, or no further. Whether it is lost is
// asked when something is about to be sent: a process that stood still goes on where it was.
func TestForwardLost(t *testing.T) {
	t.Run("before the handlers run", func(t *testing.T) {
		rec := newRecorder()
		rec.lost = true
		err := forward(rec, newRequest("PUT", strings.NewReader("content")), handler(func(http.ResponseWriter, *http.Request) { t.Error("sent") }))
		if !errors.Is(err, ErrLeaseLost) || rec.fate(t) != Refused {
			t.Errorf("%v, %q", err, rec.events)
		}
		rec.expect(t, "settle 0")

		rec = newRecorder()
		rec.lost, rec.drop = true, true
		if err := forward(rec, newRequest("PUT", nil), handler(func(http.ResponseWriter, *http.Request) { t.Error("sent") })); err != nil {
			t.Errorf("a dropped answer returns %v", err)
		}
	})
	t.Run("before it is connected", func(t *testing.T) {
		rec := newRecorder()
		err := forward(rec, newRequest("PUT", nil), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			rec.lost = true
			httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
			return context.Cause(r.Context())
		}))
		if !errors.Is(err, ErrLeaseLost) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("while its content is read", func(t *testing.T) {
		rec := newRecorder()
		var read string
		_ = forward(rec, newRequest("PUT", strings.NewReader("content")), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			begin := make([]byte, 3)
			_, _ = io.ReadFull(r.Body, begin)
			rec.lost = true
			rest, err := io.ReadAll(r.Body)
			read = string(begin) + string(rest)
			return err
		}))
		if read != "con" || rec.fate(t) != Unanswered {
			t.Errorf("read %q, %q", read, rec.events)
		}
	})
}

// TestForwardReadsOn: a client that goes away while it gets the answer doesn't end the write:
// the rest of the answer is read.
func TestForwardReadsOn(t *testing.T) {
	rec := &leaving{newRecorder()}
	rec.bufferLimit = 0
	sent := 0
	err := Forward(context.Background(), handler(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			n, err := io.WriteString(w, "content")
			if err != nil {
				return
			}
			sent += n
		}
	}), rec, newRequest("POST", nil), usual, rec)
	if err != nil || sent != 3*len("content") || rec.fate(t) != Applied {
		t.Errorf("%v, sent %d, %q", err, sent, rec.events)
	}
}

// leaving is a client that has gone when content comes.
type leaving struct{ *recorder }

func (leaving) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
