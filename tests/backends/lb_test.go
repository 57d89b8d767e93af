package backends

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// In these tests, the handler stands in front of a proxy with several upstreams.
// The proxy may send one write more than once. The upstreams share their documents.

// attempts is a backend that treats each attempt at a write according to the
// write's X-Attempts, a comma-separated list with one action for each attempt:
//
//	apply    apply it and answer truthfully
//	apply-N  apply it, but answer with status N
//	apply-0  apply it, and close the connection
//	N        answer with status N
//	0        close the connection
//	103-0    answer with 103, and close the connection
//	late     apply it after the proxy has given up
type attempts struct {
	docs *legacydocs.Service

	mu   sync.Mutex
	seen map[string]int // by X-Write
}

func newAttempts() *attempts {
	return &attempts{docs: legacydocs.New(legacydocs.Options{}), seen: make(map[string]int)}
}

func (b *attempts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list := r.Header.Get("X-Attempts")
	if r.Method == "GET" || list == "" {
		b.docs.ServeHTTP(w, r)
		return
	}
	b.mu.Lock()
	n := b.seen[r.Header.Get("X-Write")]
	b.seen[r.Header.Get("X-Write")]++
	b.mu.Unlock()
	acts := strings.Split(list, ",")
	act := acts[min(n, len(acts)-1)]

	if act == "apply" {
		b.docs.ServeHTTP(w, r)
		return
	}
	if rest, ok := strings.CutPrefix(act, "apply-"); ok {
		b.docs.ServeHTTP(httptest.NewRecorder(), r)
		act = rest
	}
	if act == "late" {
		content, _ := io.ReadAll(r.Body)
		<-r.Context().Done()
		r.Body = io.NopCloser(bytes.NewReader(content))
		b.docs.ServeHTTP(httptest.NewRecorder(), r)
		return
	}
	if rest, ok := strings.CutPrefix(act, "103-"); ok {
		w.WriteHeader(103)
		act = rest
	}
	status, err := strconv.Atoi(act)
	if err != nil || status == 0 {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(status)
}

// times returns how often the backend received the write.
func (b *attempts) times(write string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[write]
}

// retrying returns the directives of a site whose proxy tries the second upstream
// if the first fails in any way.
func retrying(options string, upstreams ...string) string {
	return caddytest.Guarded(options, strings.Join(upstreams, " ")+` {
		lb_policy round_robin
		lb_retries 1
		lb_retry_match {
			method PUT DELETE
		}
		lb_retry_match {
			expression "{rp.status_code} in [409, 500, 503]"
		}
		request_buffers 1MiB
	}`)
}

// If a write was sent twice, one upstream may have performed it although the other
// refused it. Afterwards the handler doesn't trust what it knew about the resource,
// and doesn't tell the client that nothing was changed.
func TestRetriedWrite(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	backend := newAttempts()
	one, two := caddytest.Serve(t, backend), caddytest.Serve(t, backend)
	for _, tt := range []struct {
		attempts string
		status   int  // of the write
		held     bool // whether other writes must wait because this one may still land
	}{
		{"apply-500,409", 409, false},
		{"apply-500,412", 412, false},
		{"apply-500,404", 404, false},
		{"apply-500,422", 422, false},
		{"apply-500,500", 500, false},
		{"500,apply-409", 409, false},
		{"500,apply-500", 500, false},
		{"apply-503,409", 409, true},
		{"apply-503,412", 412, true},
		{"apply-503,404", 404, true},
		{"apply-503,422", 422, true},
		{"apply-503,503", 503, true},
		{"apply-409,412", 412, false},
		{"apply-409,400", 400, false},
		{"apply-409,409", 409, false},
		{"apply-0,409", 409, true},
		{"apply-0,412", 412, true},
		{"apply-0,403", 403, true},
		{"apply-0,503", 503, true},
		{"503,apply-409", 409, true},
		{"503,apply-503", 503, true},
		{"0,apply-503", 503, true},
		{"503,apply-0", 502, true},
		{"apply-503,0", 502, true},
		{"apply-0,0", 502, true},
		{"apply-0,502", 502, true},
		{"apply-0,504", 504, true},
	} {
		for _, method := range []string{"PUT", "DELETE"} {
			if tt.held && method == "DELETE" {
				continue // it would only take longer
			}
			t.Run(method+" "+tt.attempts, func(t *testing.T) {
				t.Parallel()
				options := "verify never\nlease 30s\nwait 300ms"
				if tt.held {
					options = fmt.Sprintf("verify never\nlease %s\nwait 30s", lease)
				}
				name := strings.ReplaceAll(method+"-"+tt.attempts, ",", "-")
				to := caddytest.OneNodeAt(t, retrying(options, one, two)).First() + "/docs/" + name
				caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
				tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)

				content := "new"
				if method == "DELETE" {
					content = ""
				}
				begun := time.Now()
				caddytest.Send(t, method, to, content, "If-Match", tag, "X-Attempts", tt.attempts, "X-Write", name).Expect(t, tt.status)
				if got := backend.times(name); got != 2 {
					t.Fatalf("sent %d times", got)
				}
				caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
				if took := time.Since(begun); tt.held && took < lease {
					t.Errorf("the next write had to wait only %v", took)
				}
				if method == "DELETE" {
					caddytest.Send(t, "GET", to, "").Expect(t, 404)
				} else if got := caddytest.Send(t, "GET", to, "").Content; got != "new" {
					t.Errorf("the document is %q", got)
				}
			})
		}
	}
}

// If neither upstream performed the write, its author can send it again with the
// old tag. The handler then asks the origin.
func TestRetriedInVain(t *testing.T) {
	backend := newAttempts()
	to := caddytest.OneNodeAt(t, retrying("verify never\nlease 30s\nwait 300ms", caddytest.Serve(t, backend), caddytest.Serve(t, backend))).First() + "/docs/plan"
	caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
	for i, tt := range []struct {
		attempts string
		status   int
	}{{"500,409", 409}, {"409,412", 412}, {"500,500", 500}} {
		tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		write := fmt.Sprint("vain-", i)
		caddytest.Send(t, "PUT", to, "refused", "If-Match", tag, "X-Attempts", tt.attempts, "X-Write", write).Expect(t, tt.status)
		if got := backend.times(write); got != 2 {
			t.Fatalf("sent %d times", got)
		}
		caddytest.Send(t, "PUT", to, write, "If-Match", tag).Expect(t, 204)
	}
}

// The answer of the upstream that performed the write counts.
func TestRetriedAndMade(t *testing.T) {
	backend := newAttempts()
	to := caddytest.OneNodeAt(t, retrying("lease 30s\nwait 300ms", caddytest.Serve(t, backend), caddytest.Serve(t, backend))).First() + "/docs/plan"
	caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
	for i, attempts := range []string{"500,apply", "409,apply", "apply-500,apply"} {
		tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		write := fmt.Sprint("made-", i)
		caddytest.Send(t, "PUT", to, write, "If-Match", tag, "X-Attempts", attempts, "X-Write", write).Expect(t, 204).ExpectOutcome(t, "passed")
		caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
		if got := caddytest.Send(t, "GET", to, "").Content; got != write {
			t.Errorf("the document is %q", got)
		}
	}
}

// If one attempt got no answer, the client gets the answer to the other. The
// unanswered attempt may still land, so other writes must wait.
func TestRetriedUnanswered(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	backend := newAttempts()
	timeout := "transport http {\nresponse_header_timeout 500ms\n}\nlb_policy"
	to := caddytest.OneNodeAt(t, strings.Replace(retrying(fmt.Sprintf("verify never\nlease %s\nwait 30s", lease), caddytest.Serve(t, backend), caddytest.Serve(t, backend)),
		"lb_policy", timeout, 1)).First() + "/docs/"
	for _, tt := range []struct {
		attempts string
		status   int // of the write
		next     int // of the next write, which is based on the same state
	}{
		{"0,apply", 204, 412},
		{"apply-0,apply", 204, 412},
		{"103-0,apply", 204, 412},
		{"late,apply", 204, 412},
		{"late,422", 422, 412},
		{"0,422", 422, 204},
	} {
		t.Run(tt.attempts, func(t *testing.T) {
			t.Parallel()
			to := to + strings.ReplaceAll(tt.attempts, ",", "-")
			caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", to, "new", "If-Match", tag, "X-Attempts", tt.attempts, "X-Write", to).Expect(t, tt.status).ExpectOutcome(t, "passed")
			answered := time.Now()
			if got := backend.times(to); got != 2 {
				t.Fatalf("sent %d times", got)
			}
			caddytest.Send(t, "PUT", to, "next", "If-Match", tag).Expect(t, tt.next)
			if took := time.Since(answered); took < lease-100*time.Millisecond {
				t.Errorf("the next write had to wait only %v", took)
			}
		})
	}
}

// net/http itself repeats a request without content that has an Idempotency-Key,
// if a reused connection breaks. The second DELETE finds nothing to delete, which
// doesn't mean that nothing was changed.
func TestRetriedByTransport(t *testing.T) {
	t.Parallel()
	backend := newAttempts()
	to := caddytest.OneNodeAt(t, caddytest.Guarded("verify never\nlease 1s\nwait 30s", caddytest.Serve(t, backend))).First() + "/docs/plan"
	caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
	tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "DELETE", to, "", "If-Match", tag, "Idempotency-Key", "x", "X-Attempts", "apply-0,apply", "X-Write", "x").Expect(t, 404)
	if got := backend.times("x"); got != 2 {
		t.Fatalf("sent %d times", got)
	}
	caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", to, "created", "If-None-Match", "*").Expect(t, 201)
}

// The handler also notices retries if the upstreams don't speak HTTP.
func TestRetriedFastCGI(t *testing.T) {
	backend := newAttempts()
	address := func() string {
		l := caddytest.Listen(t)
		t.Cleanup(func() { l.Close() })
		go fcgi.Serve(l, backend) //nolint:errcheck // ends with the listener
		return l.Addr().String()
	}
	to := caddytest.OneNodeAt(t, strings.Replace(retrying("verify never\nlease 30s\nwait 300ms", address(), address()),
		"lb_policy", "transport fastcgi\nlb_policy", 1)).First() + "/docs/"
	for _, attempts := range []string{"apply-500,409", "apply-500,412", "apply-409,422", "apply-500,500"} {
		t.Run(attempts, func(t *testing.T) {
			to := to + strings.ReplaceAll(attempts, ",", "-")
			caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
			status, _ := strconv.Atoi(attempts[len(attempts)-3:])
			caddytest.Send(t, "PUT", to, "new", "If-Match", tag, "X-Attempts", attempts, "X-Write", to).Expect(t, status)
			if got := backend.times(to); got != 2 {
				t.Fatalf("sent %d times", got)
			}
			caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
		})
	}
}

// If the proxy couldn't connect to an upstream, that upstream hasn't received the
// write.
func TestRetriedDial(t *testing.T) {
	t.Parallel()
	backend := newAttempts()
	dead := caddytest.Address(t)
	to := caddytest.OneNodeAt(t, retrying("verify never\nlease 30s\nwait 300ms", dead, caddytest.Serve(t, backend))).First() + "/docs/plan"
	caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
	for i := range 6 { // the proxy begins with either upstream
		tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		write := fmt.Sprint("dialed-", i)
		caddytest.Send(t, "PUT", to, "refused", "If-Match", tag, "X-Attempts", "422", "X-Write", write).Expect(t, 422)
		if got := backend.times(write); got != 1 {
			t.Fatalf("sent %d times", got)
		}
		caddytest.Send(t, "PUT", to, write, "If-Match", tag).Expect(t, 204)
		caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
		if i%2 == 0 {
			caddytest.Send(t, "GET", to, "").Expect(t, 200) // the other upstream's turn
		}
	}

	t.Run("after it was made", func(t *testing.T) {
		// This upstream performs the write and then refuses connections.
		alone := newAttempts()
		address := caddytest.Address(t)
		var s *httptest.Server
		s = caddytest.ServeAt(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Last") == r.Method {
				_ = s.Listener.Close()
			}
			alone.ServeHTTP(w, r)
		}))
		to := caddytest.OneNodeAt(t, retrying("verify never\nlease 1s\nwait 30s", address, address)).First() + "/docs/plan"
		caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
		tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "DELETE", to, "", "If-Match", tag, "X-Last", "DELETE", "X-Attempts", "apply-0", "X-Write", "last").Expect(t, 502)
		if got := alone.times("last"); got != 1 {
			t.Fatalf("sent %d times", got)
		}
		s.Close()
		caddytest.ServeAt(t, address, alone)
		caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
	})
}

// A write that couldn't be sent to any upstream doesn't hold up other writes, no
// matter how often the proxy tried.
func TestNoUpstreamDialed(t *testing.T) {
	backend := newAttempts()
	one, two := caddytest.Address(t), caddytest.Address(t)
	for _, tt := range []struct{ name, proxy string }{
		{"no retry", ""},
		{"retries", "lb_retries 3\n"},
		{"a match", "lb_retries 1\nlb_retry_match {\nmethod PUT\n}\n"},
		{"a duration", "lb_try_duration 50ms\nlb_try_interval 10ms\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := caddytest.ServeAt(t, one, backend)
			to := caddytest.OneNodeAt(t, caddytest.Guarded("verify never\nlease 30s\nwait 300ms",
				fmt.Sprintf("%s %s {\nlb_policy round_robin\n%stransport http {\nkeepalive off\n}\n}", one, two, tt.proxy))).First() + "/docs/plan"
			caddytest.Bypass(t, backend, "PUT", "/docs/plan", "old")
			var tag string
			caddytest.Eventually(t, "the upstream that is up has its turn", func() bool {
				a := caddytest.Send(t, "GET", to, "")
				tag = a.Header.Get("ETag")
				return a.StatusCode == 200
			})
			s.Close()
			for range 2 {
				caddytest.Send(t, "PUT", to, "not sent", "If-Match", tag).Expect(t, 502)
			}
			caddytest.Send(t, "PUT", to, "not sent").Expect(t, 502)
			s = caddytest.ServeAt(t, one, backend)
			caddytest.Eventually(t, "the upstream that is up has its turn", func() bool {
				a := caddytest.Send(t, "PUT", to, "new", "If-Match", tag)
				if strings.Contains(a.Content, "Another write") {
					t.Fatalf("held up: %s", a.Content)
				}
				return a.StatusCode == 204
			})
			s.Close()
		})
	}
}

// If a proxy answers 503 because all its upstreams failed before, the write doesn't
// hold up other writes.
func TestNoUpstreamAvailable(t *testing.T) {
	t.Parallel()
	backend := newAttempts()
	for _, verify := range []string{"never", "passing"} {
		t.Run(verify, func(t *testing.T) {
			address := caddytest.Address(t)
			s := caddytest.ServeAt(t, address, backend)
			to := caddytest.OneNodeAt(t, caddytest.Guarded("lease 1m\nwait 300ms\nverify "+verify, address+` {
				max_fails 1
				fail_duration 2s
				transport http {
					keepalive off
				}
			}`)).First() + "/docs/plan"
			caddytest.Bypass(t, backend, "PUT", "/docs/plan", "old")
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
			s.Close()
			write := func(fields ...string) int {
				t.Helper()
				a := caddytest.Send(t, "PUT", to, "new", fields...)
				if strings.Contains(a.Content, "Another write") {
					t.Fatalf("held up: %s", a.Content)
				}
				return a.StatusCode
			}
			if got := write(); got != 502 { // counts as a failure
				t.Fatalf("got %d", got)
			}
			for range 3 {
				for _, fields := range [][]string{{"If-Match", tag}, nil} {
					if got := write(fields...); got != 503 {
						t.Fatalf("got %d", got)
					}
				}
			}
			caddytest.ServeAt(t, address, backend)
			caddytest.Eventually(t, "the upstream is used again", func() bool { return write("If-Match", tag) == 204 })
			if got := caddytest.Bypass(t, backend, "GET", "/docs/plan", ""); got != "new" {
				t.Errorf("the document is %q", got)
			}
		})
	}
}
