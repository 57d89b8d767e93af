package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// through passes the answer of an origin with these lines to a request. It returns the lines
// of a field of what the client gets.
func through(t *testing.T, field string, status int, lines []string, request string, fields ...string) []string {
	t.Helper()
	s := newSite()
	s.origin = func(w http.ResponseWriter, _ *http.Request) error {
		for name, lines := range headerOf(lines...) {
			w.Header()[name] = lines
		}
		w.WriteHeader(status)
		return nil
	}
	w, err := s.serve(requestOf(t.Context(), request, fields...))
	if err != nil {
		t.Fatal(err)
	}
	return w.Header()[field]
}

// An answer that allows an origin exposes what clients of this handler read, in one field,
// beside what the backend exposes. With credentials, * is no wildcard (Fetch standard, 4.1,
// "CORS-exposed header-name list").
func TestExposedFields(t *testing.T) {
	t.Parallel()
	const all = "ETag, Last-Modified, Retry-After, Preference-Applied, Content-Location"
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"no origin is allowed", []string{"Access-Control-Expose-Headers: X"}, []string{"X"}},
		{"nothing else is exposed", []string{"Access-Control-Allow-Origin: *"}, []string{all}},
		{"something else is", []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X,etag"}, []string{"X, etag, Last-Modified, Retry-After, Preference-Applied, Content-Location"}},
		{"in two lines", []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X", "Access-Control-Expose-Headers: , Y"}, []string{"X, Y, " + all}},
		{"all of it is", []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X," + strings.ToLower(all)}, []string{"X," + strings.ToLower(all)}},
		{"everything is", []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: *"}, []string{"*"}},
		{"everything is, with credentials", []string{"Access-Control-Allow-Origin: https://a", "Access-Control-Allow-Credentials: true", "Access-Control-Expose-Headers: *"}, []string{"*, " + all}},
	} {
		for _, request := range []string{"GET /a", "PUT /a", "PROPFIND /a", "OPTIONS /a"} {
			t.Run(tt.name+"/"+request, func(t *testing.T) {
				if got := through(t, "Access-Control-Expose-Headers", 200, tt.lines, request, "Origin: https://a"); !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

// If the backend lets an origin use a method, the origin may also send the conditions that it
// asks for (Fetch standard, 4.8, CORS-preflight fetch).
func TestPreflight(t *testing.T) {
	t.Parallel()
	const origin, methods = "Access-Control-Allow-Origin: https://a", "Access-Control-Allow-Methods: GET, PUT"
	const credentials = "Access-Control-Allow-Credentials: true"
	for _, tt := range []struct {
		name   string
		status int
		asked  string // the fields
		lines  []string
		want   []string
	}{
		{"one field", 204, "if-match", []string{origin, methods}, []string{"If-Match"}},
		{"beside others", 204, "content-type,if-match", []string{origin, methods, "Access-Control-Allow-Headers: Content-Type"}, []string{"Content-Type, If-Match"}},
		{"in two lines", 204, "if-match", []string{origin, methods, "Access-Control-Allow-Headers: A", "Access-Control-Allow-Headers: B"}, []string{"A, B, If-Match"}},
		{"all fields", 204, "idempotency-key,if-match,if-modified-since,if-none-match,if-range,if-unmodified-since,prefer,x", []string{origin, methods}, []string{"If-Match, If-None-Match, If-Unmodified-Since, If-Modified-Since, If-Range, Prefer, Idempotency-Key"}},
		{"already allowed", 204, "if-match", []string{origin, methods, "Access-Control-Allow-Headers: content-type,if-match"}, []string{"content-type,if-match"}},
		{"others only", 204, "x-other", []string{origin, methods, "Access-Control-Allow-Headers: Y"}, []string{"Y"}},
		{"nothing", 204, "", []string{origin, methods}, nil},
		{"every method", 204, "if-match", []string{origin, "Access-Control-Allow-Methods: *"}, []string{"If-Match"}},
		{"every origin", 204, "if-match", []string{"Access-Control-Allow-Origin: *", methods}, []string{"If-Match"}},
		{"every field", 204, "if-match", []string{"Access-Control-Allow-Origin: *", methods, "Access-Control-Allow-Headers: *"}, []string{"*"}},
		{"every field, with credentials", 204, "if-match", []string{origin, credentials, methods, "Access-Control-Allow-Headers: *"}, []string{"*, If-Match"}},
		{"a different method", 204, "if-match", []string{origin, "Access-Control-Allow-Methods: GET, put"}, nil},
		{"no method", 204, "if-match", []string{origin}, nil},
		{"a different origin", 204, "if-match", []string{"Access-Control-Allow-Origin: https://b", methods}, nil},
		{"two origins", 204, "if-match", []string{origin, origin, methods}, nil},
		{"no origin", 204, "if-match", []string{methods}, nil},
		{"an error", 403, "if-match", []string{origin, methods}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := through(t, "Access-Control-Allow-Headers", tt.status, tt.lines, "OPTIONS /a",
				"Origin: https://a", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: "+tt.asked)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a method that is allowed everywhere", func(t *testing.T) {
		got := through(t, "Access-Control-Allow-Headers", 200, []string{origin}, "OPTIONS /a",
			"Origin: https://a", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: if-match")
		if !slices.Equal(got, []string{"If-Match"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an OPTIONS request that is none", func(t *testing.T) {
		got := through(t, "Access-Control-Allow-Headers", 200, []string{origin, methods}, "OPTIONS /a", "Origin: https://a", "Access-Control-Request-Headers: if-match")
		if got != nil {
			t.Errorf("got %q", got)
		}
	})
}

// asked returns a site that refuses writes without a condition, and the number of preflights
// to its origin.
func asked(preflight func(w http.ResponseWriter, r *http.Request) error) (s *site, count func() int) {
	s = newSite()
	s.Learned = NewLearned(0)
	s.Require = []string{"PUT"}
	s.origin = preflight
	return s, func() int {
		return len(slices.DeleteFunc(s.take(), func(event string) bool { return !strings.HasPrefix(event, "OPTIONS ") }))
	}
}

// allowing is an origin that allows all origins after a while.
func allowing(after time.Duration) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		select {
		case <-time.After(after):
		case <-r.Context().Done():
			return r.Context().Err()
		}
		w.Header().Set(allowOrigin, "*")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// refusedFor sends a write that is refused. It returns the origin that the answer allows, and
// how long it took.
func (s *site) refusedFor(t *testing.T, path, origin string) (allowed string, took time.Duration) {
	t.Helper()
	begun := time.Now()
	w, err := s.serve(requestOf(t.Context(), "PUT "+path, "Origin: "+origin))
	if err != nil || w.Code != 428 {
		t.Errorf("%v, %d", err, w.Code)
	}
	return w.Header().Get(allowOrigin), time.Since(begun)
}

// A refusal doesn't wait long for a backend that doesn't answer a preflight, and the backend
// isn't asked again for a while.
func TestPreflightToSlowBackend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, count := asked(allowing(time.Hour))
		for i, want := range []time.Duration{maxAskTime, 0} {
			if allowed, took := s.refusedFor(t, "/a", "https://a"); allowed != "" || took != want {
				t.Errorf("%d: allowed %q after %v", i, allowed, took)
			}
		}
		time.Sleep(minAskInterval)
		s.origin = allowing(0)
		if allowed, _ := s.refusedFor(t, "/a", "https://a"); allowed != "*" {
			t.Errorf("later: allowed %q", allowed)
		}
		if got := count(); got != 2 {
			t.Errorf("%d preflights", got)
		}
	})
}

// Refusals that come at once ask once about one resource, and only so many about others.
func TestPreflightsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, count := asked(allowing(maxAskTime / 2))
		var wg sync.WaitGroup
		var mu sync.Mutex
		allowed := 0
		burst := func(n int, path func(i int) string) {
			for i := range n {
				wg.Go(func() {
					got, took := s.refusedFor(t, path(i), "https://a")
					if took > maxAskTime/2 {
						t.Errorf("took %v", took)
					}
					if got == "*" {
						mu.Lock()
						allowed++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
		}
		burst(100, func(int) string { return "/a" })
		if got := count(); got != 1 || allowed != 100 {
			t.Errorf("%d preflights for one resource, %d allowed", got, allowed)
		}
		allowed = 0
		burst(100, func(i int) string { return fmt.Sprint("/b/", i) })
		if got := count(); got != maxAsking || allowed != maxAsking {
			t.Errorf("%d preflights for many, %d allowed", got, allowed)
		}
	})
}

// What is remembered is bounded in number and in time.
func TestRememberedPolicies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, count := asked(allowing(0))
		for i := range maxPolicies + 1 {
			s.refusedFor(t, fmt.Sprint("/", i), "https://a")
		}
		if got := s.Learned.policies.known.Len(); got != maxPolicies {
			t.Errorf("%d remembered", got)
		}
		count()
		last := fmt.Sprint("/", maxPolicies)
		s.refusedFor(t, last, "https://a")
		if got := count(); got != 0 {
			t.Errorf("%d preflights about what is remembered", got)
		}
		time.Sleep(maxPolicyAge)
		s.refusedFor(t, last, "https://a")
		if got := count(); got != 1 {
			t.Errorf("%d preflights about what is too old", got)
		}
	})
}

// A question that ends in a panic is over, and others can ask.
func TestPreflightPanics(t *testing.T) {
	t.Parallel()
	s, count := asked(func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
	for _, path := range []string{"/a", "/a", "/b"} {
		if allowed, _ := s.refusedFor(t, path, "https://a"); allowed != "" {
			t.Errorf("allowed %q", allowed)
		}
	}
	if got := count(); got != 2 || len(s.Learned.policies.asking) != 0 {
		t.Errorf("%d preflights, %d going on", got, len(s.Learned.policies.asking))
	}
}

// A write that is refused under its claim gives the claim back before the handler asks.
func TestPreflightHoldsNothing(t *testing.T) {
	t.Parallel()
	content := "content"
	s, _ := asked(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodOptions {
			w.Header().Set(allowOrigin, "*")
			return nil
		}
		return answering(content, http.StatusNoContent)(w, r)
	})
	s.Verify.Passing = true
	tag := s.tagOf(t, "/a")
	content = "written past this handler"
	w, err := s.serve(requestOf(t.Context(), "PUT /a", "Origin: https://a", "If-Match: "+tag, "Authorization: Digest x"))
	if err != nil || w.Code != 412 || w.Header().Get(allowOrigin) != "*" {
		t.Errorf("%v, %d, %v", err, w.Code, w.Header())
	}
	events := s.take()
	asked, settled := slices.Index(events, "OPTIONS /a"), slices.Index(events, "settle /a")
	if asked < 0 || settled < 0 || settled > asked {
		t.Errorf("got %q", events)
	}
}
