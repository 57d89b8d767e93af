package resource

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddy-preconditions/preconditions/validator"
)

// A field has a version in it if it is there once, and no field may be taken for it.
func TestPlaceInHeader(t *testing.T) {
	t.Parallel()
	p, err := ParsePlace(HeaderPlace, "x-version", false)
	if err != nil || p.Name != "X-Version" {
		t.Fatal(p, err)
	}
	for _, tt := range []struct {
		header       http.Header
		sent         string
		found, clear bool
	}{
		{http.Header{}, "", false, true},
		{http.Header{"X-Version": {" 7 "}}, "7", true, true},
		{http.Header{"X-Version": {""}}, "", true, true},
		{http.Header{"X-Version": {"7", "7"}}, "7", true, false},
		{http.Header{"X-Version": {"7"}, "X_version": {"8"}}, "", true, false},
		{http.Header{"X_VERSION": {"8"}}, "", true, false},
	} {
		sent, found, clear := p.Of(&http.Request{Header: tt.header})
		if sent != tt.sent || found != tt.found || clear != tt.clear {
			t.Errorf("%v: %q, %v, %v", tt.header, sent, found, clear)
		}
	}
}

// A parameter is taken off in each of its spellings, and the rest of the query stays.
func TestWithoutParameter(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "", "rev=1": "", "rev": "", "a&rev=1&b=%31": "a&b=%31", "%72ev=1": "", "revs=1&re=2": "revs=1&re=2", "a&&rev=1": "a&", "%zz&rev": "%zz",
	} {
		if got := WithoutParameter(query, "rev"); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// A version is an entity tag, or what is between its quotes.
func TestVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"x"`: `"x"`, `x`: `"x"`, `3-abc`: `"3-abc"`, `W/"x"`: `W/"x"`, `W/x`: `"W/x"`, `*`: `"*"`, `a,b`: `"a,b"`,
		`"a", "b"`: "", `a b`: "", `"`: "", "a\x00": "",
	} {
		if got, _ := Version(text); got.String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Beside If-Match, both must hold.
func TestMatch(t *testing.T) {
	t.Parallel()
	p, _ := ParsePlace(QueryPlace, "rev", false)
	for _, tt := range []struct {
		lines   []string
		version string
		holds   bool
	}{
		{nil, "x", true},
		{[]string{"*"}, "x", true},
		{[]string{`"y"`, `"x"`}, "x", true},
		{[]string{`"x-gzip"`}, "x", true},
		{[]string{`"x"`}, "x-gzip", true},
		{[]string{`W/"x"`}, "x", false},
		{[]string{`"y"`}, "x", false},
		{[]string{""}, "x", false},
		{[]string{"x"}, "x", false},
	} {
		r := &Request{Request: httptest.NewRequest(http.MethodPut, "/", nil), Class: Write, Meaning: http.MethodPut}
		r.Conditions.IfMatch = tt.lines
		version, _ := Version(tt.version)
		if got := Match(r, p, tt.version, version); got != tt.holds {
			t.Errorf("%q, %s: %v", tt.lines, tt.version, got)
		} else if got && (!r.Conditional || !slices.Equal(r.Conditions.IfMatch, []string{version.String()}) || r.Sent != tt.version) {
			t.Errorf("%q, %s: %+v", tt.lines, tt.version, r.Conditions)
		}
	}
	if (Place{}).String() != "" || p.Text() != "the query parameter rev" || validator.IfMatch.String() != "If-Match" {
		t.Error(p)
	}
}

// Where weak tags count, a version and If-Match may differ in that alone. The weak one then
// counts, because the strong one may hold where that doesn't.
func TestMatchOfWeakTags(t *testing.T) {
	t.Parallel()
	p, _ := ParsePlace(QueryPlace, "rev", false)
	for _, tt := range []struct {
		weak             validator.WeakTags
		listed, sent, is string // nothing if both can't hold
	}{
		{validator.WeakTags{Current: true}, `W/"7"`, `7`, `W/"7"`},
		{validator.WeakTags{Current: true}, `"7"`, `W/"7"`, `W/"7"`},
		{validator.WeakTags{Listed: true}, `"6", W/"7-gzip"`, `"7"`, `W/"7"`},
		{validator.WeakTags{Listed: true}, `"7", W/"7"`, `7`, `"7"`},
		{validator.WeakTags{Listed: true, Current: true}, `W/"6"`, `7`, ""},
		{validator.WeakTags{}, `W/"7"`, `7`, ""},
	} {
		r := &Request{Request: httptest.NewRequest(http.MethodPut, "/", nil), Class: Write, Meaning: http.MethodPut}
		r.Conditions.IfMatch, r.Conditions.Weak = []string{tt.listed}, tt.weak
		version, _ := Version(tt.sent)
		if ok := Match(r, p, tt.sent, version); ok != (tt.is != "") || ok && r.Conditions.IfMatch[0] != tt.is {
			t.Errorf("%+v: %v, %q", tt, ok, r.Conditions.IfMatch)
		}
	}
}

// Only what is one segment in every reading can name a resource.
func TestIsSegment(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"x": true, "a b": true, "v1.2": true, "ä": true, "a:b@c": true, "7": true, "a;b": true,
		"": false, ".": false, "..": false, "a/b": false, `a\b`: false, "a%2Fb": false, " ": false, ";x": false,
		"index.html": false, "a\x00": false, "a\nb": false, "\xff": false, "...": false,
	} {
		if got := IsSegment(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
