package caddytest

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Shelf is a backend with one document, which it may store differently from how it
// was sent. The validators in its answers to writes describe nothing.
type Shelf struct {
	mu      sync.Mutex
	Content string
	Store   func(sent string) (stored string)            // or nil to store what was sent
	Answer  func(w http.ResponseWriter, r *http.Request) // or nil to answer a write with 200
}

func (s *Shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == "GET" && s.Content == "":
		w.WriteHeader(404)
		return
	case r.Method == "GET":
		_, _ = io.WriteString(w, s.Content)
		return
	case r.Method == "DELETE":
		s.Content = ""
	case s.Store != nil:
		s.Content = s.Store(string(sent))
	default:
		s.Content = string(sent)
	}
	w.Header().Set("ETag", `"of the answer"`)
	w.Header().Set("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")
	if s.Answer != nil {
		s.Answer(w, r)
		return
	}
	_, _ = io.WriteString(w, "done")
}

// Witness is a backend that records each request, with its content, before it
// answers it.
type Witness struct {
	Answer http.HandlerFunc

	mu    sync.Mutex
	heard []Heard
}

// Heard is a request as the backend received it.
type Heard struct {
	*http.Request
	Content string
	Err     error // of reading the content
}

func (b *Witness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	b.mu.Lock()
	b.heard = append(b.heard, Heard{r.Clone(context.Background()), string(content), err})
	b.mu.Unlock()
	b.Answer(w, r)
}

// All returns the requests with one of the methods, or all requests.
func (b *Witness) All(methods ...string) []Heard {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.heard), func(h Heard) bool {
		return len(methods) > 0 && !slices.Contains(methods, h.Method)
	})
}

// Last returns the last request with the method.
func (b *Witness) Last(t testing.TB, method string) Heard {
	t.Helper()
	all := b.All(method)
	if len(all) == 0 {
		t.Fatalf("the backend heard no %s", method)
	}
	return all[len(all)-1]
}

// Unwritten fails the test if the backend heard anything but GET and HEAD.
func (b *Witness) Unwritten(t testing.TB) {
	t.Helper()
	for _, h := range b.All() {
		if h.Method != "GET" && h.Method != "HEAD" {
			t.Errorf("the backend heard %s %s", h.Method, h.URL)
		}
	}
}

// Page is a backend whose only resource never changes. It answers writes with 204.
func Page(content string, fields ...string) *Witness {
	return &Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" && r.Method != "HEAD" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		for i := 0; i < len(fields); i += 2 {
			w.Header()[http.CanonicalHeaderKey(fields[i])] = []string{fields[i+1]}
		}
		_, _ = io.WriteString(w, content)
	}}
}

// Grouped is an obedient backend whose resources are in groups. It maps a path to
// the lines of its Cache-Groups field, which join changes.
func Grouped(groups map[string]string) (b *Witness, join func(path, groups string)) {
	var now sync.Map
	for path, lines := range groups {
		now.Store(path, lines)
	}
	b = Obedient()
	obey := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if lines, ok := now.Load(r.URL.Path); ok && (r.Method == "GET" || r.Method == "HEAD") {
			for line := range strings.SplitSeq(lines.(string), "\n") {
				w.Header().Add("Cache-Groups", line)
			}
		}
		obey(w, r)
	}
	return b, func(path, groups string) { now.Store(path, groups) }
}

// Obedient is a backend whose resources never change. A write is answered with the
// status in its field X-Status, and the field lines in its X-Field.
func Obedient() *Witness {
	return &Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" || r.Method == "HEAD" {
			_, _ = io.WriteString(w, r.URL.Path)
			return
		}
		for _, line := range r.Header["X-Field"] {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		status, _ := strconv.Atoi(r.Header.Get("X-Status"))
		w.WriteHeader(max(status, 200))
	}}
}

// Asks returns how many GETs the backend hears while f runs.
func (b *Witness) Asks(f func()) int {
	before := len(b.All("GET"))
	f()
	return len(b.All("GET")) - before
}

// LegacyDate is a modification date in the distant past.
const LegacyDate = "Sun, 06 Nov 1994 08:49:37 GMT"

// Hiding hides what a backend shows from whoever has neither credentials nor a signature.
func Hiding(backend http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if reads && r.Header["Authorization"] == nil && r.Header["Signature-Input"] == nil && !r.URL.Query().Has("X-Amz-Signature") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		backend.ServeHTTP(w, r)
	})
}
