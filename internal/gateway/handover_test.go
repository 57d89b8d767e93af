package gateway

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// handOver has two clients write /m, the second a moment after the first and with this condition.
// The backend takes 10 ms for a GET and 50 ms for a PUT. Then the store takes its time to hear
// of the end of the PUT. HandOver returns what the second client gets, and the requests to the
// backend after the first PUT, with the times at which they come.
func (s *site) handOver(t *testing.T, condition string, hears time.Duration) (w *client, events []string) {
	t.Helper()
	s.Verify.Passing = true
	begun, inner := time.Now(), s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		s.add("%s at %s", r.Method, time.Since(begun))
		if r.Method == http.MethodPut {
			time.Sleep(50 * time.Millisecond)
		} else {
			time.Sleep(10 * time.Millisecond)
		}
		return inner(w, r)
	}
	hook := s.store.fail
	s.store.fail = func(call string) error {
		if call == "settle /m" {
			time.Sleep(hears)
		}
		if hook != nil {
			return hook(call)
		}
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() {
		first, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
		if err != nil || first.Code != 204 {
			t.Errorf("the first: %v, status %d", err, first.Code)
		}
	})
	all.Go(func() {
		time.Sleep(time.Millisecond)
		defer func() {
			if v := recover(); v != nil {
				s.add("panic: %v", v)
			}
		}()
		w, _ = s.serve(requestOf(t.Context(), "PUT /m", condition))
	})
	all.Wait()
	list := s.take()
	if held := countOf(list, "claim /m") - countOf(list, "settle /m"); held != 0 {
		t.Errorf("%d claims weren't ended: %q", held, list)
	}
	list = slices.DeleteFunc(list, func(e string) bool { return !strings.Contains(e, " at ") && !strings.HasPrefix(e, "panic") })
	return w, list[3:] // the GET of each, and the first PUT
}

// A write that waits for a different one asks the origin as soon as that is over, while the store
// hears of it. It asks again, under its claim, if anything has changed since, or if that was long
// ago.
func TestHandOver(t *testing.T) {
	for name, tt := range map[string]struct {
		hears time.Duration
		hook  func(*site, string) error
		want  []string
	}{
		"nothing happens": {
			30 * time.Millisecond, nil,
			[]string{"GET at 60ms", "PUT at 90ms"},
		},
		"the resource is changed elsewhere": {
			30 * time.Millisecond, func(s *site, call string) error {
				if call == "settle /m" {
					return s.store.Store.Invalidate(t.Context(), "/m", s.Terms)
				}
				return nil
			},
			[]string{"GET at 60ms", "GET at 90ms", "PUT at 100ms"},
		},
		"the store is slow": {
			2 * time.Second, nil,
			[]string{"GET at 60ms", "GET at 2.06s", "PUT at 2.07s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				if tt.hook != nil {
					s.store.fail = func(call string) error { return tt.hook(s, call) }
				}
				w, got := s.handOver(t, "If-Match: *", tt.hears)
				if w.Code != 204 {
					t.Errorf("status %d", w.Code)
				}
				expectEvents(t, got, tt.want)
			})
		})
	}
}

// The origin isn't asked early if the answer may depend on more than the claim, or may not be
// needed.
func TestHandsOverNothing(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *site){
		"the resource is in a group": func(_ *testing.T, s *site) {
			inner := s.origin
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Cache-Groups", `"g"`)
				return inner(w, r)
			}
		},
		"a different resource changes, too": func(t *testing.T, s *site) { s.affects(t, "/m", "/a") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				prepare(t, s)
				s.tagOf(t, "/m")
				w, got := s.handOver(t, "If-Match: *", 30*time.Millisecond)
				if w.Code != 204 {
					t.Errorf("status %d", w.Code)
				}
				if slices.Contains(got, "GET at 60ms") {
					t.Errorf("asked early: %q", got)
				}
			})
		})
	}
}

// A claim that a write has taken over is given back if what the other write has led to refutes
// the condition.
func TestHandOverToRefuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newSite()
		other.origin = answering("after", 204)
		after := other.tagOf(t, "/m")
		s := newSite()
		s.WriteETag = WriteETagAlways
		var content atomic.Value
		content.Store("before")
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPut {
				content.Store("after")
			}
			return answering(content.Load().(string), 204)(w, r)
		}
		w, got := s.handOver(t, "If-None-Match: "+after, 30*time.Millisecond)
		if w.Code != 412 {
			t.Errorf("status %d", w.Code)
		}
		// One of the two is for the new tag.
		expectEvents(t, got, []string{"GET at 60ms", "GET at 70ms"})
	})
}

// If the handlers behind this one panic while the origin is asked early, so does the request.
func TestHandOverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		var asked atomic.Int32
		s.meanwhile(func() {
			if asked.Add(1) == 3 {
				panic("a bug")
			}
		})
		_, got := s.handOver(t, "If-Match: *", 30*time.Millisecond)
		expectEvents(t, got, []string{"GET at 60ms", "panic: a bug"})
	})
}

func countOf(list []string, event string) (n int) {
	for _, one := range list {
		if one == event {
			n++
		}
	}
	return n
}
