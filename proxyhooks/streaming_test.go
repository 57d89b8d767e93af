package proxyhooks

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-preconditions/preconditions/validator"
)

// These tests run real HTTP servers: a client, a server with a Capture or Forward around
// Caddy's own proxy, and a backend.

// proxyTo returns Caddy's proxy in front of a backend.
func proxyTo(t *testing.T, backend http.HandlerFunc) caddyhttp.Handler {
	t.Helper()
	origin := httptest.NewServer(backend)
	t.Cleanup(func() {
		origin.CloseClientConnections()
		origin.Close()
	})
	ctx, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	proxy := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: origin.Listener.Addr().String()}}}
	if err := proxy.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Cleanup() })
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return proxy.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	})
}

// front returns the address of a server that serves requests as Caddy does.
func front(t *testing.T, serve func(w http.ResponseWriter, r *http.Request) error) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repl := caddy.NewReplacer()
		if err := serve(w, caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})); err != nil {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	server.Config.ErrorLog = quiet(t)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// quiet returns a log for the panics that abort a response.
func quiet(t *testing.T) *log.Logger {
	t.Helper()
	return log.New(io.Discard, "", 0)
}

// captured returns the address of a server that captures the responses of a backend.
func captured(t *testing.T, rec *labels, patience time.Duration, backend http.HandlerFunc) string {
	t.Helper()
	proxy := proxyTo(t, backend)
	d := Deriver{Sources: both.Sources, Limit: 100 << 10}
	return front(t, func(w http.ResponseWriter, r *http.Request) error {
		c := NewCapture(w, d, rec)
		c.Patience = patience
		return c.Serve(proxy, r)
	})
}

// labels is a Reading that puts the tag on the response.
type labels struct {
	mu    sync.Mutex
	shown []Shown
	late  []validator.Observed
}

func (l *labels) Label(_ int, h http.Header, s Shown) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = append(l.shown, s)
	h.Del("ETag")
	if s.ETag.Valid {
		h.Set("ETag", s.ETag.String())
	}
	return true
}

// TestSkipLarge: content that is too large to be buffered is passed on without being hashed,
// if nobody wants to know its tag. Content that is only slow is hashed.
func TestSkipLarge(t *testing.T) {
	for _, tt := range []struct {
		name           string
		length         string
		first, rest    int
		wait           time.Duration
		parts          bool
		hashed, tagged bool
	}{
		{name: "announced", length: "11", first: 11},
		{name: "not announced", first: 5, rest: 6},
		{name: "small", first: 5, rest: 5, tagged: true},
		{name: "slow", first: 5, rest: 5, wait: time.Hour, hashed: true, tagged: true},
		{name: "slow, and large only later", first: 5, rest: 6, wait: time.Hour, hashed: true},
		{name: "kept in a file", length: "11", first: 11, parts: true, tagged: true},
		{name: "kept in a file, slow", first: 11, rest: 1, parts: true, wait: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				c := NewCapture(rec, both, rec)
				c.SkipLarge, c.BufferParts = true, tt.parts
				err := c.Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
					if tt.length != "" {
						w.Header().Set("Content-Length", tt.length)
					}
					_, _ = io.WriteString(w, strings.Repeat("x", tt.first))
					time.Sleep(tt.wait)
					_, _ = io.WriteString(w, strings.Repeat("x", tt.rest))
				}), newRequest("GET", nil))
				c.Close()
				s, want := rec.only(t), strings.Repeat("x", tt.first+tt.rest)
				late := len(rec.late) > 0 && rec.late[0].ETag.Valid
				if err != nil || rec.content.String() != want || !s.Known || s.Hashed != tt.hashed {
					t.Errorf("%v, %d bytes, %+v", err, rec.content.Len(), s)
				}
				if tagged := s.ETag.Valid || late; tagged != tt.tagged || s.Untagged == s.ETag.Valid {
					t.Errorf("%+v, late %v", s, rec.late)
				}
			})
		})
	}
}

func (l *labels) Late(o validator.Observed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, o)
}

func (l *labels) take() (shown []Shown, late []validator.Observed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shown, late = l.shown, l.late
	l.shown, l.late = nil, nil
	return shown, late
}

// get sends a GET. It fails the test if the response takes too long.
func get(t *testing.T, ctx context.Context, method, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestStreamReachesClient: each line of a stream reaches the client when the backend writes
// it. The backend writes the next only when the client has the last.
func TestStreamReachesClient(t *testing.T) {
	for _, test := range []struct {
		fields []string
		lines  int // to expect; the proxy flushes no content with a known length
	}{
		{[]string{"Content-Type", "application/x-ndjson"}, 3},
		{[]string{"Content-Type", "application/json"}, 3}, // a watch of Kubernetes
		{[]string{"Content-Type", "text/plain"}, 3},
		{[]string{"Content-Type", "multipart/x-mixed-replace; boundary=frame"}, 3},
		{[]string{"Content-Type", "text/html", "Content-Length", "21"}, 1},
	} {
		fields := test.fields
		t.Run(fmt.Sprint(fields), func(t *testing.T) {
			received, ended := make(chan struct{}), make(chan struct{})
			rec := &labels{}
			url := captured(t, rec, 0, func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				for i := 0; i < len(fields); i += 2 {
					w.Header().Set(fields[i], fields[i+1])
				}
				for i := range 3 {
					fmt.Fprintf(w, "line %d\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-received:
					case <-r.Context().Done():
						return
					}
				}
			})
			ctx, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			begun := time.Now()
			resp := get(t, ctx, "GET", url)
			lines := bufio.NewScanner(resp.Body)
			for i := range test.lines {
				if !lines.Scan() || lines.Text() != fmt.Sprint("line ", i) {
					t.Fatalf("got %q, %v", lines.Text(), lines.Err())
				}
				if i == 0 {
					t.Logf("the first line took %s", time.Since(begun))
				}
				if i < test.lines-1 {
					received <- struct{}{}
				}
			}
			shown, _ := rec.take()
			if len(shown) != 1 || !shown[0].Untagged || resp.Header.Get("ETag") != "" {
				t.Errorf("%+v, header %v", shown, resp.Header)
			}
			leave() // the client disconnects, and that reaches the backend
			<-ended
		})
	}
}

// TestOrdinaryResponses: responses that don't take long are tagged as before, whatever their
// size, framing and status.
func TestOrdinaryResponses(t *testing.T) {
	rec := &labels{}
	url := captured(t, rec, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		var status, size int
		var length bool
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d/%t", &status, &size, &length)
		if length {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		w.WriteHeader(status)
		if status == 204 {
			return
		}
		if !length {
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"X-Checksum", "of the content")
		}
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	})
	for _, method := range []string{"GET", "HEAD"} {
		for _, status := range []int{200, 204, 404} {
			for _, size := range []int{0, 1, 4095, 4096, 100 << 10, 100<<10 + 1, 1 << 20} {
				for _, length := range []bool{true, false} {
					if status == 204 && (size > 0 || length) {
						continue
					}
					path := fmt.Sprintf("/%d/%d/%t", status, size, length)
					resp := get(t, t.Context(), method, url+path)
					content, err := io.ReadAll(resp.Body)
					want, trailer := size, ""
					if method == "HEAD" {
						want = 0
					} else if !length && status != 204 {
						trailer = "of the content"
					}
					if err != nil || len(content) != want || resp.StatusCode != status || resp.Trailer.Get("X-Checksum") != trailer {
						t.Errorf("%s %s: %s, %d bytes, %v, trailer %v", method, path, resp.Status, len(content), err, resp.Trailer)
					}
					tagged := method == "GET" && status != 404 && size <= 100<<10
					if shown, _ := rec.take(); len(shown) != 1 || shown[0].ETag.Valid != tagged || (resp.Header.Get("ETag") != "") != tagged {
						t.Errorf("%s %s: %+v, header %v", method, path, shown, resp.Header)
					}
				}
			}
		}
	}
}

// TestSlowResponses: what becomes of the end of a response that was passed on because it was
// slow.
func TestSlowResponses(t *testing.T) {
	begin := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "begin\n")
		w.(http.Flusher).Flush()
	}
	t.Run("trailer fields that weren't announced (RFC 9110, 6.5)", func(t *testing.T) {
		received, rec := make(chan struct{}), &labels{}
		url := captured(t, rec, 0, func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			<-received
			w.Header().Set(http.TrailerPrefix+"X-Checksum", "of the content")
		})
		resp := get(t, t.Context(), "GET", url)
		close(received)
		content, err := io.ReadAll(resp.Body)
		if string(content) != "begin\n" || err != nil || resp.Trailer.Get("X-Checksum") != "of the content" {
			t.Errorf("%q, %v, trailer %v", content, err, resp.Trailer)
		}
	})
	t.Run("a backend that breaks off", func(t *testing.T) {
		received, rec := make(chan struct{}), &labels{}
		url := captured(t, rec, 0, func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			<-received
			panic(http.ErrAbortHandler)
		})
		resp := get(t, t.Context(), "GET", url)
		close(received)
		content, err := io.ReadAll(resp.Body)
		if string(content) != "begin\n" || err == nil {
			t.Errorf("%q, %v", content, err)
		}
		if _, late := rec.take(); len(late) > 0 {
			t.Errorf("late %v", late)
		}
	})
	t.Run("informational responses before it (RFC 9110, 15.2)", func(t *testing.T) {
		received, rec := make(chan struct{}), &labels{}
		url := captured(t, rec, 0, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(103)
			w.Header().Del("Link")
			begin(w)
			<-received
		})
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(status, h.Get("Link")))
				return nil
			},
		})
		resp := get(t, ctx, "GET", url)
		close(received)
		if content, err := io.ReadAll(resp.Body); string(content) != "begin\n" || err != nil || resp.Header.Get("Link") != "" {
			t.Errorf("%q, %v, header %v", content, err, resp.Header)
		}
		if len(hints) != 1 || hints[0] != "103</style.css>" {
			t.Errorf("hints %q", hints)
		}
	})
	t.Run("its tag is known late", func(t *testing.T) {
		received, rec := make(chan struct{}), &labels{}
		url := captured(t, rec, 0, func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			<-received
			_, _ = io.WriteString(w, "end\n")
		})
		resp := get(t, t.Context(), "GET", url)
		close(received)
		if content, err := io.ReadAll(resp.Body); string(content) != "begin\nend\n" || err != nil {
			t.Errorf("%q, %v", content, err)
		}
		shown, late := rec.take()
		want := tagOf("begin\nend\n", http.Header{"Content-Type": {"text/plain; charset=utf-8"}})
		if len(shown) != 1 || !shown[0].Untagged || len(late) != 1 || late[0].ETag != want {
			t.Errorf("%+v, late %v", shown, late)
		}
	})
}

// TestSlowAnswer: the answer to a write reaches the client when it takes long, and the write
// is settled when the answer is complete: until then the backend may be at work.
func TestSlowAnswer(t *testing.T) {
	received := make(chan struct{})
	proxy := proxyTo(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "begin\n")
		w.(http.Flusher).Flush()
		<-received
		_, _ = io.WriteString(w, "end\n")
	})
	settled := make(chan Answer, 2)
	url := front(t, func(w http.ResponseWriter, r *http.Request) error {
		return Forward(context.Background(), proxy, w, r, usual, settling(settled))
	})
	resp := get(t, t.Context(), "PUT", url)
	if resp.StatusCode != 201 || resp.Header.Get("X-Passed") != "yes" || len(settled) > 0 {
		t.Errorf("%s, header %v, settled %d times", resp.Status, resp.Header, len(settled))
	}
	close(received)
	if a := <-settled; a.Status != 201 || a.Complete || !a.Passed {
		t.Errorf("%+v", a)
	}
	if content, err := io.ReadAll(resp.Body); string(content) != "begin\nend\n" || err != nil {
		t.Errorf("%q, %v", content, err)
	}
	if len(settled) > 0 {
		t.Error("settled twice")
	}
}

// settling is a Writing that buffers the answer.
type settling chan Answer

func (settling) BufferLimit(int, http.Header) (int64, time.Duration) { return 1000, 0 }

func (settling) Held() bool { return true }

func (settling) Pass(a Answer) { a.Header.Set("X-Passed", "yes") }

func (s settling) Settle(a Answer, _ Fate) bool {
	s <- a
	return true
}
