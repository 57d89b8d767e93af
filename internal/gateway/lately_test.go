package gateway

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// Reads within a second share one call of the store. What another node has changed meanwhile
// is noticed when something is to be stored, and nobody relies on the old state for longer.
func TestReadsShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		var reads int
		s.store.fail = func(call string) error {
			if call == "read /m" {
				reads++
			}
			return nil
		}
		get := func(wantReads int) *client {
			t.Helper()
			reads = 0
			w, err := s.serve(requestOf(t.Context(), "GET /m"))
			if err != nil || reads != wantReads {
				t.Errorf("%d reads of the store, %v, want %d", reads, err, wantReads)
			}
			return w
		}
		get(1) // stores what the response shows
		get(1) // knows when that was stored
		first := get(0)
		get(0)
		time.Sleep(999 * time.Millisecond)
		get(0)
		time.Sleep(time.Millisecond)
		get(1)

		// Another node writes. The response has the tag of what it shows. Nothing is stored
		// under the old epoch, and the next read is a fresh one.
		if err := s.store.Store.Invalidate(t.Context(), "/m", s.Terms); err != nil {
			t.Fatal(err)
		}
		s.origin = answering("changed", http.StatusNoContent)
		changed := get(0)
		if tag := changed.Header().Get("Etag"); tag == "" || tag == first.Header().Get("Etag") {
			t.Errorf("the changed content has the tag %q", tag)
		}
		if e := s.entry(t, "/m"); len(e.Variants) != 0 {
			t.Errorf("something was stored under an epoch that had moved: %+v", e)
		}
		get(1)
		if e := s.entry(t, "/m"); len(e.Variants) != 1 {
			t.Errorf("a fresh read stored nothing: %+v", e)
		}

		// This node's own write, and a purge, are known at once.
		get(1)
		get(0)
		if _, err := s.serve(requestOf(t.Context(), "PUT /m")); err != nil {
			t.Fatal(err)
		}
		get(1)
		get(1)
		get(0)
		if err := s.share.Invalidate(t.Context(), "/m", s.Terms); err != nil {
			t.Fatal(err)
		}
		get(1)

		// The tag on the answer to a HEAD may come from the store.
		get(1)
		get(0)
		reads = 0
		if _, err := s.serve(requestOf(t.Context(), "HEAD /m")); err != nil || reads != 1 {
			t.Errorf("a HEAD: %d reads of the store, %v, want 1", reads, err)
		}
	})
}

// entry returns what the store knows.
func (s *site) entry(t *testing.T, key string) etagcache.Entry {
	t.Helper()
	e, err := s.store.Store.Read(t.Context(), key, s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
