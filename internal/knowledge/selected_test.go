package knowledge

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// show stores what a response to a request showed, which varies by some fields.
func (s *site) show(t *testing.T, line, vary string, o validator.Observed, fields ...string) {
	t.Helper()
	v := s.read(t, line, fields...)
	observation, ok := v.Observation(o, header("Vary: "+vary))
	if !ok {
		t.Fatal("no observation")
	}
	if err := v.Store(observation); err != nil {
		t.Fatal(err)
	}
}

// The condition of a write is about the representation that its own fields select. An
// If-Match may also hold for one that the same client would get if it negotiated as it
// did before (RFC 9110, section 13.1.1).
func TestSelected(t *testing.T) {
	const vary = "Accept, Accept-Language, Accept-Charset, X-Api-Version, Cookie, Authorization, X-Tenant"
	own, other := `If-Match: "own"`, `If-Match: "other"`
	long := strings.Repeat("x", proxyhooks.MaxNegotiation-len("accept: \n"))
	for _, tt := range []struct {
		name string
		line string // of the read that saw "other"
		read []string
		want string
		// the write has the condition and:
		written []string
	}{
		{"the same fields", "GET /a", nil, "own", []string{own}},
		{"a media type, then none", "GET /a", []string{"Accept: text/html"}, "other", []string{other}},
		{"a media type, then any", "GET /a", []string{"Accept: text/html"}, "other", []string{other, "Accept: */*"}},
		{"none, then a media type", "GET /a", []string{"X-Tenant: 1"}, "other", []string{other, "X-Tenant: 1", "Accept: text/html"}},
		{"two lines", "GET /a", []string{"Accept: text/html", "Accept: text/plain", "Accept: "}, "other", []string{other}},
		{"a language", "GET /a", []string{"Accept-Language: de"}, "other", []string{other, "Accept-Language: en"}},
		{"a charset", "GET /a", []string{"Accept-Charset: utf-8"}, "other", []string{other}},
		{"a version", "GET /a", []string{"X-Api-Version: 2"}, "other", []string{other, "X-Api-Version: 3"}},
		{"all of them", "GET /a", []string{"Accept: text/html", "Accept-Language: de", "X-Api-Version: 2"}, "other", []string{other}},
		{"the same user", "GET /a", []string{"Accept: text/html", "Cookie: me"}, "other", []string{other, "Cookie: me"}},
		{"the longest fields", "GET /a", []string{"Accept: " + long}, "other", []string{other}},
		{"a tag of a list", "GET /a", []string{"Accept: text/html"}, "other", []string{`If-Match: "x", "other"`}},
		{"a mark of a coding", "GET /a", []string{"Accept: text/html"}, "other", []string{`If-Match: "other-gzip"`}},

		{"its own satisfies the condition too", "GET /a", []string{"Accept: text/html"}, "own", []string{`If-Match: "own", "other"`}},
		{"none satisfies the condition", "GET /a", []string{"Accept: text/html"}, "own", []string{`If-Match: "x"`}},
		{"any satisfies it", "GET /a", []string{"Accept: text/html"}, "own", []string{"If-Match: *"}},
		{"a different query", "GET /a?q", []string{"Accept: text/html"}, "own", []string{other}},
		{"a different original target", "GET /b > /a", []string{"Accept: text/html"}, "own", []string{other}},
		{"a different user", "GET /a", []string{"Accept: text/html", "Cookie: me"}, "", []string{other, "Cookie: you"}},
		{"nobody, then a user", "GET /a", []string{"Accept: text/html"}, "", []string{other, "Cookie: me"}},
		{"a user, then nobody", "GET /a", []string{"Accept: text/html", "Cookie: me"}, "own", []string{other}},
		{"different credentials", "GET /a", []string{"Accept: text/html", "Authorization: me"}, "", []string{other, "Authorization: you"}},
		{"a different tenant", "GET /a", []string{"Accept: text/html", "X-Tenant: 1"}, "", []string{other, "X-Tenant: 2"}},
		{"longer fields", "GET /a", []string{"Accept: " + long + "x"}, "own", []string{other}},
		{"a signed request", "GET /a", []string{"Accept: text/html"}, "", []string{other, "Signature-Input: x"}},
		{"a list in If-None-Match", "GET /a", []string{"Accept: text/html"}, "own", []string{`If-None-Match: "other"`}},
		{"with a list in If-None-Match as well", "GET /a", []string{"Accept: text/html"}, "own", []string{other, `If-None-Match: "x"`}},
		{"a date", "GET /a", []string{"Accept: text/html"}, "own", []string{"If-Unmodified-Since: Mon, 03 Nov 2025 12:00:00 GMT"}},
	} {
		s := newSite(t)
		s.show(t, "GET /a", vary, present("own"))
		if tt.read != nil {
			s.show(t, tt.line, vary, present("other"), tt.read...)
		}
		view := s.read(t, "PUT /a", tt.written...)
		selected, stored, res := view.EvaluateStored()
		if got := stored.ETag.Opaque; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if selected.Negotiated() != (tt.want == "other") || Own(selected).Stored().ETag == tag("other") {
			t.Errorf("%s: negotiated: %v, its own is %s", tt.name, selected.Negotiated(), Own(selected).Stored().ETag)
		}
		if tt.want == "other" && (res.Verdict != validator.True || selected.Selected().Stored().ETag != stored.ETag) {
			t.Errorf("%s: %s", tt.name, res.Verdict)
		}
		confirmed, err := selected.Confirm()
		if err != nil || confirmed.Stored().ETag != stored.ETag {
			t.Errorf("%s: %v, confirmed as %s", tt.name, err, confirmed.Stored().ETag)
		}
	}
}

// A tag of a different representation counts only under the present epoch, and not
// while a write is in flight.
func TestSelectedUnderThePresentEpoch(t *testing.T) {
	s := newSite(t)
	s.show(t, "GET /a", "Accept", present("other"), "Accept: text/html")
	put := func() View { return s.read(t, "PUT /a", `If-Match: "other"`) }
	if !put().Selected().Negotiated() {
		t.Fatal("isn't selected")
	}
	grant, _, err := s.share.Claim(t.Context(), "/a", put().Entry().Epoch, terms)
	if err != nil {
		t.Fatal(err)
	}
	if v, stored, res := put().EvaluateStored(); v.Negotiated() || stored.State != validator.Unknown || res.Verdict != validator.Unverifiable {
		t.Errorf("during a write: %+v, %s", stored, res.Verdict)
	}
	if err := s.share.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
		t.Fatal(err)
	}
	if v, stored, res := put().EvaluateStored(); v.Negotiated() || stored.State != validator.Unknown || res.Verdict != validator.Unverifiable {
		t.Errorf("after a write: %+v, %s", stored, res.Verdict)
	}
}

// `If-None-Match: *` is about any representation that the client could get (RFC 9110,
// section 13.1.2).
func TestSelectedToCreate(t *testing.T) {
	absent := validator.Observed{Representation: validator.Representation{State: validator.Absent}}
	for name, tt := range map[string]struct {
		own    *validator.Observed
		other  validator.Observed
		fields []string
		want   validator.Verdict
	}{
		"nothing is known of its own":   {nil, present("other"), nil, validator.False},
		"its own doesn't exist":         {&absent, present("other"), nil, validator.False},
		"the other doesn't exist":       {nil, absent, nil, validator.Unverifiable},
		"neither exists":                {&absent, absent, nil, validator.True},
		"the other is a different user": {nil, present("other"), []string{"Cookie: you"}, validator.Unverifiable},
	} {
		s := newSite(t)
		const vary = "Accept, Cookie"
		s.show(t, "GET /a", vary, tt.other, "Accept: text/html")
		if tt.own != nil {
			s.show(t, "GET /a", vary, *tt.own)
		}
		_, _, res := s.read(t, "PUT /a", append(tt.fields, "If-None-Match: *")...).EvaluateStored()
		if res.Verdict != tt.want {
			t.Errorf("%s: %s", name, res.Verdict)
		}
	}
}

// With the source version, a tag says that nobody has written the resource since. So the
// tag of any representation counts, whoever has seen it.
func TestSelectedVersion(t *testing.T) {
	for name, tt := range map[string]struct{ condition, want string }{
		"its own":                               {`If-Match: "plain"`, "plain"},
		"the tag of a different representation": {`If-Match: "html"`, "html"},
		"the tag of a different user":           {`If-Match: "yours"`, "yours"},
		"none satisfies the condition":          {`If-Match: "other"`, "plain"},
		"its own with If-None-Match":            {`If-None-Match: "html"`, "plain"},
	} {
		s := newSite(t).versioned()
		s.show(t, "GET /a", "Accept, Cookie", present("html"), "Accept: text/html")
		s.show(t, "GET /a?q", "Accept, Cookie", present("yours"), "Cookie: you")
		s.show(t, "GET /a", "Accept, Cookie", present("plain"))
		selected, stored, _ := s.read(t, "PUT /a", tt.condition).EvaluateStored()
		if !stored.Equal(present(tt.want)) || !selected.Stored().Equal(present(tt.want)) {
			t.Errorf("%s: got %s", name, stored.ETag)
		}
	}
}

// Of several representations that satisfy a condition, the one that was seen last is the
// likeliest to be fresh.
func TestSelectedIsTheFreshest(t *testing.T) {
	s := newSite(t)
	v := s.read(t, "PUT /a", `If-Match: "1"`)
	var variants etagcache.Variants
	for i := range etagcache.MaxVariants {
		read := s.reader(t.Context(), "GET /a", fmt.Sprintf("Accept: text/%d", i))
		o, _ := View{Reader: read}.Observation(present("1"), header("Vary: Accept"))
		age := terms.Lease * 100
		if i == 41 {
			age = 1
		}
		variants = append(variants, etagcache.Variant{Key: o.Variant, Stored: etagcache.Stored{Observed: o.Observed, Age: age}})
	}
	v.entry.Vary, v.entry.Variants = "accept", variants
	if got := v.Selected().Renegotiated(v.Request.Request).Header.Get("Accept"); got != "text/41" {
		t.Errorf("got %s", got)
	}
}

// A probe for a different representation has the fields that negotiated it. It takes
// everything else from the write, above all the credentials.
func TestRenegotiated(t *testing.T) {
	s := newSite(t)
	const vary = "Accept, Accept-Language, Cookie"
	s.show(t, "GET /a", vary, present("1"), "Accept: text/html", "Accept: text/plain", "Cookie: me", "X-Trace: 1")
	v := s.read(t, "PUT /a", `If-Match: "1"`, "Accept: */*", "Accept-Language: de", "Accept-Encoding: br", "Cookie: me", "X-Trace: 2", "X-Format: x")
	before := v.Request.Header.Clone()
	r := v.Selected().Renegotiated(v.Request.Request)
	want := http.Header{
		"If-Match": {`"1"`}, "Accept": {"text/html", "text/plain"}, "Accept-Encoding": {"br"}, "Cookie": {"me"}, "X-Trace": {"2"}, "X-Format": {"x"},
	}
	if !maps.EqualFunc(r.Header, want, slices.Equal) {
		t.Errorf("got %v, want %v", r.Header, want)
	}
	if !maps.EqualFunc(v.Request.Header, before, slices.Equal) {
		t.Errorf("the write itself has %v", v.Request.Header)
	}
	if v.Renegotiated(v.Request.Request) != v.Request.Request {
		t.Error("the probe for its own representation is a different request")
	}
}

// What a probe for a different representation shows is stored as that representation,
// and Past compares it with what is known of that one.
func TestObservationOfSelected(t *testing.T) {
	s := newSite(t)
	s.show(t, "GET /a", "Accept", present("1"), "Accept: text/html")
	v := s.read(t, "PUT /a", `If-Match: "1"`).Selected()
	for _, variant := range v.Entry().Variants {
		if o, ok := v.Observation(present("1"), header("Vary: Accept")); !ok || o.Variant != variant.Key {
			t.Errorf("%v, %q, want %q", ok, o.Variant, variant.Key)
		}
		if o, _ := Own(v).Observation(present("1"), header("Vary: Accept")); o.Variant == variant.Key {
			t.Error("its own has the same key")
		}
	}
	v.entry.Doubt = 1 // doesn't extend to what is known
	if v.Past(present("1")) != NotPast || v.Past(present("2")) == NotPast || Own(v).Past(present("1")) == NotPast {
		t.Errorf("%v, %v, %v", v.Past(present("1")), v.Past(present("2")), Own(v).Past(present("1")))
	}
}
