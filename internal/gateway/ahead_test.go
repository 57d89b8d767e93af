package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// meanwhile calls f each time when the origin is asked, before it answers.
func (s *site) meanwhile(f func()) {
	inner := s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			f()
		}
		return inner(w, r)
	}
}

// pass takes a pass on /m beside the handler, as a write without a condition on a
// different node does.
func (s *site) pass(t *testing.T) etagcache.Grant {
	t.Helper()
	grant, _, err := s.store.Store.Pass(t.Context(), "/m", s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// Of a URL that shows nothing, no condition can hold. Such a write is answered at once and
// takes no claim, also while other writes are in flight, which it doesn't hold up.
func TestHopeless(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Minute} {
		for status, want := range map[int]int{400: 400, 401: 401, 404: 412, 405: 405, 422: 503, 500: 503} {
			for _, busy := range []bool{false, true} {
				if busy && want == 412 && lag > 0 {
					continue // it may exist once the write in flight has ended
				}
				t.Run(fmt.Sprintf("lag %s, %d, busy: %v", lag, status, busy), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newSite()
						s.Terms.Lag = lag
						s.origin = refusing(status)
						if busy {
							s.pass(t)
						}
						begun := time.Now()
						for range 3 {
							w, err := s.serve(requestOf(t.Context(), "POST /m", `If-Match: "stale"`))
							if err != nil || w.Code != want {
								t.Fatalf("%v, status %d, want %d", err, w.Code, want)
							}
						}
						list := s.take()
						if slices.Contains(list, "claim /m") || slices.Contains(list, "POST /m") {
							t.Errorf("a condition that can't hold takes a turn: %q", list)
						}
						w, err := s.serve(requestOf(t.Context(), "POST /m"))
						if err != nil || w.Code != 204 || time.Since(begun) > 0 {
							t.Errorf("%v, a write without a condition gets %d after %s", err, w.Code, time.Since(begun))
						}
						expectEvents(t, s.take(), []string{"pass /m", "POST /m", "settle /m", "answer 204"})
					})
				})
			}
		}
	}
}

// What the origin shows before the claim counts under it: the origin isn't asked twice.
// It doesn't count once anything has happened to the resource, or to a group that it may be
// in: then the origin is asked again, under the claim.
func TestAskedAhead(t *testing.T) {
	again := []string{"GET /m", "claim /m", "GET /m", "PUT /m", "settle /m", "answer 204"}
	for name, tt := range map[string]struct {
		groups    []string // of the resource, when it is read first and afterwards
		meanwhile func(*testing.T, *site)
		want      []string
	}{
		"nothing happens":               {nil, nil, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}},
		"it was changed elsewhere":      {nil, invalidating("/m"), again},
		"a different one was changed":   {nil, invalidating("/n"), []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}},
		"a different write comes":       {nil, func(t *testing.T, s *site) { s.settle(t, s.pass(t)) }, again},
		"its group doesn't change":      {[]string{`"cars"`, `"cars"`}, nil, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}},
		"its group changes":             {[]string{`"cars"`, `"cars"`}, invalidating("group cars"), again},
		"it is in a group not yet read": {[]string{`"cars"`, `"cars", "vans"`}, nil, again},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			groups := ""
			inner := s.origin
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				if groups != "" {
					w.Header().Set("Cache-Groups", groups)
				}
				return inner(w, r)
			}
			if tt.groups != nil {
				groups = tt.groups[0]
				s.tagOf(t, "/m") // names its group
				s.tagOf(t, "/m")
				if err := s.store.Store.Invalidate(t.Context(), "group cars", s.Terms); err != nil {
					t.Fatal(err) // the condition isn't known to hold any more
				}
				groups = tt.groups[1]
			}
			if tt.meanwhile != nil {
				once := true
				s.meanwhile(func() {
					if once {
						once = false
						tt.meanwhile(t, s)
					}
				})
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
			if err != nil || w.Code != 204 {
				t.Errorf("%v, status %d", err, w.Code)
			}
			expectEvents(t, s.take(), tt.want)
		})
	}
}

// invalidating invalidates an entry of the store, as a different node does.
func invalidating(key string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		t.Helper()
		if err := s.store.Store.Invalidate(t.Context(), key, s.Terms); err != nil {
			t.Error(err)
		}
	}
}

// settle ends a write beside the handler.
func (s *site) settle(t *testing.T, g etagcache.Grant) {
	t.Helper()
	if err := s.store.Store.Settle(t.Context(), g, etagcache.Settlement{}, s.Terms); err != nil {
		t.Error(err)
	}
}

// While the origin may show the past, it refutes a condition only if nothing has happened
// to the resource since it was looked up. It is asked a few times, and then nobody can tell.
// If the origin shows the present, its word counts at once.
func TestRefutedAhead(t *testing.T) {
	for name, tt := range map[string]struct {
		lag     time.Duration
		replay  bool
		changes int // how often the resource changes while the origin is asked
		outcome answer.Outcome
		want    []string
	}{
		"nothing happens":             {time.Minute, false, 0, answer.Failed, []string{"GET /m", "answer 412"}},
		"a change":                    {time.Minute, false, 1, answer.Failed, []string{"GET /m", "GET /m", "answer 412"}},
		"changes":                     {time.Minute, false, maxAhead, answer.Conflict, []string{"GET /m", "GET /m", "GET /m", "answer 503"}},
		"the present":                 {0, false, 1, answer.Failed, []string{"GET /m", "answer 412"}},
		"it may have been sent again": {0, true, 1, answer.Failed, []string{"GET /m", "GET /m", "answer 412"}},
		"but nothing can tell":        {0, true, maxAhead, answer.Failed, []string{"GET /m", "GET /m", "GET /m", "answer 412"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.Terms.Lag, s.Replay = tt.lag, tt.replay
			left := tt.changes
			s.meanwhile(func() {
				if left > 0 {
					left--
					invalidating("/m")(t, s)
				}
			})
			r := requestOf(t.Context(), "PUT /m", `If-Match: "stale"`)
			w, err := s.serve(r)
			if err != nil || outcome(r) != string(tt.outcome) {
				t.Errorf("%v, status %d, outcome %s", err, w.Code, outcome(r))
			}
			list := s.take()
			expectEvents(t, list, tt.want)
			releasedBeforeAnswered(t, list)
		})
	}
}

// If the origin refutes a condition while a write is in flight, and may show the past, the
// condition may hold for what that write leads to: it is decided afterwards.
func TestRefutedAheadDuringWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Terms.Lag = time.Minute
		content := "before"
		s.origin = func(w http.ResponseWriter, r *http.Request) error { return answering(content, 204)(w, r) }
		other := newSite()
		other.origin = answering("after", 204)
		after := other.tagOf(t, "/m")
		grant := s.pass(t)
		time.AfterFunc(time.Second, func() {
			content = "after"
			s.settle(t, grant)
		})
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+after))
		if err != nil || w.Code != 204 {
			t.Errorf("%v, status %d", err, w.Code)
		}
		expectEvents(t, s.take(), []string{"GET /m", "GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"})
	})
}

// While a write waits to find out whether it earns a turn, it keeps nobody waiting. If it
// can't find out, it is refused.
func TestWaitsWithoutReserving(t *testing.T) {
	for name, tt := range map[string]struct {
		fields []string
		ends   bool // whether the write in flight ends
		status int
	}{
		"refuted by the origin":                      {[]string{`If-Match: "stale"`}, true, 412},
		"refuted by the origin, and nobody can tell": {[]string{`If-Match: "stale"`}, false, 503},
		"signed": {[]string{`If-Match: "stale"`, "Signature-Input: x"}, true, 412},
		"with credentials that are good for one request only": {[]string{`If-Match: "stale"`, "Authorization: Digest x"}, true, 412},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				s.Signed = []resource.Scheme{resource.RFC9421}
				s.Terms.Lag = time.Minute
				grant := s.pass(t)
				begun, done := time.Now(), make(chan int)
				go func() {
					w, err := s.serve(requestOf(t.Context(), "POST /m", tt.fields...))
					if err != nil {
						t.Error(err)
					}
					done <- w.Code
				}()
				synctest.Wait()
				s.take()
				for range 3 {
					if w, err := s.serve(requestOf(t.Context(), "POST /m")); err != nil || w.Code != 204 || time.Since(begun) > 0 {
						t.Fatalf("%v, a write without a condition gets %d after %s", err, w.Code, time.Since(begun))
					}
				}
				s.take()
				if tt.ends {
					s.settle(t, grant)
				}
				if status := <-done; status != tt.status {
					t.Errorf("status %d, want %d", status, tt.status)
				}
				if took := time.Since(begun); tt.ends && took > 0 || took > s.Wait {
					t.Errorf("answered after %s", took)
				}
			})
		})
	}
}

// A write that needs to ask the origin once its turn has come gives up its turn first.
func TestAskedOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.affects(t, "/m", "/a")
		s.tagOf(t, "/m")
		x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
		view, err := x.reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		other, _, err := s.store.Store.Claim(t.Context(), "/m", view.Entry().Epoch, s.Terms)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { s.settle(t, other) })
		s.origin = refusing(405)
		w, err := s.serve(requestOf(t.Context(), "PUT /m", `If-Match: "stale"`))
		if err != nil || w.Code != 405 {
			t.Errorf("%v, status %d", err, w.Code)
		}
		list := s.take()
		expectEvents(t, list, []string{"pass /a", "settle /a", "GET /m", "answer 405"})
		releasedBeforeAnswered(t, list)
	})
}

// What the origin showed before a different write came isn't stored after that one.
func TestShownBeforeADifferentWrite(t *testing.T) {
	s := newSite()
	s.origin = answering("before", 409)
	once := true
	s.meanwhile(func() {
		if !once {
			return
		}
		once = false
		x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
		view, err := x.reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		o, _ := view.Observation(present("after"), nil)
		if err := s.store.Store.Settle(t.Context(), s.claim(t, "/m"), etagcache.Settlement{Observation: &o}, s.Terms); err != nil {
			t.Fatal(err)
		}
	})
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
	if err != nil || w.Code != 409 {
		t.Fatalf("%v, status %d", err, w.Code)
	}
	expectEvents(t, s.take(), []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 409"})
	x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
	if view, err := x.reader.Read(); err != nil || view.Stored().ETag != tag("after") {
		t.Errorf("%v, stored %v", err, view.Stored().ETag)
	}
}

// forgetful is a store that has lost its data: until the grace is over, a write may be in
// flight that it has forgotten, and it grants nothing. The epoch doesn't move when the grace
// ends.
type forgetful struct {
	etagcache.Store
	ends time.Time
}

func (s forgetful) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	entry, err := s.Store.Read(ctx, key, t)
	entry.Busy = max(entry.Busy, time.Until(s.ends))
	return entry, err
}

func (s forgetful) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	if time.Until(s.ends) > 0 {
		entry, _ := s.Read(ctx, key, t)
		return etagcache.Grant{}, entry, etagcache.ErrBusy
	}
	return s.Store.Claim(ctx, key, epoch, t, replaces...)
}

func (s forgetful) Wait(context.Context, string, etagcache.Entry) error {
	time.Sleep(time.Until(s.ends))
	return nil
}

// What the origin showed during a grace doesn't count after it: a write that the store has
// forgotten may have landed in between.
func TestAskedDuringGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.store.Store = forgetful{s.store.Store, time.Now().Add(time.Second)}
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
		if err != nil || w.Code != 204 {
			t.Errorf("%v, status %d", err, w.Code)
		}
		expectEvents(t, s.take(), []string{"GET /m", "claim /m", "GET /m", "PUT /m", "settle /m", "answer 204"})
	})
}
