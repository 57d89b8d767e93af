package gateway

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// nodesOfOne are two nodes that share a store, in front of a document. This node has just read
// the document twice, so that it also knows when the store got to know it.
type nodesOfOne struct {
	*site
	other    *site
	contents []string      // of the next responses to GET; the last one stays
	takes    time.Duration // until the origin sends what it has chosen
	reads    int           // of the store
	tag      string        // that a client got last
}

func newNodesOfOne(t *testing.T) *nodesOfOne {
	s := &nodesOfOne{site: newSite(), other: newSite(), contents: []string{"first"}}
	s.store.fail = func(call string) error {
		if call == "read /m" {
			s.reads++
		}
		return nil
	}
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		content := s.contents[0]
		s.contents = s.contents[min(1, len(s.contents)-1):]
		time.Sleep(s.takes)
		_, err := w.Write([]byte(content))
		return err
	}
	s.other.share, s.other.origin = storeshare.New(s.store, zap.NewNop()), s.origin
	s.expect(t, 1, 1, "GET /m") // stores what the response shows
	s.expect(t, 1, 1, "GET /m")
	return s
}

// expect sends a request to this node. It checks how often that reads from the store, and from
// the origin.
func (s *nodesOfOne) expect(t *testing.T, reads, gets int, line string, fields ...string) {
	t.Helper()
	s.reads = 0
	s.take()
	w, err := s.serve(requestOf(t.Context(), line, fields...))
	asked := s.take()
	asked = slices.DeleteFunc(asked, func(event string) bool { return event != "GET /m" })
	if err != nil || s.reads != reads || len(asked) != gets {
		t.Errorf("%s %q: %d reads of the store, %d of the origin, %v, want %d, %d", line, fields, s.reads, len(asked), err, reads, gets)
	}
	s.tag = w.Header().Get("Etag")
}

// elsewhere sends a request to the other node.
func (s *nodesOfOne) elsewhere(t *testing.T, line string) {
	t.Helper()
	if _, err := s.other.serve(requestOf(t.Context(), line)); err != nil {
		t.Fatal(err)
	}
}

// stored returns the tags that the store knows.
func (s *nodesOfOne) stored(t *testing.T) (tags []string) {
	t.Helper()
	e, err := s.store.Store.Read(t.Context(), "/m", s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range e.Variants {
		tags = append(tags, variant.ETag.String())
	}
	return tags
}

// A read asks nothing of the store if this node has read the entry less than a second ago, and
// the response shows what stands there.
func TestReadsShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNodesOfOne(t)
		s.expect(t, 0, 1, "GET /m")
		s.expect(t, 0, 1, "GET /m", "If-None-Match: "+s.tag)
		time.Sleep(999 * time.Millisecond)
		s.expect(t, 0, 1, "GET /m")
		time.Sleep(time.Millisecond)
		s.expect(t, 1, 1, "GET /m")

		// What the response alone doesn't decide needs the store.
		s.expect(t, 1, 1, "GET /m", "If-Match: "+s.tag)
		s.expect(t, 1, 1, "GET /m", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT")
		s.expect(t, 1, 1, "GET /m", "Range: bytes=0-1")
		s.expect(t, 1, 0, "HEAD /m")

		// This node's own writes, and a purge, are known at once. The end of a write tells under
		// which epoch to store what the next response shows.
		for _, tt := range []struct {
			change func()
			reads  int
		}{
			{func() { s.expect(t, 0, 0, "PUT /m") }, 0},
			{func() { s.expect(t, 0, 0, "PUT /m", "If-Match: *") }, 0},
			{func() { _ = s.share.Invalidate(t.Context(), "/m", s.Terms) }, 1},
			{func() { _ = s.share.InvalidateAll(t.Context(), s.Terms) }, 1},
		} {
			s.expect(t, 0, 1, "GET /m")
			tt.change()
			if tags := s.stored(t); tags != nil {
				t.Errorf("the store still knows %v", tags)
			}
			s.expect(t, tt.reads, 1, "GET /m")
			if tags := s.stored(t); !slices.Equal(tags, []string{s.tag}) {
				t.Errorf("the client got %s, and the store knows %v", s.tag, tags)
			}
			s.expect(t, 1, 1, "GET /m")
		}
	})
}

// If a read that asked nothing of the store meets something else than what stood there, the
// store knows the present before the client gets its answer.
func TestReadsMeetChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *nodesOfOne)
		gets   int
		known  bool // the store knows the tag that the client got
	}{
		{"somebody wrote past the handler", func(_ *testing.T, s *nodesOfOne) {
			s.contents = []string{"second"}
		}, 1, true},
		{"the other node has read what somebody wrote", func(t *testing.T, s *nodesOfOne) {
			s.contents = []string{"second"}
			s.elsewhere(t, "GET /m")
		}, 1, true},
		{"the other node wrote, and somebody after it", func(t *testing.T, s *nodesOfOne) {
			s.elsewhere(t, "PUT /m")
			s.contents = []string{"second", "third"}
			s.elsewhere(t, "GET /m")
		}, 2, true},
		{"the response is older than a write of the other node", func(t *testing.T, s *nodesOfOne) {
			s.elsewhere(t, "PUT /m")
			s.contents = []string{"older", "newer"}
		}, 2, false},
		{"the other node writes", func(t *testing.T, s *nodesOfOne) {
			e, err := s.store.Store.Read(t.Context(), "/m", s.Terms)
			if err == nil {
				_, _, err = s.store.Store.Claim(t.Context(), "/m", e.Epoch, s.Terms)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.contents = []string{"second"}
		}, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNodesOfOne(t)
				first := s.tag
				tt.change(t, s)
				s.expect(t, 1, tt.gets, "GET /m")
				tags := s.stored(t)
				if slices.Contains(tags, s.tag) != tt.known || tt.known && len(tags) != 1 || s.tag == first {
					t.Errorf("the client got %s, before it was %s, and the store knows %v", s.tag, first, tags)
				}
			})
		})
	}
}

// What the remembered entry says of states that were replaced counts, however long the response
// takes.
func TestReadsDoNotBringThePastBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reads  func(t *testing.T, s *nodesOfOne) // after the write
		stored int
	}{
		{"the entry was read", func(t *testing.T, s *nodesOfOne) {
			s.contents = []string{"second", "second", "first"}
			s.expect(t, 0, 1, "GET /m")
			s.expect(t, 1, 1, "GET /m")
		}, 1},
		{"the end of the write told it", func(*testing.T, *nodesOfOne) {}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNodesOfOne(t)
				s.Terms.Lag = time.Second
				past := s.tag
				s.expect(t, 0, 0, "PUT /m", "If-Match: "+past)
				tt.reads(t, s)
				s.takes = 2 * time.Second
				s.expect(t, 1, 1, "GET /m")
				if tags := s.stored(t); s.tag != past || slices.Contains(tags, past) || len(tags) != tt.stored {
					t.Errorf("the client got %s, and the store knows %v", s.tag, tags)
				}
			})
		})
	}
}

// A read after this node's write stores nothing if the other node has written since, or is
// writing.
func TestReadsAfterTwoWrites(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *nodesOfOne){
		"it has written": func(t *testing.T, s *nodesOfOne) { s.elsewhere(t, "PUT /m") },
		"it has written, and read what somebody wrote after it": func(t *testing.T, s *nodesOfOne) {
			s.elsewhere(t, "PUT /m")
			s.contents = []string{"third"}
			s.elsewhere(t, "GET /m")
			s.contents = []string{"second", "third"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNodesOfOne(t)
				s.expect(t, 0, 0, "PUT /m", "If-Match: *")
				s.contents = []string{"second", "third"}
				change(t, s)
				s.expect(t, 1, 2, "GET /m")
				if tags := s.stored(t); slices.Contains(tags, s.tag) {
					t.Errorf("the client got %s, and the store knows %v", s.tag, tags)
				}
			})
		})
	}
}

// What is known of a representation grows old while the response with another one takes its
// time.
func TestAgesCountWhileAResponseIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNodesOfOne(t)
		s.Verify = Verification{Passing: true, FreshFor: 10 * time.Second}
		english, slow := "Hello", time.Duration(0)
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
			w.Header().Set("Vary", "Accept-Language")
			content := english
			if r.Header.Get("Accept-Language") == "de" {
				content = "Hallo"
				time.Sleep(slow)
			}
			_, err := w.Write([]byte(content))
			return err
		}
		get := func(language string) string {
			w, err := s.serve(requestOf(t.Context(), "GET /m", "Accept-Language: "+language))
			if err != nil {
				t.Fatal(err)
			}
			return w.Header().Get("Etag")
		}
		get("en")
		tag := get("en")
		slow = time.Minute
		get("de")
		english = "Hello, world" // past the handler
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "Accept-Language: en", "If-Match: "+tag))
		if err != nil || w.Code != http.StatusPreconditionFailed {
			t.Errorf("%v, %d, want 412", err, w.Code)
		}
	})
}

// Of two states that followed each other within a second, only the last one gets its date.
func TestNoDateForTwoStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNodesOfOne(t)
		s.expect(t, 0, 0, "PUT /m")
		s.expect(t, 0, 1, "GET /m")
		s.expect(t, 1, 1, "GET /m")
		s.Terms.Lag, s.other.Terms.Lag = 10*time.Second, 10*time.Second
		s.elsewhere(t, "PUT /m")
		s.contents = []string{"second"}
		s.elsewhere(t, "GET /m")
		time.Sleep(3 * time.Second)
		s.contents = []string{"first"} // the origin shows the past
		w, err := s.serve(requestOf(t.Context(), "GET /m"))
		if err != nil || w.Header().Get("Etag") != s.tag {
			t.Fatalf("%v, %v", err, w.Header())
		}
		date := w.Header().Get("Last-Modified")
		s.contents = []string{"second"}
		if w, err = s.other.serve(requestOf(t.Context(), "PUT /m", "If-Unmodified-Since: "+date)); date != "" && (err != nil || w.Code != http.StatusPreconditionFailed) {
			t.Errorf("who has read what was replaced, with the date %q, writes: %v, %d, want 412", date, err, w.Code)
		}
	})
}

// An entry that a write has left without a tag serves the next read for longer, unless others
// write.
func TestReadLongAfterAWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(t *testing.T, s *nodesOfOne)
		reads  int
	}{
		"nobody else writes": {func(*testing.T, *nodesOfOne) {}, 0},
		"the other node has written before": {func(t *testing.T, s *nodesOfOne) {
			s.elsewhere(t, "PUT /m")
			time.Sleep(time.Millisecond)
			s.expect(t, 1, 2, "GET /m")
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNodesOfOne(t)
				s.contents = []string{"second"}
				tt.before(t, s)
				s.expect(t, 0, 0, "PUT /m")
				s.contents = []string{"third"}
				time.Sleep(29 * time.Second)
				s.expect(t, tt.reads, 1, "GET /m")
				if tags := s.stored(t); !slices.Equal(tags, []string{s.tag}) {
					t.Errorf("the client got %s, and the store knows %v", s.tag, tags)
				}
			})
		})
	}
}
