package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// handOver has two clients write /m, the second a moment after the first and with these fields.
// The backend takes 10 ms for a GET and 50 ms for a PUT. Then the store takes its time to hear
// of the end of the PUT. HandOver returns what the second client gets, and the requests to the
// backend after the first PUT, with the times at which they come.
func (s *site) handOver(t *testing.T, hears time.Duration, fields ...string) (w *client, events []string) {
	t.Helper()
	begun, inner := time.Now(), s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		with := ""
		if c, err := r.Cookie("s"); err == nil && c.Value != "old" {
			with = " with s=" + c.Value
		}
		s.add("%s at %s%s", r.Method, time.Since(begun), with)
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
		w, _ = s.serve(requestOf(t.Context(), "PUT /m", fields...))
	})
	all.Wait()
	list := s.take()
	if held := countOf(list, "claim /m") - countOf(list, "settle /m"); held != 0 {
		t.Errorf("%d claims weren't ended: %q", held, list)
	}
	list = slices.DeleteFunc(list, func(e string) bool { return !strings.Contains(e, " at ") && !strings.HasPrefix(e, "panic") })
	first := slices.IndexFunc(list, func(e string) bool { return strings.HasPrefix(e, "PUT at ") })
	return w, list[first+1:]
}

// A write that waits for a different one asks the origin as soon as that is over, while the store
// hears of it. It asks again, under its claim, if anything has changed since, or if that was long
// ago.
func TestHandOver(t *testing.T) {
	for name, tt := range map[string]struct {
		hears time.Duration
		hook  func(*site, string) error
		early http.Header // of the answer to the early GET
		want  []string
	}{
		"nothing happens": {
			30 * time.Millisecond, nil, nil,
			[]string{"GET at 60ms", "PUT at 90ms"},
		},
		"the resource is changed elsewhere": {
			30 * time.Millisecond, func(s *site, call string) error {
				if call == "settle /m" {
					return s.store.Store.Invalidate(t.Context(), "/m", s.Terms)
				}
				return nil
			},
			http.Header{"Set-Cookie": {"s=new; Path=/"}},
			[]string{"GET at 60ms", "GET at 90ms with s=new", "PUT at 100ms with s=new"},
		},
		"the store is slow": {
			2 * time.Second, nil, nil,
			[]string{"GET at 60ms", "GET at 2.06s", "PUT at 2.07s"},
		},
		"the answer is slow": {
			30 * time.Millisecond, nil,
			http.Header{"Takes": {"1s"}},
			[]string{"GET at 60ms", "PUT at 1.06s"},
		},
		"the node writes without the store": {
			30 * time.Millisecond, func(s *site, call string) error {
				if call == "settle /m" {
					s.share.WriteWithoutStore([]string{"/other"})()
					return s.share.CatchUp(t.Context(), s.Terms)
				}
				return nil
			},
			nil,
			[]string{"GET at 60ms", "GET at 90ms", "PUT at 100ms"},
		},
		"the resource turns out to be in a group": {
			30 * time.Millisecond, nil,
			http.Header{"Cache-Groups": {`"g"`}},
			[]string{"GET at 60ms", "GET at 90ms", "PUT at 100ms"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				s.Verify.Passing = true
				var asked atomic.Int32
				inner := s.origin
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					if r.Method == http.MethodGet && asked.Add(1) == 3 {
						maps.Copy(w.Header(), tt.early)
						takes, _ := time.ParseDuration(tt.early.Get("Takes"))
						time.Sleep(max(0, takes-10*time.Millisecond))
					}
					return inner(w, r)
				}
				if tt.hook != nil {
					s.store.fail = func(call string) error { return tt.hook(s, call) }
				}
				w, got := s.handOver(t, tt.hears, "If-Match: *", "Cookie: s=old")
				if w.Code != 204 {
					t.Errorf("status %d", w.Code)
				}
				expectEvents(t, got, tt.want)
			})
		})
	}
}

// A state that was replaced before may be what the origin shows early. That it is no longer spent
// when the claim is granted doesn't make it the present.
func TestHandOverShowsThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newSite()
		other.origin = answering("past", 204)
		past, _ := validator.ParseETag(other.tagOf(t, "/m"))
		s := newSite()
		s.Verify.Passing, s.Terms.Lag = true, 100*time.Millisecond
		replaced := etagcache.Settlement{Replaced: []string{present(past.Opaque).Identity()}}
		if err := s.store.Store.Settle(t.Context(), s.claim(t, "/m"), replaced, s.Terms); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Millisecond) // so it is spent until 75 ms after the begin
		var asked atomic.Int32
		var written atomic.Bool
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			switch {
			case r.Method != http.MethodGet:
				written.Store(true)
			case asked.Add(1) == 3:
				return answering("past", 204)(w, r)
			}
			return answering(fmt.Sprint("written: ", written.Load()), 204)(w, r)
		}
		w, got := s.handOver(t, 30*time.Millisecond, "If-Match: *")
		if w.Code != 204 {
			t.Errorf("status %d", w.Code)
		}
		expectEvents(t, got, []string{"GET at 60ms", "GET at 90ms", "PUT at 100ms"})
	})
}

// The origin isn't asked early if the answer may depend on more than the claim, or isn't needed.
func TestHandsOverNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *site)
		want    []string
	}{
		"the resource is in a group": {
			func(_ *testing.T, s *site) {
				inner := s.origin
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					w.Header().Set("Cache-Groups", `"g"`)
					return inner(w, r)
				}
			},
			[]string{"GET at 90ms", "PUT at 100ms"},
		},
		"what is stored decides": {
			func(_ *testing.T, s *site) { s.Verify.Passing, s.WriteETag = false, WriteETagAlways },
			[]string{"GET at 50ms", "PUT at 90ms", "GET at 140ms"}, // each GET is for a new tag
		},
		"a different resource changes, too": {
			func(t *testing.T, s *site) { s.affects(t, "/m", "/a") },
			[]string{"GET at 90ms", "PUT at 100ms"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				s.Verify.Passing = true
				tt.prepare(t, s)
				s.tagOf(t, "/m")
				w, got := s.handOver(t, 30*time.Millisecond, "If-Match: *")
				if w.Code != 204 {
					t.Errorf("status %d", w.Code)
				}
				expectEvents(t, got, tt.want)
			})
		})
	}
}

// A write whose condition is refuted by what the other write has led to asks nobody, and gets no
// claim.
func TestHandOverToRefuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newSite()
		other.origin = answering("after", 204)
		after := other.tagOf(t, "/m")
		s := newSite()
		s.Verify.Passing, s.WriteETag = true, WriteETagAlways
		var content atomic.Value
		content.Store("before")
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPut {
				content.Store("after")
			}
			return answering(content.Load().(string), 204)(w, r)
		}
		w, got := s.handOver(t, 30*time.Millisecond, "If-None-Match: "+after)
		if w.Code != 412 {
			t.Errorf("status %d", w.Code)
		}
		expectEvents(t, got, []string{"GET at 60ms"}) // for the new tag
	})
}

// If the handlers behind this one panic while the origin is asked early, so does the request.
func TestHandOverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Verify.Passing = true
		var asked atomic.Int32
		s.meanwhile(func() {
			if asked.Add(1) == 3 {
				panic("a bug")
			}
		})
		_, got := s.handOver(t, 30*time.Millisecond, "If-Match: *")
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
