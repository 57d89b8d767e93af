package caddytest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// Bypass sends a request straight to the backend, past all Caddys, and returns the
// content of the response.
func Bypass(t testing.TB, backend http.Handler, method, path, content string) string {
	t.Helper()
	w := httptest.NewRecorder()
	backend.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(content)))
	if w.Code >= 300 {
		t.Fatalf("%s %s at the backend: %d", method, path, w.Code)
	}
	return w.Body.String()
}

// WritesOf returns the writes of one document that the backend applied.
func WritesOf(docs *legacydocs.Service, path string) []legacydocs.Write {
	var of []legacydocs.Write
	for _, w := range docs.Writes() {
		if w.Path == path {
			of = append(of, w)
		}
	}
	return of
}

// ExpectNoneLost fails the test if a write replaced a version that it wasn't
// based on.
func ExpectNoneLost(t *testing.T, record []legacydocs.Write) {
	t.Helper()
	for _, w := range record {
		if w.BasedOn == "" || w.Lost() {
			t.Errorf("an update was lost: %+v", w)
		}
	}
}

// SharedDocs are the paths of documents that several clients edit.
var SharedDocs = []string{"/docs/shared-1", "/docs/shared-2", "/docs/shared-3"}

// Watched returns a document service, and a witness of the requests to it.
func Watched(o legacydocs.Options) (*legacydocs.Service, *Witness) {
	seen := new(Witness)
	before := o.Before
	o.Before = func(r *http.Request) int {
		seen.mu.Lock()
		seen.heard = append(seen.heard, Heard{Request: r.Clone(context.Background())})
		seen.mu.Unlock()
		if before != nil {
			return before(r)
		}
		return 0
	}
	return legacydocs.New(o), seen
}
