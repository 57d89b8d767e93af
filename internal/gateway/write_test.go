package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

func unavailable(call string) func(string) error {
	return func(got string) error {
		if strings.HasPrefix(got, call) {
			return etagcache.ErrUnavailable
		}
		return nil
	}
}

// Whatever is decided about a write, what it took is given back once, before the
// client is answered; and the backend gets only what was decided to be forwarded.
func TestDecisions(t *testing.T) {
	const (
		current = `If-Match: CURRENT` // stands for the current tag
		signed  = "Signature-Input: x"
	)
	verify := func(_ *testing.T, s *site) { s.Verify.Passing = true }
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, *site) // after the resource was read once
		fields  []string
		events  []string
		status  int // of the answer, or of the error if that is below zero
		outcome answer.Outcome
	}{
		// Forward.
		{"the condition holds", nil, []string{current}, []string{"claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
		{"and is verified at the origin", verify, []string{current}, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
		{"what is known is older than it may be", func(_ *testing.T, s *site) {
			s.Verify = Verification{true, false, time.Minute}
			time.Sleep(time.Minute)
		}, []string{current}, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
		{"what is known is young enough", func(_ *testing.T, s *site) {
			s.Verify = Verification{true, false, time.Minute}
			time.Sleep(time.Minute - 1)
		}, []string{current}, []string{"claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
		{"nothing is known", func(t *testing.T, s *site) {
			if err := s.share.InvalidateAll(t.Context(), s.Terms); err != nil {
				t.Fatal(err)
			}
		}, []string{current}, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
		{"others are changed", func(t *testing.T, s *site) { s.affects(t, "/m", "/a", "/z/**") }, []string{current}, []string{"pass /a", "claim /m", "pass /z", "claim lock /z", "pass age /z", "PUT /m", "settle age /z", "settle lock /z", "settle /z", "settle /a", "settle /m", "answer 204"}, 204, answer.Passed},
		{"the backend refuses", func(_ *testing.T, s *site) { s.origin = answering("content", 409) }, []string{current}, []string{"claim /m", "PUT /m", "settle /m", "answer 409"}, 409, answer.Passed},
		{"no condition", nil, nil, []string{"pass /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Unconditional},
		{"no condition, forwarded at once", func(_ *testing.T, s *site) { s.ForwardUnconditional = true }, nil, []string{"invalidate /m", "PUT /m", "invalidate /m", "answer 204"}, 204, answer.Unconditional},

		// Refuted.
		{"what is known refutes the condition", nil, []string{`If-Match: "stale"`}, []string{"answer 412"}, 412, answer.Failed},
		{"the origin is asked before a refusal", func(_ *testing.T, s *site) { s.Verify = Verification{Passing: true, Refused: true} }, []string{`If-Match: "stale"`}, []string{"GET /m", "answer 412"}, 412, answer.Failed},
		{"the origin refutes the condition", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = answering("changed", 204) }, []string{current}, []string{"GET /m", "answer 412"}, 412, answer.Failed},
		{"no state can satisfy the condition", unasked, []string{`If-Match:`}, []string{"answer 412"}, 412, answer.Failed},

		// Refuse.
		{"a condition is required", func(_ *testing.T, s *site) { s.Require = []string{"PUT"} }, nil, []string{"answer 428"}, 428, answer.Required},
		{"the origin can't be asked", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = refusing(502) }, []string{current}, []string{"GET /m", "answer 503"}, 503, answer.Unavailable},
		{"the origin's answer doesn't tell", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = refusing(406) }, []string{current}, []string{"GET /m", "answer 406"}, 406, answer.Unverifiable},
		{"a signed request names what was replaced", func(t *testing.T, s *site) {
			s.Signed = []resource.Scheme{resource.RFC9421}
			s.Terms.Lag = time.Minute
			read, err := s.serve(requestOf(t.Context(), "GET /m", signed))
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+read.Header().Get("ETag"), signed))
			if err != nil || w.Code != 204 {
				t.Fatalf("status %d, %v", w.Code, err)
			}
			s.origin = refusing(403)
			s.take()
		}, []string{current, signed}, []string{"GET /m", "answer 412"}, 412, answer.Failed},
		{"the pass is lost before the write is forwarded", func(t *testing.T, s *site) {
			s.affects(t, "/m", "/z")
			s.Wait = time.Minute
			s.store.fail = func(call string) error {
				switch call {
				case "renew /m":
					return etagcache.ErrLost
				case "pass /z":
					time.Sleep(20 * time.Second)
				}
				return nil
			}
		}, nil, []string{"pass /m", "pass /z", "settle /z", "settle /m", "answer 503"}, 503, answer.Unavailable},
		{"a different write doesn't end", func(t *testing.T, s *site) { occupy(t, s) }, []string{current}, []string{"answer 503"}, 503, answer.Conflict},
		{"a different write doesn't end, and there is no condition", func(t *testing.T, s *site) { occupy(t, s) }, nil, []string{"answer 503"}, 503, answer.Conflict},
		{"the claim is lost before the write is forwarded", func(_ *testing.T, s *site) {
			s.Verify.Passing = true
			s.store.fail = func(call string) error {
				if call == "renew /m" {
					return etagcache.ErrLost
				}
				return nil
			}
			s.origin = slowly(s.origin)
		}, []string{current, "Authorization: Digest x"}, []string{"claim /m", "GET /m", "settle /m", "answer 503"}, 503, answer.Unavailable},

		{"writes from before a reload don't end", func(_ *testing.T, s *site) { s.begin = storeshare.ErrOlderWrites }, []string{current}, []string{"answer 503"}, 503, answer.Conflict},
		{"the config was replaced", func(_ *testing.T, s *site) { s.begin = storeshare.ErrReplacedConfig }, []string{current}, []string{"answer 503"}, 503, answer.Conflict},
		{"the config was replaced, and there is no condition", func(_ *testing.T, s *site) { s.begin = storeshare.ErrReplacedConfig }, nil, []string{"answer 503"}, 503, answer.Conflict},
		{"the config was replaced, and writes are forwarded at once", func(_ *testing.T, s *site) {
			s.ForwardUnconditional = true
			s.begin = storeshare.ErrReplacedConfig
		}, nil, []string{"answer 503"}, 503, answer.Conflict},
		{"the store is away, and then used by a different version", func(_ *testing.T, s *site) {
			s.store.fail = unavailable("read")
			s.StoreDown.ForwardConditional = true
			s.begin = etagcache.ErrIncompatible
		}, []string{`If-Match: "other"`}, []string{"answer 503"}, 503, answer.Unavailable},
		{"the config was replaced, and the store is away", func(_ *testing.T, s *site) {
			s.store.fail = unavailable("read")
			s.StoreDown.ForwardConditional = true
			s.begin = storeshare.ErrReplacedConfig
		}, []string{`If-Match: "other"`}, []string{"answer 503"}, 503, answer.Conflict},

		// Relay.
		{"the origin wants to know who asks", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = refusing(401) }, []string{current}, []string{"GET /m", "answer 401"}, 401, answer.Unverifiable},
		{"the origin forbids to read", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = refusing(403) }, []string{current}, []string{"GET /m", "answer 403"}, 403, answer.Unverifiable},

		// Without the store.
		{"the store can't be read", func(_ *testing.T, s *site) { s.store.fail = unavailable("read") }, []string{`If-Match: "other"`}, []string{"answer 503"}, 503, answer.Unavailable},
		{"the store doesn't give a claim", func(_ *testing.T, s *site) { s.store.fail = unavailable("claim") }, []string{current}, []string{"answer 503"}, 503, answer.Unavailable},
		{"the store answers too late", func(_ *testing.T, s *site) {
			s.store.fail = func(call string) error {
				if strings.HasPrefix(call, "claim") {
					return fmt.Errorf("%w: %w", etagcache.ErrUnavailable, context.DeadlineExceeded)
				}
				return nil
			}
		}, []string{current}, []string{"answer 503"}, 503, answer.Unavailable}, // and not answer.Conflict
		{"the store doesn't give a claim after a pass", func(t *testing.T, s *site) {
			s.affects(t, "/m", "/a")
			s.store.fail = unavailable("claim")
		}, []string{current}, []string{"pass /a", "settle /a", "answer 503"}, 503, answer.Unavailable},
		{"the store doesn't give a pass after the claim", func(t *testing.T, s *site) {
			s.affects(t, "/m", "/z")
			s.store.fail = unavailable("pass")
		}, []string{current}, []string{"claim /m", "settle /m", "answer 503"}, 503, answer.Unavailable},
		{"the store doesn't move a subtree epoch", func(t *testing.T, s *site) {
			s.affects(t, "/m", "/z/**")
			s.store.fail = unavailable("pass age /z")
		}, []string{current}, []string{"claim /m", "pass /z", "claim lock /z", "settle lock /z", "settle /z", "settle /m", "answer 503"}, 503, answer.Unavailable},
		{"the store is away, and the write is forwarded", func(_ *testing.T, s *site) {
			s.StoreDown.ForwardConditional = true
			s.store.fail = unavailable("")
		}, []string{current}, []string{"GET /m", "PUT /m", "answer 204"}, 204, answer.Passed},
		{"the store is away, and the request is signed", func(_ *testing.T, s *site) {
			s.Signed = []resource.Scheme{resource.RFC9421}
			s.StoreDown.ForwardConditional = true
			s.store.fail = unavailable("")
		}, []string{current, signed}, []string{"GET /m", "PUT /m", "answer 204"}, 204, answer.Passed},
		{"the store is away, and the origin shows nothing without the signature", func(_ *testing.T, s *site) {
			s.Signed = []resource.Scheme{resource.RFC9421}
			s.StoreDown.ForwardConditional = true
			s.store.fail = unavailable("")
			s.origin = refusing(403)
		}, []string{current, signed}, []string{"GET /m", "answer 503"}, 503, answer.Unverifiable},
		{"the store is away, and the origin can't be asked", func(_ *testing.T, s *site) {
			s.StoreDown.ForwardConditional = true
			s.store.fail = unavailable("")
			s.origin = refusing(401)
		}, []string{current}, []string{"GET /m", "answer 401"}, 401, answer.Unverifiable},
		{"the store is away, and the origin refutes the condition", func(_ *testing.T, s *site) {
			s.StoreDown.ForwardConditional = true
			s.store.fail = unavailable("")
		}, []string{`If-Match: "stale"`}, []string{"GET /m", "answer 412"}, 412, answer.Failed},
		{"the store is away, and there is no condition", func(_ *testing.T, s *site) { s.store.fail = unavailable("") }, nil, []string{"answer 503"}, 503, answer.Unavailable},
		{"the store is away, there is no condition, and the write is forwarded", func(_ *testing.T, s *site) {
			s.StoreDown.ForwardUnconditional = true
			s.store.fail = unavailable("")
		}, nil, []string{"PUT /m", "answer 204"}, 204, answer.Unconditional},
		{"the store can't be told of what is forwarded at once", func(_ *testing.T, s *site) {
			s.ForwardUnconditional = true
			s.store.fail = unavailable("invalidate")
		}, nil, []string{"answer 503"}, 503, answer.Unavailable},

		// The client is gone.
		{"the client goes away while the claim is taken", func(_ *testing.T, s *site) { s.goneAt = "claim /m" }, []string{current}, []string{"claim /m", "settle /m"}, -499, ""},
		{"the client goes away while the pass is taken", func(_ *testing.T, s *site) { s.goneAt = "pass /m" }, nil, []string{"pass /m", "settle /m"}, -499, ""},
		{"the client goes away while the origin is asked", func(_ *testing.T, s *site) { s.Verify.Passing = true; s.origin = goneDuring(s.origin, "GET") }, []string{current}, []string{"GET /m"}, -499, ""},
		{"the client goes away while the backend works", func(_ *testing.T, s *site) { s.origin = goneDuring(s.origin, "PUT") }, []string{current}, []string{"claim /m", "PUT /m", "settle /m", "answer 204"}, 204, answer.Passed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				known := s.tagOf(t, "/m")
				ctx, cancel := context.WithCancel(context.WithValue(t.Context(), leaving{}, new(func())))
				defer cancel()
				*ctx.Value(leaving{}).(*func()) = cancel
				if tt.prepare != nil {
					tt.prepare(t, s)
				}
				if s.goneAt != "" {
					s.store.fail = func(call string) error {
						if call == s.goneAt {
							cancel()
						}
						return nil
					}
				}
				s.take()
				var fields []string
				for _, field := range tt.fields {
					fields = append(fields, strings.Replace(field, "CURRENT", known, 1))
				}
				r := requestOf(ctx, "PUT /m", fields...)
				w, err := s.serve(r)
				list := s.take()
				expectEvents(t, list, tt.events)
				releasedBeforeAnswered(t, list)
				if tt.status < 0 {
					he, _ := errors.AsType[caddyhttp.HandlerError](err)
					if he.StatusCode != -tt.status {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil || w.Code != tt.status {
					t.Errorf("%v, status %d, want %d", err, w.Code, tt.status)
				}
				if got := outcome(r); got != string(tt.outcome) {
					t.Errorf("the outcome is %s, want %s", got, tt.outcome)
				}
			})
		})
	}
}

// unasked fails every call of the store: none is needed.
func unasked(_ *testing.T, s *site) { s.store.fail = unavailable("") }

// occupy starts a write of /m that lasts longer than anybody waits.
func occupy(t *testing.T, s *site) {
	entry, err := s.share.Read(t.Context(), "/m", s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.store.Store.Claim(t.Context(), "/m", entry.Epoch, s.Terms); err != nil {
		t.Fatal(err)
	}
}

// slowly makes an origin take a while for a GET.
func slowly(origin func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			time.Sleep(20 * time.Second) // a third of the lease
		}
		return origin(w, r)
	}
}

// leaving is the key of what makes the client of a request go away.
type leaving struct{}

// goneDuring makes the client go away while a request of this method is served.
func goneDuring(origin func(http.ResponseWriter, *http.Request) error, method string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == method {
			(*r.Context().Value(leaving{}).(*func()))()
		}
		return origin(w, r)
	}
}

// A handler that panics while the origin is asked leaves nothing held.
func TestPanic(t *testing.T) {
	for line, want := range map[string][]string{
		"If-Match: *": {"GET /m"},
		"X-None: x":   {"pass /m", "PUT /m"}, // it may have reached the backend
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite()
			s.origin = func(http.ResponseWriter, *http.Request) error { panic("out of order") }
			func() {
				defer func() {
					if p := recover(); p != "out of order" {
						t.Errorf("%s: recovered %v", line, p)
					}
				}()
				_, err := s.serve(requestOf(t.Context(), "PUT /m", line))
				t.Errorf("%s: no panic, %v", line, err)
			}()
			expectEvents(t, s.take(), want)
			time.Sleep(2 * s.Terms.Lease)
		})
	}
}

// While a write is in flight, what is stored is over soon: nothing is refused on
// it. The write waits, and is then compared with what the other one led to.
func TestWriteDuringWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		condition string
		status    int
	}{
		"the tag before it": {"CURRENT", 412},
		"the tag after it":  {`"after"`, 204},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite()
			known := s.tagOf(t, "/m")
			x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
			view, err := x.reader.Read()
			if err != nil {
				t.Fatal(err)
			}
			other, _, err := s.store.Store.Claim(t.Context(), "/m", view.Entry().Epoch, s.Terms)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() {
				o, _ := view.Observation(present("after"), nil)
				_ = s.store.Store.Settle(t.Context(), other, etagcache.Settlement{Observation: &o}, s.Terms)
			})
			begun := time.Now()
			w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+strings.Replace(tt.condition, "CURRENT", known, 1)))
			if err != nil || w.Code != tt.status || time.Since(begun) != time.Second {
				t.Errorf("%s: %v, status %d after %s", name, err, w.Code, time.Since(begun))
			}
		})
	}
}

// An invalidation of a group that is complete before the claim is taken counts: the
// origin is asked again.
func TestGroupChangesBeforeTheClaim(t *testing.T) {
	for name, tt := range map[string]struct {
		invalidated string
		want        []string
	}{
		"its group":         {"group cars", []string{"claim /m", "GET /m", "PUT /m", "settle /m", "answer 204"}},
		"a different group": {"group vans", []string{"claim /m", "PUT /m", "settle /m", "answer 204"}},
	} {
		s := newSite()
		inner := s.origin
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Cache-Groups", `"cars"`)
			return inner(w, r)
		}
		s.tagOf(t, "/m")
		known := s.tagOf(t, "/m") // now its group is known
		s.store.fail = func(call string) error {
			if call == "claim /m" {
				return s.store.Store.Invalidate(t.Context(), tt.invalidated, s.Terms)
			}
			return nil
		}
		if _, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+known)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		expectEvents(t, s.take(), tt.want)
	}
}

// What is forwarded while the store is away stays in the node's memory: it is busy
// while the write is in flight, and invalidated once the store is back.
func TestWrittenWithoutStore(t *testing.T) {
	s := newSite()
	s.affects(t, "/m", "/a")
	s.StoreDown.ForwardUnconditional = true
	s.store.fail = unavailable("")
	inner := s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		s.store.fail = nil
		for _, key := range []string{"/m", "/a"} {
			if entry, err := s.share.Read(t.Context(), key, s.Terms); err != nil || entry.Busy == 0 {
				t.Errorf("%s: %v, busy %s", key, err, entry.Busy)
			}
		}
		s.take()
		return inner(w, r)
	}
	if w, err := s.serve(requestOf(t.Context(), "PUT /m")); err != nil || w.Code != 204 {
		t.Fatalf("%v, status %d", err, w.Code)
	}
	expectEvents(t, s.take(), []string{"answer 204"})
	if entry, err := s.share.Read(t.Context(), "/m", s.Terms); err != nil || entry.Busy != 0 {
		t.Errorf("%v, busy %s", err, entry.Busy)
	}
	list := s.take()
	slices.Sort(list)
	expectEvents(t, list, []string{"invalidate /a", "invalidate /m"})
}

// A claim that is lost while the backend works cuts the write off. If nobody knows
// what became of it, the client is told so.
func TestLostWhileForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		known := s.tagOf(t, "/m")
		s.store.fail = func(call string) error {
			if call == "renew /m" {
				return etagcache.ErrLost
			}
			return nil
		}
		s.origin = func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return caddyhttp.Error(http.StatusBadGateway, context.Cause(r.Context()))
		}
		begun := time.Now()
		r := requestOf(t.Context(), "PUT /m", "If-Match: "+known)
		w, err := s.serve(r)
		if err != nil || w.Code != 503 || !strings.Contains(w.Body.String(), "nobody knows") || outcome(r) != string(answer.Unavailable) {
			t.Errorf("%v, status %d, outcome %s: %s", err, w.Code, outcome(r), w.Body)
		}
		if took := time.Since(begun); took > s.Terms.Lease {
			t.Errorf("cut off after %s", took)
		}
	})
}

// If the backend answers although the claim was lost, the client gets its answer.
// Nothing is known of the resource then.
func TestAnsweredThoughLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		known := s.tagOf(t, "/m")
		s.store.fail = func(call string) error {
			if call == "renew /m" {
				return etagcache.ErrUnavailable
			}
			return nil
		}
		s.origin = func(w http.ResponseWriter, _ *http.Request) error {
			time.Sleep(2 * s.Terms.Lease)
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		r := requestOf(t.Context(), "PUT /m", "If-Match: "+known)
		w, err := s.serve(r)
		if err != nil || w.Code != 204 || outcome(r) != string(answer.Passed) {
			t.Errorf("%v, status %d, outcome %s", err, w.Code, outcome(r))
		}
		expectEvents(t, s.take(), []string{"claim /m", "PUT /m", "settle /m", "invalidate /m", "answer 204"})
	})
}

// What the origin shows under the claim is stored, also if the write isn't
// forwarded.
func TestRefusalStoresWhatWasSeen(t *testing.T) {
	s := newSite()
	s.Verify.Passing = true
	if w, err := s.serve(requestOf(t.Context(), "PUT /m", `If-Match: "stale"`)); err != nil || w.Code != 412 {
		t.Fatalf("%v, status %d", err, w.Code)
	}
	s.take()
	if w, err := s.serve(requestOf(t.Context(), "PUT /m", `If-Match: "stale"`)); err != nil || w.Code != 412 {
		t.Fatalf("%v, status %d", err, w.Code)
	}
	expectEvents(t, s.take(), []string{"answer 412"})
}

// The refusal that the origin gave to a probe reaches the client as it is, without
// validators and framing: these are not about the write.
func TestRelay(t *testing.T) {
	s := newSite()
	s.origin = refusing(401, `WWW-Authenticate: Basic realm="x"`, "WWW-Authenticate: Bearer", `ETag: "x"`,
		"Last-Modified: Mon, 03 Nov 2025 12:00:00 GMT", "Content-Type: text/plain", "Content-Length: 22", "Connection: close")
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: *"))
	if err != nil || w.Code != 401 || w.Body.String() != "the origin's own words" {
		t.Errorf("%v, status %d: %s", err, w.Code, w.Body)
	}
	h := w.Header()
	if len(h["Www-Authenticate"]) != 2 || h.Get("Content-Type") != "text/plain" {
		t.Errorf("header %v", h)
	}
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length", "Connection"} {
		if h[name] != nil {
			t.Errorf("%s: %q", name, h[name])
		}
	}
}

// An If-Unmodified-Since of a resource without a date must be ignored (RFC 9110,
// section 13.1.4). Then the write has no condition, and may need one.
func TestIgnoredDate(t *testing.T) {
	for name, tt := range map[string]struct {
		require []string
		events  []string
		outcome answer.Outcome
	}{
		"isn't required": {nil, []string{"GET /m", "claim /m", "PUT /m", "settle /m", "answer 204"}, answer.Unconditional},
		"is required":    {[]string{"PUT"}, []string{"GET /m", "answer 428"}, answer.Required},
	} {
		s := newSite()
		s.Deriver.Sources = []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}} // which shows no tag
		s.Require = tt.require
		r := requestOf(t.Context(), "PUT /m", "If-Unmodified-Since: Mon, 03 Nov 2025 12:00:00 GMT")
		if _, err := s.serve(r); err != nil {
			t.Error(err)
		}
		expectEvents(t, s.take(), tt.events)
		if got := outcome(r); got != string(tt.outcome) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Who gets no claim or pass: the client is gone, another write is in the way, or
// the store is.
func TestNotAcquired(t *testing.T) {
	s := newSite()
	for _, tt := range []struct {
		err     error
		kind    kind
		outcome answer.Outcome
	}{
		{context.DeadlineExceeded, refuse, answer.Conflict},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), refuse, answer.Conflict},
		{storeshare.ErrQueueFull, refuse, answer.Conflict},
		{hold.ErrKeepsChanging, refuse, answer.Conflict},
		{etagcache.ErrUnavailable, withoutStore, ""},
		{fmt.Errorf("wrapped: %w", etagcache.ErrIncompatible), refuse, answer.Unavailable},
		{errors.New("anything else"), withoutStore, ""},
	} {
		x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m"))
		if d := x.decideOnError(tt.err); d.kind != tt.kind || d.refusalIfAny().Outcome != tt.outcome {
			t.Errorf("%v: %d, %s", tt.err, d.kind, d.refusalIfAny().Outcome)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		x, _ = s.exchangeOf(requestOf(ctx, "PUT /m"))
		if d := x.decideOnError(tt.err); d.kind != clientGone {
			t.Errorf("%v, and the client is gone: %d", tt.err, d.kind)
		}
	}
}

// Why the content can't be read decides what the chain is told.
func TestContentError(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
	}{
		{caddyhttp.Error(http.StatusTeapot, io.EOF), 418},
		{fmt.Errorf("wrapped: %w", caddyhttp.Error(http.StatusTeapot, io.EOF)), 418},
		{fmt.Errorf("%w: no space", proxyhooks.ErrSpool), 500},
		{fmt.Errorf("%w: %w", proxyhooks.ErrSpool, io.ErrUnexpectedEOF), 500},
		{&http.MaxBytesError{Limit: 1}, 413},
		{fmt.Errorf("wrapped: %w", &http.MaxBytesError{Limit: 1}), 413},
		{io.ErrUnexpectedEOF, 499},
		{context.Canceled, 499},
		{errors.New("malformed chunked encoding"), 400},
	} {
		err := contentError(tt.err)
		he, ok := errors.AsType[caddyhttp.HandlerError](err)
		if !ok || he.StatusCode != tt.status || !errors.Is(err, tt.err) && he.StatusCode != 418 {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

// A validator is confirmed once it is as old as it may be, and stored again at half
// that age, to be young enough when a write comes.
func TestVerification(t *testing.T) {
	for _, tt := range []struct {
		name          string
		v             Verification
		age           time.Duration
		needed, stale bool
	}{
		{"never", Verification{}, time.Hour, false, false},
		{"passing, new", Verification{Passing: true}, 0, true, false},
		{"passing, old", Verification{Passing: true}, time.Hour, true, false},
		{"younger", Verification{Passing: true, FreshFor: time.Minute}, 30 * time.Second, false, false},
		{"half as old as it may be", Verification{Passing: true, FreshFor: time.Minute}, 30*time.Second + 1, false, true},
		{"almost as old as it may be", Verification{Passing: true, FreshFor: time.Minute}, time.Minute - 1, false, true},
		{"as old as it may be", Verification{Passing: true, FreshFor: time.Minute}, time.Minute, true, true},
	} {
		if needed, stale := tt.v.needed(tt.age), tt.v.stale(tt.age); needed != tt.needed || stale != tt.stale {
			t.Errorf("%s: needed: %v, stale: %v", tt.name, needed, stale)
		}
	}
}
