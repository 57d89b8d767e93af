package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// claim takes a claim on a resource beside the handler, as one further out does.
func (s *site) claim(t *testing.T, key string) etagcache.Grant {
	t.Helper()
	entry, err := s.store.Store.Read(t.Context(), key, s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	grant, _, err := s.store.Store.Claim(t.Context(), key, entry.Epoch, s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// The field is read only as a handler writes it.
func TestParseHoldings(t *testing.T) {
	good := holding{true, etagcache.Grant{Token: etagcache.NewToken()}, keyDigest("/m")}
	pass := holding{false, etagcache.Grant{Token: etagcache.NewToken(), Pass: true}, keyDigest("/n")}
	for _, want := range [][]holding{{good}, {good, pass}, slices.Repeat([]holding{good}, maxHoldings)} {
		var members []string
		for _, h := range want {
			members = append(members, h.String())
		}
		if got := parseHoldings([]string{strings.Join(members, ", ")}); !slices.Equal(got, want) {
			t.Errorf("%q: got %v", members, got)
		}
	}
	line := good.String()
	for _, lines := range [][]string{
		nil,
		{""},
		{line, line},
		{" " + line},
		{line + ","},
		{line + "," + line},
		{line + " x"},
		{strings.Replace(line, "claim", "Claim", 1)},
		{strings.Replace(line, "passed", "failed", 1)},
		{strings.Replace(line, good.grant.Token, "x", 1)},
		{strings.Replace(line, good.grant.Token, "c:*\r\n", 1)},
		{strings.Replace(line, good.grant.Token, strings.Repeat("A", 17), 1)},
		{strings.Join(slices.Repeat([]string{line}, maxHoldings+1), ", ")},
		{strings.Repeat("x", maxHolderLine+1)},
	} {
		if got := parseHoldings(lines); got != nil {
			t.Errorf("%q: got %v", lines, got)
		}
	}
}

// A write for which a handler further out holds the resource passes at once, if that one has
// evaluated what has to be evaluated. Whoever only claims that is served as everybody else.
func TestHeldOutside(t *testing.T) {
	member := func(passed bool, g etagcache.Grant) string { return holding{passed, g, keyDigest(g.Key)}.String() }
	forwarded := []string{"PUT /m", "answer 204"}
	for name, tt := range map[string]struct {
		line    func(*testing.T, *site) string
		fields  []string
		events  []string
		outcome answer.Outcome
	}{
		"a claim": {func(t *testing.T, s *site) string { return member(true, s.claim(t, "/m")) }, nil, forwarded, answer.Bypassed},
		"a claim, with a condition": {
			func(t *testing.T, s *site) string { return member(true, s.claim(t, "/m")) },
			[]string{`If-Match: "stale"`},
			forwarded, answer.Bypassed,
		},
		"a claim, where a condition is required": {func(t *testing.T, s *site) string {
			s.Require = []string{"PUT"}
			return member(true, s.claim(t, "/m"))
		}, nil, forwarded, answer.Bypassed},
		"a pass": {func(t *testing.T, s *site) string { return member(false, s.pass(t)) }, nil, forwarded, answer.Bypassed},
		"a pass, and a condition that was added on the way": {
			func(t *testing.T, s *site) string { return member(false, s.pass(t)) },
			[]string{`If-Match: "stale"`},
			[]string{"answer 503"},
			answer.Unavailable,
		},
		"a pass, where a condition is required": {func(t *testing.T, s *site) string {
			s.Require = []string{"PUT"}
			return member(false, s.pass(t))
		}, nil, []string{"answer 428"}, answer.Required},
		"a claim on the target only": {func(t *testing.T, s *site) string {
			s.guards(t, "/m", "/guarded")
			return member(true, s.claim(t, "/m"))
		}, []string{"If-Match: *"}, []string{"answer 503"}, answer.Unavailable},
		"what only this one changes": {func(t *testing.T, s *site) string {
			s.affects(t, "/m", "/n")
			return member(true, s.claim(t, "/m"))
		}, nil, []string{"invalidate /n", "PUT /m", "answer 204", "invalidate /n"}, answer.Bypassed},
		"a different resource": {func(t *testing.T, s *site) string { return member(true, s.claim(t, "/n")) }, nil, []string{"pass /m", "PUT /m", "settle /m", "answer 204"}, answer.Unconditional},
		"a token that nobody holds": {func(*testing.T, *site) string {
			return member(true, etagcache.Grant{Key: "/m", Token: etagcache.NewToken()})
		}, []string{`If-Match: "stale"`}, []string{"GET /m", "answer 412"}, answer.Failed},
		"a claim for a pass": {func(t *testing.T, s *site) string {
			g := s.pass(t)
			g.Pass = false
			return member(true, g)
		}, nil, []string{"pass /m", "PUT /m", "settle /m", "answer 204"}, answer.Unconditional},
		"the token of a different resource": {func(t *testing.T, s *site) string {
			g := s.claim(t, "/n")
			g.Key = "/m"
			return member(true, g)
		}, []string{`If-Match: "stale"`}, []string{"GET /m", "answer 412"}, answer.Failed},
		"a claim that has ended": {func(t *testing.T, s *site) string {
			g := s.claim(t, "/m")
			s.settle(t, g)
			return member(true, g)
		}, []string{`If-Match: "stale"`}, []string{"GET /m", "answer 412"}, answer.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				line := tt.line(t, s)
				begun := time.Now()
				r := requestOf(t.Context(), "PUT /m", append(tt.fields, holderField+": "+line)...)
				if _, err := s.serve(r); err != nil {
					t.Fatal(err)
				}
				expectEvents(t, s.take(), tt.events)
				if got := outcome(r); got != string(tt.outcome) || time.Since(begun) > 0 {
					t.Errorf("the outcome is %s after %s, want %s", got, time.Since(begun), tt.outcome)
				}
			})
		})
	}
}

// A signed request is forwarded untouched, and recognises nothing.
func TestHolderOfSignedRequest(t *testing.T) {
	s := newSite()
	s.Signed = []resource.Scheme{resource.RFC9421}
	var got []string
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		got = r.Header[holderField]
		return answering("", 204)(w, r)
	}
	line := holding{true, s.pass(t), keyDigest("/m")}.String()
	r := requestOf(t.Context(), "PUT /m", "Signature-Input: x", holderField+": "+line)
	if _, err := s.serve(r); err != nil || !slices.Equal(got, []string{line}) || outcome(r) != "unconditional" {
		t.Errorf("%v, outcome %s, the backend gets %q", err, outcome(r), got)
	}
}

// The handler further in doesn't send conditions to the backend that may be about
// validators which it has made itself. The field goes on, for handlers that are further in.
func TestConditionsPassedThrough(t *testing.T) {
	ours := `"` + strings.Repeat("a", 26) + `"`
	for _, tt := range []struct {
		sources []proxyhooks.SourceKind
		field   string
		kept    bool
	}{
		{[]proxyhooks.SourceKind{"upstream", "body"}, "If-Match: " + ours, false},
		{[]proxyhooks.SourceKind{"upstream", "body"}, "If-Match: " + strings.TrimSuffix(ours, `"`) + `-gzip"`, false},
		{[]proxyhooks.SourceKind{"upstream", "body"}, `If-None-Match: "x", ` + ours, false},
		{[]proxyhooks.SourceKind{"upstream", "body"}, `If-Match: "backend's"`, true},
		{[]proxyhooks.SourceKind{"upstream", "body"}, "If-Match: *", true},
		{[]proxyhooks.SourceKind{"upstream", "body"}, "If-None-Match: *", true},
		{[]proxyhooks.SourceKind{"upstream", "body"}, "If-Unmodified-Since: Mon, 03 Nov 2025 12:00:00 GMT", false},
		{[]proxyhooks.SourceKind{"upstream"}, "If-Match: " + ours, true},
	} {
		s := newSite()
		s.Deriver.Sources = nil
		for _, kind := range tt.sources {
			s.Deriver.Sources = append(s.Deriver.Sources, proxyhooks.Source{Kind: kind})
		}
		var got http.Header
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			got = r.Header.Clone()
			return answering("", 204)(w, r)
		}
		line := holding{true, s.claim(t, "/m"), keyDigest("/m")}.String()
		if _, err := s.serve(requestOf(t.Context(), "PUT /m", tt.field, holderField+": "+line)); err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(tt.field, ": ")
		if want := map[bool]string{true: value}[tt.kept]; got.Get(name) != want {
			t.Errorf("%v: the backend gets %q for %q", tt.sources, got.Get(name), tt.field)
		}
		if !slices.Equal(got[holderField], []string{line}) {
			t.Errorf("the backend gets %q", got[holderField])
		}
	}
}

// What the backend is told that the write holds: the subject, and the target if that is a
// different one, and what handlers further out hold, or whoever says so.
func TestHolder(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *site)
		fields  []string
		outer   bool
		want    []string // without tokens
	}{
		"a claim":                   {nil, []string{"If-Match: *"}, false, []string{"passed claim /m"}},
		"a pass":                    {nil, nil, false, []string{"unconditional pass /m"}},
		"a guarded resource":        {func(t *testing.T, s *site) { s.guards(t, "/m", "/g") }, []string{"If-Match: *"}, false, []string{"passed claim /g", "passed pass /m"}},
		"further out in the chain":  {nil, []string{"If-Match: *"}, true, []string{"passed claim /outer", "passed claim /m"}},
		"further out":               {nil, []string{"If-Match: *", holderField + ": passed claim AAAAAAAAAAAAAAAA " + keyDigest("/outer")}, false, []string{"passed claim /outer", "passed claim /m"}},
		"in a different store":      {nil, []string{"If-Match: *", holderField + ": passed claim AAAAAAAAAAAAAAAA " + keyDigest("/m")}, false, []string{"passed claim /m", "passed claim /m"}},
		"a client that makes it up": {nil, []string{"If-Match: *", holderField + ": passed claim AAAAAAAAAAAAAAAA " + keyDigest("/outer") + " x"}, false, []string{"passed claim /m"}},
		"a client that makes up a lot": {
			nil,
			[]string{"If-Match: *", holderField + ": " + strings.Join(slices.Repeat([]string{"passed claim AAAAAAAAAAAAAAAA " + keyDigest("/outer")}, maxHoldings), ", ")},
			false,
			append(slices.Repeat([]string{"passed claim /outer"}, maxHoldings-1), "passed claim /m"),
		},
		"nothing is held":             {func(_ *testing.T, s *site) { s.ForwardUnconditional = true }, nil, false, nil},
		"nothing is enforced":         {func(_ *testing.T, s *site) { s.Answers.Mode = answer.ReportOnly }, nil, false, nil},
		"the condition doesn't count": {func(_ *testing.T, s *site) { s.Deriver.Sources = s.Deriver.Sources[:1] }, []string{"If-Unmodified-Since: Mon, 03 Nov 2025 12:00:00 GMT"}, false, []string{"unconditional claim /m"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			if tt.prepare != nil {
				tt.prepare(t, s)
			}
			var lines []string
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				if r.Method != http.MethodGet {
					lines = r.Header[holderField]
				} else if r.Header[holderField] != nil {
					t.Error("a probe tells what is held")
				}
				return answering("content", 204)(w, r)
			}
			r := requestOf(t.Context(), "PUT /m", tt.fields...)
			if tt.outer {
				caddyhttp.SetVar(r.Context(), announcedVar, s.protects("/outer"))
				r.Header[holderField] = []string{holding{true, s.claim(t, "/outer"), keyDigest("/outer")}.String()}
			}
			if w, err := s.serve(r); err != nil || w.Code != 204 {
				t.Fatalf("%v, status %d", err, w.Code)
			}
			var got []string
			for _, h := range parseHoldings(lines) {
				text := strings.Replace(h.String(), h.grant.Token+" ", "", 1)
				for _, key := range []string{"/m", "/g", "/outer"} {
					text = strings.Replace(text, keyDigest(key), key, 1)
				}
				got = append(got, text)
			}
			if !slices.Equal(got, tt.want) || got == nil && lines != nil {
				t.Errorf("the backend gets %q, want %q", lines, tt.want)
			}
		})
	}
}

// A handler that isn't needed says so once.
func TestWarnsOfOuter(t *testing.T) {
	s := newSite()
	s.Learned = NewLearned(0)
	core, logs := observer.New(zap.WarnLevel)
	s.Logger = zap.New(core)
	for range 3 {
		inner := requestOf(t.Context(), "PUT /m")
		caddyhttp.SetVar(inner.Context(), announcedVar, s.protects("/m"))
		across := requestOf(t.Context(), "PUT /n", holderField+": "+holding{true, s.claim(t, "/n"), keyDigest("/n")}.String())
		for _, r := range []*http.Request{inner, across} {
			if _, err := s.serve(r); err != nil || outcome(r) != "bypassed" {
				t.Fatalf("%v, outcome %s", err, outcome(r))
			}
		}
		s.store.Store = etagcache.NewMemory(0)
	}
	if logs.Len() != 1 {
		t.Errorf("warned %d times: %v", logs.Len(), logs.All())
	}
}
