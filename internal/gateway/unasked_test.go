package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/validator"
)

// newUnaskedSite returns a site with reads store whose origin shows content with these fields,
// and obeys If-None-Match with its own tag, if it has one.
func newUnaskedSite(fields http.Header) *site {
	s := newSite()
	s.Responses = NewResponses()
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		for name, lines := range fields {
			w.Header()[name] = lines
		}
		if own := fields.Get("Etag"); own != "" && r.Header.Get("If-None-Match") == own {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		_, err := w.Write([]byte("content"))
		return err
	}
	return s
}

// reads sends a GET with a tag, which must get 304, and reports whether the origin was asked.
func (s *site) reads(t *testing.T, tag string) (header http.Header, asked bool) {
	t.Helper()
	s.take()
	w, err := s.serve(requestOf(t.Context(), "GET /a", "If-None-Match: "+tag))
	if err != nil || w.Code != http.StatusNotModified {
		t.Fatalf("got %d, %v", w.Code, err)
	}
	return w.Header(), slices.Contains(s.take(), "GET /a")
}

// TestUnaskedFor: a response counts for as long as it is fresh, and for a minute at most, since
// it was asked for.
func TestUnaskedFor(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, tt := range []struct {
		name   string
		fields func() http.Header
		takes  time.Duration // until the origin answers
		lasts  time.Duration
	}{
		{"no freshness", func() http.Header { return nil }, 0, time.Minute},
		{"fresh for longer", func() http.Header { return http.Header{"Cache-Control": {"max-age=3600"}} }, 0, time.Minute},
		{"max-age", func() http.Header { return http.Header{"Cache-Control": {"public, MAX-AGE=10"}} }, 0, 10 * time.Second},
		{"a quoted max-age", func() http.Header { return http.Header{"Cache-Control": {`max-age="10"`}} }, 0, 10 * time.Second},
		{"the shorter one", func() http.Header { return http.Header{"Cache-Control": {"max-age=20", "s-maxage=10"}} }, 0, 10 * time.Second},
		{"Expires", func() http.Header { return http.Header{"Expires": {in(10 * time.Second)}} }, 0, 10 * time.Second},
		{"a slow response", func() http.Header { return http.Header{"Cache-Control": {"max-age=10"}} }, 4 * time.Second, 6 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newUnaskedSite(tt.fields())
				answer := s.origin
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					time.Sleep(tt.takes)
					return answer(w, r)
				}
				tag := s.tagOf(t, "/a")
				time.Sleep(tt.lasts - time.Millisecond)
				if _, asked := s.reads(t, tag); asked {
					t.Error("the origin was asked too early")
				}
				time.Sleep(time.Millisecond)
				if _, asked := s.reads(t, tag); !asked {
					t.Error("the origin wasn't asked in time")
				}
			})
		})
	}
}

// TestUnaskedAfter304: a 304 of the backend's own lets a response count for longer. What it says
// replaces what the response said, and the rest stands (RFC 9111, section 4.3.4).
func TestUnaskedAfter304(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fields := http.Header{"Etag": {`"own"`}, "Cache-Control": {"max-age=10"}, "Content-Location": {"/a.en"}}
		s := newUnaskedSite(fields)
		tag := s.tagOf(t, "/a")
		time.Sleep(10 * time.Second)
		fields["Cache-Control"] = []string{"max-age=20"}
		delete(fields, "Content-Location")
		if _, asked := s.reads(t, tag); !asked {
			t.Fatal("the origin wasn't asked")
		}
		time.Sleep(20*time.Second - time.Millisecond)
		header, asked := s.reads(t, tag)
		if asked || header.Get("Cache-Control") != "max-age=20" || header.Get("Content-Location") != "/a.en" {
			t.Errorf("asked: %v, %v", asked, header)
		}
		// A 304 that is for one client only ends it.
		time.Sleep(time.Millisecond)
		fields["Cache-Control"] = []string{"private"}
		for range 2 {
			if _, asked := s.reads(t, tag); !asked {
				t.Error("the origin wasn't asked")
			}
		}
	})
}

// TestUnaskedDate: a 304 says no-cache where the 200 would, which has a date that the handler
// made (RFC 9110, section 15.4.5).
func TestUnaskedDate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newUnaskedSite(nil)
		tag := s.tagOf(t, "/a")
		if header, asked := s.reads(t, tag); asked || header["Cache-Control"] != nil {
			t.Errorf("asked: %v, %v", asked, header)
		}
		time.Sleep(5 * time.Second)
		header, asked := s.reads(t, tag)
		if asked || header.Get("Cache-Control") != "no-cache" || header["Last-Modified"] != nil {
			t.Errorf("asked: %v, %v", asked, header)
		}
	})
}

// doubtful is a store whose entries are changed before anybody sees them.
type doubtful struct {
	etagcache.Store
	change  func(*etagcache.Entry)
	trusted bool
}

func (d *doubtful) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	e, err := d.Store.Read(ctx, key, t)
	d.change(&e)
	return e, err
}

func (d *doubtful) Trusted() bool { return d.trusted }

// TestUnaskedInDoubt: the origin is asked if what is stored may not be all that happened.
func TestUnaskedInDoubt(t *testing.T) {
	t.Parallel()
	var stored string
	identity := func() string {
		tag, _ := validator.ParseETag(stored)
		return validator.Observed{Representation: validator.Representation{State: validator.Present, ETag: tag}}.Identity()
	}
	for _, tt := range []struct {
		name    string
		change  func(*etagcache.Entry)
		evicts  bool
		unasked bool
	}{
		{name: "nothing", unasked: true},
		{name: "an earlier state is spent", unasked: true, change: func(e *etagcache.Entry) {
			e.Spent = etagcache.NewSpent(etagcache.SpentState{Identity: "tx", Left: time.Second})
		}},
		{name: "the state is spent", change: func(e *etagcache.Entry) {
			e.Spent = etagcache.NewSpent(etagcache.SpentState{Identity: identity(), Left: time.Second})
		}},
		{name: "any state may be spent", change: func(e *etagcache.Entry) { e.Doubt = time.Second }},
		{name: "a grace", change: func(e *etagcache.Entry) { e.Grace.Left = time.Second }},
		{name: "a write in flight", change: func(e *etagcache.Entry) { e.Busy = time.Second }},
		{name: "a store that evicts", evicts: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newUnaskedSite(nil)
			store := &doubtful{Store: s.store, change: func(*etagcache.Entry) {}, trusted: !tt.evicts}
			s.share = storeshare.New(store, zap.NewNop())
			stored = s.tagOf(t, "/a")
			if tt.change != nil {
				store.change = tt.change
			}
			if _, asked := s.reads(t, stored); asked == tt.unasked {
				t.Errorf("the origin was asked: %v", asked)
			}
		})
	}
}

// TestUnaskedSeenHere: what the store knows isn't enough. This node must have seen a response
// with that tag, because the store doesn't know what it said.
func TestUnaskedSeenHere(t *testing.T) {
	t.Parallel()
	s := newUnaskedSite(nil)
	tag := s.tagOf(t, "/a")
	s.Responses = NewResponses()
	for _, want := range []bool{true, false} {
		if _, asked := s.reads(t, tag); asked != want {
			t.Errorf("the origin was asked: %v", asked)
		}
	}
	s.Responses = nil
	if _, asked := s.reads(t, tag); !asked {
		t.Error("without the option, the origin wasn't asked")
	}
}

// TestUnaskedForAnybody: the origin is asked if it may tell by anything who asks, or for which
// site, because only a response that is public is for everybody.
func TestUnaskedForAnybody(t *testing.T) {
	t.Parallel()
	secure := &tls.ConnectionState{}
	for _, tt := range []struct {
		name    string
		control string
		change  func(*http.Request)
		unasked bool
	}{
		{name: "nobody in particular", change: func(*http.Request) {}, unasked: true},
		{name: "from somewhere else", change: func(r *http.Request) {
			r.RemoteAddr, r.Header["X-Forwarded-For"] = "192.0.2.9:1", []string{"192.0.2.1"}
		}, unasked: true},
		{name: "with what browsers add", change: func(r *http.Request) { r.Header["Alt-Used"], r.Header["Sec-Ch-Ua"] = []string{"a"}, []string{"x"} }, unasked: true},
		{name: "a different host", change: func(r *http.Request) { r.Host = "other.example" }},
		{name: "a different scheme", change: func(r *http.Request) { r.TLS = secure }},
		{name: "a different scheme at a proxy", change: func(r *http.Request) { r.Header["X-Forwarded-Proto"] = []string{"https"} }},
		{name: "a different host at a proxy", change: func(r *http.Request) { r.Header["X-Forwarded-Host"] = []string{"other.example"} }},
		{name: "any of these", change: func(r *http.Request) { r.Header["Forwarded"] = []string{"proto=https"} }},
		{name: "credentials for a proxy", change: func(r *http.Request) { r.Header["Proxy-Authorization"] = []string{"Basic x"} }},
		{name: "a user of Caddy's", change: func(r *http.Request) {
			r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", "ann")
		}},
		{name: "a user, of what is public", control: "public", change: func(r *http.Request) {
			r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", "ann")
		}, unasked: true},
		{name: "a user, of what only seems public", control: `x="a, public"`, change: func(r *http.Request) { r.Header["Cookie"] = []string{"s=1"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields := http.Header{}
			if tt.control != "" {
				fields["Cache-Control"] = []string{tt.control}
			}
			s := newUnaskedSite(fields)
			tag := s.tagOf(t, "/a")
			r := requestOf(t.Context(), "GET /a", "If-None-Match: "+tag)
			tt.change(r)
			w, err := s.serve(r)
			if err != nil || w.Code != http.StatusNotModified {
				t.Fatalf("got %d, %v", w.Code, err)
			}
			if asked := slices.Contains(s.take(), "GET /a"); asked == tt.unasked {
				t.Errorf("the origin was asked: %v", asked)
			}
		})
	}
	// A certificate says who asks, also if it was shown with the first request.
	s := newUnaskedSite(nil)
	tag := s.tagOf(t, "/a")
	for range 2 {
		r := requestOf(t.Context(), "GET /a", "If-None-Match: "+tag)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("ann")}}}
		if _, err := s.serve(r); err != nil || !slices.Contains(s.take(), "GET /a") {
			t.Errorf("the origin wasn't asked: %v", err)
		}
	}
}

// TestUnaskedAfterError: an error of a handler behind this one ends what a response allowed.
func TestUnaskedAfterError(t *testing.T) {
	t.Parallel()
	s := newUnaskedSite(nil)
	answer := s.origin
	tag := s.tagOf(t, "/a")
	s.origin = func(http.ResponseWriter, *http.Request) error {
		return caddyhttp.Error(http.StatusForbidden, errors.New("not for you"))
	}
	if _, err := s.serve(requestOf(t.Context(), "GET /a")); err == nil {
		t.Fatal("no error")
	}
	s.origin = answer
	if _, asked := s.reads(t, tag); !asked {
		t.Error("the origin wasn't asked")
	}
}

// TestUnaskedForSite: a response counts for the site that the request has named, in the field
// that has named it. No client can make the handler remember a long name.
func TestUnaskedForSite(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxShownFields)
	for _, tt := range []struct {
		name          string
		first, second string
		unasked       bool
	}{
		{"the same", "X-Forwarded-Host: a", "X-Forwarded-Host: a", true},
		{"a different field", "X-Forwarded-Proto: a", "X-Forwarded-Host: a", false},
		{"a long one", "X-Forwarded-Host: " + long, "X-Forwarded-Host: " + long, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newUnaskedSite(nil)
			w, err := s.serve(requestOf(t.Context(), "GET /a", tt.first))
			if err != nil {
				t.Fatal(err)
			}
			s.take()
			w, err = s.serve(requestOf(t.Context(), "GET /a", tt.second, "If-None-Match: "+w.Header().Get("Etag")))
			if err != nil || w.Code != http.StatusNotModified {
				t.Fatalf("got %d, %v", w.Code, err)
			}
			if asked := slices.Contains(s.take(), "GET /a"); asked == tt.unasked {
				t.Errorf("the origin was asked: %v", asked)
			}
		})
	}
}
