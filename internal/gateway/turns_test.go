package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// elsewhere returns a site that shares the store of s, as a different node does.
func (s *site) elsewhere() *site {
	other := *s
	other.share = storeshare.New(s.store, zap.NewNop())
	return &other
}

// writeInFlight claims /m for a write on a different node, which ends after a time. That write
// leads to what settlement says.
func (s *site) writeInFlight(t *testing.T, lasts time.Duration, settlement etagcache.Settlement) {
	t.Helper()
	grant := s.claim(t, "/m")
	time.AfterFunc(lasts, func() {
		if err := s.store.Store.Settle(t.Context(), grant, settlement, s.Terms); err != nil {
			t.Error(err)
		}
	})
}

// A write whose condition holds for what is stored asks the origin before it takes a claim,
// and once only, unless something happens in between.
func TestConfirmedAhead(t *testing.T) {
	once := []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}
	again := []string{"GET /m", "claim /m", "GET /m", "PUT /m", "settle /m", "answer 204"}
	for name, tt := range map[string]struct {
		prepare   func(*site)
		meanwhile func(*testing.T, *site)
		want      []string
	}{
		"nothing happens":   {nil, nil, once},
		"it is the version": {func(s *site) { s.Deriver.Sources = []proxyhooks.Source{{Kind: proxyhooks.SourceVersion}} }, nil, once},
		"others write, and the backend refuses that": {nil, func(t *testing.T, s *site) {
			if err := s.store.Store.Settle(t.Context(), s.claim(t, "/m"), etagcache.Settlement{Unchanged: true}, s.Terms); err != nil {
				t.Error(err)
			}
		}, again},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.Verify.Passing = true
			if tt.prepare != nil {
				tt.prepare(s)
			}
			tag := s.tagOf(t, "/m")
			if tt.meanwhile != nil {
				first := true
				s.meanwhile(func() {
					if first {
						first = false
						tt.meanwhile(t, s)
					}
				})
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+tag))
			if err != nil || w.Code != 204 {
				t.Errorf("%v, status %d", err, w.Code)
			}
			expectEvents(t, s.take(), tt.want)
		})
	}
}

// What the origin showed long before the claim, because a different resource was locked,
// doesn't count under it: somebody who bypasses the handler may have written since.
func TestShownLongAgo(t *testing.T) {
	for _, locked := range []time.Duration{shownFor / 2, 2 * shownFor} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite()
			s.Verify.Passing = true
			s.affects(t, "/m", "/a")
			tag := s.tagOf(t, "/m")
			s.tagOf(t, "/a")
			grant := s.claim(t, "/a")
			var changed atomic.Bool
			before, after := s.origin, answering("changed", 204)
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				if changed.Load() {
					return after(w, r)
				}
				return before(w, r)
			}
			time.AfterFunc(locked, func() {
				changed.Store(true)
				s.settle(t, grant)
			})
			w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+tag))
			want := 204
			if locked > shownFor {
				want = 412
			}
			if err != nil || w.Code != want {
				t.Errorf("locked for %s: %v, status %d, want %d", locked, err, w.Code, want)
			}
			releasedBeforeAnswered(t, s.take())
		})
	}
}

// While a conditional write is in flight, others wait for it, without a place in the queue
// and without a claim. Afterwards the store refutes those that had the same tag, and the
// origin isn't asked. A write that has a pass need not wait for them.
func TestLateWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Verify.Passing = true
		tag := s.tagOf(t, "/m")
		x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
		view, err := x.reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		o, _ := view.Observation(present("after"), nil)
		s.writeInFlight(t, time.Second, etagcache.Settlement{Observation: &o})
		nodes := []*site{s.elsewhere(), s.elsewhere()}
		begun, done := time.Now(), make(chan int)
		const writers = 50
		for i := range writers {
			go func() {
				w, err := nodes[i%2].serve(requestOf(t.Context(), "PUT /m", "If-Match: "+tag))
				if err != nil {
					t.Error(err)
				}
				done <- w.Code
			}()
		}
		synctest.Wait()
		for _, n := range nodes {
			release, waited, err := n.share.Queues.Acquire(t.Context(), "/m", storeshare.Client{})
			if err != nil || waited {
				t.Errorf("somebody has the turn: %v, %v", waited, err)
			}
			release()
		}
		for range writers {
			if got := <-done; got != 412 {
				t.Errorf("a late writer gets %d", got)
			}
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it took %s", took)
		}
		if list := s.take(); slices.ContainsFunc(list, func(event string) bool { return !strings.HasPrefix(event, "answer") }) {
			t.Errorf("more than answers: %q", list)
		}
	})
}

// A client to whom the origin doesn't show the resource gets what the origin says, and never
// a claim, whether a different write is in flight or not.
func TestStrangersGetNoTurn(t *testing.T) {
	for _, busy := range []bool{false, true} {
		for _, verify := range []Verification{{Passing: true}, {Passing: true, Refused: true}} {
			t.Run(fmt.Sprintf("%+v, busy: %v", verify, busy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite()
					s.Verify = verify
					s.tagOf(t, "/m")
					s.origin = refusing(401)
					begun := time.Now()
					if busy {
						s.writeInFlight(t, time.Second, etagcache.Settlement{Unchanged: true})
						s = s.elsewhere()
					}
					done := make(chan int)
					for range 20 {
						go func() {
							w, _ := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
							done <- w.Code
						}()
					}
					for range 20 {
						if got := <-done; got != 401 {
							t.Errorf("got %d", got)
						}
					}
					if took := time.Since(begun); busy && took != time.Second || !busy && took != 0 {
						t.Errorf("took %s", took)
					}
					asked := 0
					for _, event := range s.take() {
						switch event {
						case "GET /m":
							asked++
						case "answer 401":
						default:
							t.Errorf("%s", event)
						}
					}
					if asked != 20 {
						t.Errorf("the origin was asked %d times", asked)
					}
				})
			})
		}
	}
}

// A write isn't kept waiting by one conditional write after another: once it has waited for
// one, it asks the origin while the next is in flight, and takes its place in the queue.
func TestOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Verify.Passing = true
		s.tagOf(t, "/m")
		s.writeInFlight(t, time.Second, etagcache.Settlement{Unchanged: true})
		s.store.fail = s.nextInFlight(t)
		n, begun := s.elsewhere(), time.Now()
		n.origin = func(w http.ResponseWriter, r *http.Request) error {
			n.add("after %s", time.Since(begun))
			return answering("content", 204)(w, r)
		}
		w, err := n.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
		if err != nil || w.Code != 204 {
			t.Errorf("%v, status %d", err, w.Code)
		}
		expectEvents(t, s.take(), []string{
			"GET /m", "after 1s", // it has earned its place
			"claim /m", "GET /m", "after 2s", "PUT /m", "after 2s", "settle /m", "answer 204",
		})
	})
}

// If the origin leaves open, while others write, whether such a write earns its place, it
// takes one all the same, in order to look at the resource when its turn has come.
func TestTurnToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Verify.Passing, s.Terms.Lag = true, time.Minute
		s.tagOf(t, "/m")
		s.writeInFlight(t, time.Second, etagcache.Settlement{Unchanged: true})
		s.store.fail = s.nextInFlight(t)
		n, done := s.elsewhere(), make(chan int)
		go func() {
			w, err := n.serve(requestOf(t.Context(), "PUT /m", `If-Match: "stale"`))
			if err != nil {
				t.Error(err)
			}
			done <- w.Code
		}()
		for second, want := range []bool{false, true} { // its turn: while the first is in flight, and the second
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			release, _, err := n.share.Queues.Acquire(ended, "/m", storeshare.Client{})
			if err == nil {
				release()
			}
			if got := err != nil; got != want {
				t.Errorf("it has the turn in second %d: %v", second, got)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got := <-done; got != 412 {
			t.Errorf("got %d", got)
		}
		expectEvents(t, s.take(), []string{"GET /m", "answer 412"})
	})
}

// nextInFlight claims /m for a second write, on a different node, as soon as the first has
// ended after a second. It is called before the store is.
func (s *site) nextInFlight(t *testing.T) func(call string) error {
	first := time.Now()
	return func(call string) error {
		if call == "read /m" && time.Since(first) == time.Second {
			first = time.Time{}
			s.writeInFlight(t, time.Second, etagcache.Settlement{Unchanged: true})
		}
		return nil
	}
}

// No write is refused because of what a node only remembers. Here a different node has seen
// a newer state, and the date that this one made. With what this node remembers, that state
// would seem to be younger.
func TestRememberedRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.Verify.Passing = true
		s.tagOf(t, "/m")
		time.Sleep(time.Minute)
		s.tagOf(t, "/m") // remembers the date
		s.origin = answering("changed", 204)
		s.elsewhere().tagOf(t, "/m")
		time.Sleep(time.Minute)
		read, err := s.elsewhere().serve(requestOf(t.Context(), "GET /m"))
		if err != nil || read.Header().Get("Last-Modified") == "" {
			t.Fatalf("%v, %v", err, read.Header())
		}
		s.take()
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Unmodified-Since: "+read.Header().Get("Last-Modified")))
		if err != nil || w.Code != 204 {
			t.Errorf("%v, status %d: %s", err, w.Code, w.Body)
		}
		expectEvents(t, s.take(), []string{"GET /m", "GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"})
	})
}

// An origin that can't be asked while others write leaves the condition open for no longer
// than that. What the store then says counts.
func TestBrokenWhileOthersWrite(t *testing.T) {
	for _, changes := range []bool{false, true} {
		s := newSite()
		s.Verify.Passing = true
		tag := s.tagOf(t, "/m")
		s.origin = refusing(500)
		want, events := 503, []string{"GET /m", "answer 503"}
		if changes {
			want, events = 412, []string{"GET /m", "answer 412"}
			s.meanwhile(func() {
				x, _ := s.elsewhere().exchangeOf(requestOf(t.Context(), "GET /m"))
				view, err := x.reader.Read()
				if err != nil {
					t.Fatal(err)
				}
				o, _ := view.Observation(present("after"), nil)
				if err := s.store.Store.Settle(t.Context(), s.claim(t, "/m"), etagcache.Settlement{Observation: &o}, s.Terms); err != nil {
					t.Error(err)
				}
			})
		}
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+tag))
		if err != nil || w.Code != want {
			t.Errorf("changes %v: %v, status %d, want %d", changes, err, w.Code, want)
		}
		expectEvents(t, s.take(), events)
	}
}
