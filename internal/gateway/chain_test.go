package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// protects returns what a handler announces that protects a resource with the same store.
func (s *site) protects(key string) *protection {
	return &protection{share: s.share, target: key, plan: &relation.Plan{Subject: resource.Subject{Key: key}}, writes: true, enforces: true}
}

// Nested handlers are told of a resource, and of one that it guards, and pass requests for
// these through. They look after every other. When the handler has ended, it protects nothing.
func TestNested(t *testing.T) {
	s := newSite()
	s.guards(t, "/m", "/guarded")
	x, _ := s.exchangeOf(requestOf(t.Context(), "POST /m", "If-Match: *"))
	inner{x}.announce(nil)
	nested := func(path string, share *storeshare.Share) bool {
		y, _ := s.exchangeOf(requestOf(t.Context(), "POST "+path))
		y.share = share
		return inner{y}.protectedOutside(announced(x.r)) != nil
	}
	for path, want := range map[string]bool{"/m": true, "/guarded": true, "/third": false} {
		if got := nested(path, s.share); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if nested("/m", storeshare.New(etagcache.NewMemory(0), zap.NewNop())) {
		t.Error("a different store counts")
	}
	x.announces.enforces = false
	if nested("/m", s.share) {
		t.Error("a handler that only reports counts")
	}
	other, _ := s.exchangeOf(requestOf(t.Context(), "POST /m", "If-Match: *"))
	if announced(other.r) != nil {
		t.Error("a different request was told")
	}
	x.announces.takeBack()
	if announced(x.r) != nil {
		t.Error("a handler that has ended protects the resource")
	}
}

// The announcement lasts as long as the handler, and error routes come after it.
func TestAnnouncedUntilTheEnd(t *testing.T) {
	s := newSite()
	var during *protection
	r := requestOf(t.Context(), "PUT /m", "If-Match: *")
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		during = announced(r)
		if r.Method == http.MethodPut {
			return caddyhttp.Error(http.StatusBadGateway, errors.New("x"))
		}
		return answering("content", 204)(w, r)
	}
	_, err := s.serve(r)
	if after := announced(r); err == nil || during == nil || after != nil {
		t.Errorf("%v, announced %v, and %v afterwards", err, during, after)
	}
}

// A handler whose resource one further out in the chain protects lets a write pass if that
// one has evaluated what has to be evaluated. What only the inner one knows to change is
// invalidated.
func TestPassOn(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *site, *protection)
		fields  []string
		events  []string
		outcome answer.Outcome
	}{
		"nothing more": {nil, nil, []string{"PUT /m", "answer 204"}, answer.Bypassed},
		"a condition": {
			func(_ *testing.T, _ *site, p *protection) { p.evaluated, p.passed = true, true },
			[]string{`If-Match: "stale"`},
			[]string{"PUT /m", "answer 204"},
			answer.Bypassed,
		},
		"a condition that was added on the way": {nil, []string{`If-Match: "stale"`}, []string{"answer 503"}, answer.Unavailable},
		"it requires a condition":               {func(_ *testing.T, s *site, _ *protection) { s.Require = []string{"PUT"} }, nil, []string{"answer 428"}, answer.Required},
		"it requires a condition that was removed": {func(_ *testing.T, s *site, p *protection) {
			s.Require = []string{"PUT"}
			p.evaluated, p.passed = true, true
		}, nil, []string{"PUT /m", "answer 204"}, answer.Bypassed},
		"it guards a different resource": {func(t *testing.T, s *site, p *protection) {
			s.guards(t, "/m", "/guarded")
			p.evaluated, p.passed = true, true
		}, []string{"If-Match: *"}, []string{"answer 503"}, answer.Unavailable},
		"it knows more changes": {func(t *testing.T, s *site, p *protection) {
			s.affects(t, "/m", "/n", "/o")
			p.plan.Others = []relation.Other{{Key: "/o", Role: relation.Changed}}
		}, nil, []string{"invalidate /n", "PUT /m", "answer 204", "invalidate /n"}, answer.Bypassed},
		"it only reports": {func(_ *testing.T, s *site, _ *protection) {
			s.Answers.Mode = answer.ReportOnly
			s.Require = []string{"PUT"}
		}, nil, []string{"PUT /m", "answer 204"}, answer.Bypassed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			p := s.protects("/m")
			if tt.prepare != nil {
				tt.prepare(t, s, p)
			}
			r := requestOf(t.Context(), "PUT /m", tt.fields...)
			caddyhttp.SetVar(r.Context(), announcedVar, p)
			if _, err := s.serve(r); err != nil {
				t.Fatal(err)
			}
			expectEvents(t, s.take(), tt.events)
			if got := outcome(r); got != string(tt.outcome) {
				t.Errorf("the outcome is %s, want %s", got, tt.outcome)
			}
		})
	}
}

// A handler that only reports holds a pass, and gives it back to one further in, which would
// wait for it.
func TestReportsOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		outer, within := *s.Gateway, *s.Gateway
		outer.Answers = new(*s.Answers)
		outer.Answers.Mode = answer.ReportOnly
		outer.Store, within.Store = s, s
		for field, status := range map[string]int{`If-Match: "stale"`: 412, "If-Match: *": 412, "If-None-Match: *": 204, "X: y": 204} {
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				w.WriteHeader(map[string]int{"GET": 404, "PUT": 204}[r.Method])
				return nil
			}
			begun := time.Now()
			r := requestOf(t.Context(), "PUT /m", field)
			w, _ := s.exchangeOf(r)
			err := outer.ServeHTTP(w.rw, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				return within.ServeHTTP(w, r, s.next())
			}))
			got := w.rw.(*client).Code
			if puts := slices.Contains(s.take(), "PUT /m"); err != nil || got != status || puts != (status == 204) || time.Since(begun) > 0 {
				t.Errorf("%s: %v, status %d after %s, forwarded: %t", field, err, got, time.Since(begun), puts)
			}
		}
	})
}

// A write that passes because a handler further out holds its resource goes on only as long
// as that is so. The inner handler keeps the grant alive itself, because the outer one may
// stand still, and never shortens its lease.
func TestBorrowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lease := range []time.Duration{time.Second, time.Minute, time.Hour} {
			s := newSite()
			grant := s.claim(t, "/m") // for a minute
			s.Terms.Lease = lease
			s.Terms.Retention = 24 * time.Hour
			r := requestOf(t.Context(), "PUT /m", holderField+": "+holding{true, grant, keyDigest("/m")}.String())
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				time.Sleep(10 * time.Minute)
				entry, err := s.store.Store.Read(t.Context(), "/m", s.Terms)
				if err != nil || entry.Busy < 50*time.Second || r.Context().Err() != nil {
					t.Errorf("lease %s: %v, %v, busy for %s", lease, err, r.Context().Err(), entry.Busy)
				}
				return answering("", 204)(w, r)
			}
			if w, err := s.serve(r); err != nil || w.Code != 204 || outcome(r) != "bypassed" {
				t.Errorf("lease %s: %v, status %d, outcome %s", lease, err, w.Code, outcome(r))
			}
		}
	})
}

// A write whose grant is lost is cut off, and refused if the backend hasn't answered. Once
// there is an answer, the handler further out may have given the grant back.
func TestBorrowedIsLost(t *testing.T) {
	for name, tt := range map[string]struct {
		fails  string // call of the store
		settle bool   // before the answer
		status int
		answer int
	}{
		"before it is forwarded":        {"renew /m", false, 0, 503},
		"while the backend works":       {"", true, 0, 503},
		"when the backend has answered": {"", true, 204, 204},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				grant := s.claim(t, "/m")
				s.store.fail = func(call string) error {
					if call == tt.fails {
						return etagcache.ErrLost
					}
					return nil
				}
				forwarded := false
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					forwarded = true
					if tt.status > 0 {
						w.WriteHeader(tt.status)
					}
					s.settle(t, grant)
					<-r.Context().Done()
					if tt.status > 0 {
						return nil
					}
					return caddyhttp.Error(http.StatusBadGateway, r.Context().Err())
				}
				r := requestOf(t.Context(), "PUT /m", holderField+": "+holding{true, grant, keyDigest("/m")}.String())
				w, err := s.serve(r)
				if err != nil || w.Code != tt.answer || forwarded != tt.settle {
					t.Errorf("%v, status %d, forwarded: %t", err, w.Code, forwarded)
				}
				if settled := w.Header()[proxyhooks.SettledField] != nil; settled != (tt.fails != "") {
					t.Errorf("the handler further out gets %v", w.Header())
				}
			})
		})
	}
}

// What a backend says about the end of a write goes on to a handler further out, and never
// to a client.
func TestSettledGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		line func(t *testing.T, s *site) string
		want []string
	}{
		"a client":                       {func(*testing.T, *site) string { return "" }, nil},
		"a handler with the same key":    {func(t *testing.T, s *site) string { return holding{true, s.claim(t, "/m"), keyDigest("/m")}.String() }, []string{"?1"}},
		"a handler with a different key": {func(t *testing.T, s *site) string { return holding{true, s.claim(t, "/n"), keyDigest("/n")}.String() }, []string{"?1"}},
	} {
		for _, content := range []string{"short", strings.Repeat("too long to buffer ", 100)} {
			s := newSite()
			s.origin = func(w http.ResponseWriter, _ *http.Request) error {
				w.Header()[proxyhooks.SettledField] = []string{"?1"}
				w.WriteHeader(http.StatusServiceUnavailable)
				_, err := w.Write([]byte(content))
				return err
			}
			fields := []string{"X: y"}
			if line := tt.line(t, s); line != "" {
				fields = append(fields, holderField+": "+line)
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /m", fields...))
			if got := w.Result().Header[proxyhooks.SettledField]; err != nil || w.Code != 503 || !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, status %d, got %q, want %q", name, err, w.Code, got, tt.want)
			}
		}
	}
}
