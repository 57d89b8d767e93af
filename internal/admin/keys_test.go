package admin

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/validator"
)

// The templates of keys that the tests use. The first is the default.
const (
	hostPath = "{http.request.host}{http.request.uri.path}"
	hostURI  = "{http.request.host}{http.request.uri}"
	oneQuery = "{http.request.uri.path}?{http.request.uri.query.id}"
	origin   = "{http.request.scheme}://{http.request.hostport}{http.request.uri.path}"
	segment  = "{http.request.uri.path.0}"
	tenant   = "{http.request.header.X-Tenant}{http.request.uri.path}"
)

// A URL means the key that requests for it have, in whatever spelling. A pattern
// means patterns of keys.
func TestTemplateKeys(t *testing.T) {
	for _, tt := range []struct {
		template, url string
		want          []string // or a text that the error contains
	}{
		{hostPath, "http://example.com/docs/plan", []string{"example.com/docs/plan"}},
		{hostPath, "https://EXAMPLE.com./Docs//./plan/?q", []string{"example.com/docs/plan"}},
		{hostPath, "http://example.com", []string{"example.com/"}},
		{hostPath, "http://example.com/docs/index.html", []string{"example.com/docs"}},
		{hostURI, "http://example.com/docs/Plan?a=B", []string{"example.com/docs/Plan?a=B"}},
		{origin, "https://example.com:443/docs", []string{"https://example.com/docs"}},
		{origin, "http://example.com:8080/docs", []string{"http://example.com:8080/docs"}},
		{segment, "http://example.com/docs/plan", []string{"docs"}},

		{hostPath, "http://example.com/docs/*", []string{"example.com/docs/*", "example.com/docs"}},
		{hostPath, "http://example.com/docs/index*", []string{"example.com/docs/index*", "example.com/docs"}},
		{hostPath, "http://example.com/*/plan", []string{"example.com/*/plan"}},
		{hostPath, "http://*/index.json", []string{"*/"}},
		{hostPath, "http://*.example.com/docs", []string{"*.example.com/docs"}},
		{hostPath, "http://example.com/docs/**", []string{"example.com/docs/**"}},
		{hostPath, "http://example.com/**", []string{"example.com/**"}},
		{hostPath, "http://example.com/i**", []string{"example.com/i**", "example.com/"}},
		{hostURI, "http://example.com/docs/**", []string{"example.com/docs/**?**", "example.com/docs?**"}},
		{oneQuery, "http://example.com/docs/**", []string{"/docs/**?**", "/docs?**"}},
		{segment, "http://example.com/docs/**", []string{"contains only parts of the path"}},
		{tenant, "http://example.com/docs", []string{"depends on more than the URL"}},
		{tenant, "http://example.com/docs/**", []string{"depends on more than the URL"}},
	} {
		target, err := parseURL(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := templateKeys(resource.Template(tt.template), *target)
		if err != nil {
			if len(tt.want) != 1 || !strings.Contains(err.Error(), tt.want[0]) {
				t.Errorf("%s: %v", tt.url, err)
			}
			continue
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s of %s: got %q, want %q", tt.template, tt.url, got, tt.want)
		}
	}
}

// A pattern of URLs matches the key of every request that it should, and of no
// other.
func TestPatternsMatchKeys(t *testing.T) {
	for _, tt := range []struct {
		template        resource.Template
		pattern         string
		matches, misses []string
	}{
		{hostPath, "http://example.com/docs/*", []string{"/docs/a", "/docs/", "/docs/index.html", "/DOCS/a/"}, []string{"/docs/a/b", "/doc", "/"}},
		{hostPath, "http://example.com/docs/**", []string{"/docs", "/docs/", "/docs/a", "/docs/a/b?q=1", "/docs/index.php"}, []string{"/", "/doc", "/docs2"}},
		{hostPath, "http://example.com/docs**", []string{"/docs", "/docs2", "/docs/a"}, []string{"/doc"}},
		{hostPath, "http://example.com/**", []string{"/", "/a", "/a/b?q"}, nil},
		{hostPath, "http://example.com/*/plan", []string{"/a/plan", "/b/Plan?q"}, []string{"/plan", "/a/b/plan", "/a/plan2"}},
		{hostPath, "http://*.com/a", []string{"/a"}, []string{"/b"}},
		{hostPath, "http://example.org/**", nil, []string{"/", "/a"}},
		{hostURI, "http://example.com/docs/*", []string{"/docs/a"}, []string{"/docs/a/b", "/other"}},
		{hostURI, "http://example.com/docs/**", []string{"/docs/a?q", "/docs/a/b?q", "/docs?q", "/docs/a", "/docs"}, []string{"/other?q", "/docs2?q", "/docs2"}},
		{oneQuery, "http://example.com/docs/**", []string{"/docs/a?id=1", "/docs?id=2", "/docs/a"}, []string{"/other?id=1"}},
	} {
		target, err := parseURL(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		patterns, err := templateKeys(tt.template, *target)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range slices.Concat(tt.matches, tt.misses) {
			key := keyOf(t, tt.template, "http://example.com"+path)
			got := slices.ContainsFunc(patterns, func(p string) bool { return resource.PatternMatches(p, key, true) })
			if got != slices.Contains(tt.matches, path) {
				t.Errorf("%s: %s matches %s (%q, %q): %v", tt.template, tt.pattern, path, patterns, key, got)
			}
		}
	}
}

// keyOf returns the key that a request for a URL has.
func keyOf(t *testing.T, template resource.Template, target string) string {
	t.Helper()
	repl := caddy.NewReplacer()
	caddyhttp.PrepareRequest(httptest.NewRequest("GET", target, nil), repl, nil, nil)
	return template.Key(repl)
}

// A URL must be one that a client could ask for.
func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://example.com/a":    "",
		"https://example.com":     "",
		"http://*/a":              "",
		"http://[::1]:8080/a":     "",
		"HTTP://example.com/a":    "",
		"example.com/a":           "must begin with http:// or https:// and a host",
		"/a":                      "must begin with",
		"":                        "must begin with",
		"ftp://example.com/a":     "must begin with",
		"http:///a":               "must begin with",
		"http://:8080/a":          "must begin with",
		"http:example.com":        "must begin with",
		"http://bücher.example/a": "must have its host in ASCII, as xn--…",
		"http://[::1/a":           "missing ']' in host",
		"http://example.com/%zz":  "invalid URL escape",
	} {
		_, err := parseURL(text)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// An origin has a scheme, a host and perhaps a port, and nothing else.
func TestParseOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"http://example.com":          "",
		"https://example.com:8443/":   "",
		"http://example.com/a":        "must be an origin, such as http://example.com: groups have no path",
		"http://example.com/?":        "groups have no path",
		"http://example.com/?q":       "groups have no path",
		"http://example.com/#f":       "groups have no path",
		"http://me@example.com":       "groups have no path",
		"http://*.example.com":        "must be one origin, without an asterisk",
		"http://*.example.com/a":      "groups have no path",
		"example.com":                 "must begin with http:// or https:// and a host",
		"https://bücher.example:8443": "ASCII",
	} {
		got, err := parseOrigin(text)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && (got.Path != "" || got.Host == "") {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// share is a share of a store with handlers whose keys have these templates.
func share(templates ...string) storeshare.OpenShare {
	return storeshare.OpenShare{Templates: templates}
}

// A URL has one key for each template, and a group too.
func TestKeysOfEveryTemplate(t *testing.T) {
	s := share(hostPath, origin)
	got, err := urlKeys(s, "http://example.com/a/*")
	if want := []string{"example.com/a/*", "example.com/a", "http://example.com/a/*", "http://example.com/a"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = groupKeys(s, originGroups{Origin: "http://EXAMPLE.com:80/", Names: []string{"cars", "Vans*"}})
	want := []string{
		"group example.com cars", "group example.com Vans*",
		"group http example.com cars", "group http example.com Vans*",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := urlKeys(share(hostPath, tenant), "http://example.com/a"); err == nil || !strings.Contains(err.Error(), "give the key of http://example.com/a instead") {
		t.Errorf("got %v", err)
	}
	for _, text := range []string{"", "example.com"} {
		if _, err := urlKeys(s, text); err == nil {
			t.Errorf("%q: no error", text)
		}
		if _, err := groupKeys(s, originGroups{Origin: text}); err == nil {
			t.Errorf("groups of %q: no error", text)
		}
	}
}

// The keys of a group are those that requests at its origin have.
func TestGroupKeysAreThoseOfRequests(t *testing.T) {
	for _, template := range []string{hostPath, hostURI, origin, "{http.request.port}", "{http.request.uri.path}"} {
		for _, at := range []string{"http://example.com", "http://example.com:8080", "http://Example.com."} {
			got, err := groupKeys(share(template), originGroups{Origin: at, Names: []string{"cars"}})
			if err != nil {
				t.Fatal(err)
			}
			repl := caddy.NewReplacer()
			caddyhttp.PrepareRequest(httptest.NewRequest("GET", at+"/a", nil), repl, nil, nil)
			if want := resource.Template(template).GroupKey(repl, "cars"); !slices.Equal(got, []string{want}) {
				t.Errorf("%s at %s: got %q, want %q", template, at, got, want)
			}
		}
	}
}

// What is named twice is marked once, and keys are taken as they are.
func TestTargets(t *testing.T) {
	p := purge{
		URLs: []string{"http://example.com/a", "http://example.com/A/"},
		Keys: []string{"example.com/a", "Tenant/*", "Tenant/*"},
		Groups: []originGroups{
			{Origin: "http://example.com", Names: []string{"cars", "cars"}},
			{Origin: "http://example.com/", Names: []string{"cars"}},
		},
	}
	got, err := p.targetsIn(share(hostPath))
	if err != nil || !slices.Equal(got.keys, []string{"Tenant/*", "example.com/a"}) || !slices.Equal(got.groups, []string{"group example.com cars"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if len(p.Keys) != 3 || p.Keys[1] != "Tenant/*" {
		t.Errorf("the request became %q", p.Keys)
	}
	for _, p := range []purge{{URLs: []string{"x"}}, {Groups: []originGroups{{Origin: "x"}}}} {
		if _, err := p.targetsIn(share(hostPath)); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

// What a store knows is shown in a stable order, and without what it doesn't know.
func TestShow(t *testing.T) {
	stored := func(edit func(*etagcache.Stored)) (s etagcache.Stored) {
		s.State, s.Age = validator.Present, 1500*time.Millisecond
		if edit != nil {
			edit(&s)
		}
		return s
	}
	shown := show("memory", "key", etagcache.Peeked{Known: true, Claimed: true, Kept: time.Minute, Entry: etagcache.Entry{
		Epoch: "e", Busy: 2 * time.Second, Vary: "accept;cars=e1;a%2C+b=;%7F1=e2",
		Variants: etagcache.Variants{
			{Key: "b", Stored: stored(func(s *etagcache.Stored) { s.ETag, s.Own = validator.ETag{Opaque: "x", Valid: true}, true })},
			{Key: "a", Stored: stored(nil)},
			{Key: "d\naccept: x\naccept-language: de\n", Stored: stored(func(s *etagcache.Stored) { s.Backend = validator.ETag{Opaque: "1", Weak: true, Valid: true} })},
			{Key: "c", Stored: stored(func(s *etagcache.Stored) {
				s.State = validator.Absent
				s.LastModified = time.Date(2025, 11, 3, 13, 0, 0, 0, time.FixedZone("x", 3600))
			})},
		},
	}})
	want := []shownVariant{
		{Variant: "a", State: "present", Age: 1.5},
		{Variant: "b", State: "present", ETag: `"x"`, Own: true, Age: 1.5},
		{Variant: "c", State: "absent", LastModified: "Mon, 03 Nov 2025 12:00:00 GMT", Age: 1.5},
		{Variant: "d", State: "present", Age: 1.5, BackendETag: `W/"1"`, Negotiated: "accept: x\naccept-language: de"},
	}
	if !slices.Equal(shown.Variants, want) {
		t.Errorf("got  %+v\nwant %+v", shown.Variants, want)
	}
	if shown.Store != "memory" || shown.Key != "key" || shown.Epoch != "e" || shown.Busy != 2 || shown.Kept != 60 || !shown.Known || !shown.Claimed || !strings.HasPrefix(shown.Vary, "accept;") {
		t.Errorf("got %+v", shown)
	}
	if nothing := show("memory", "key", etagcache.Peeked{}); nothing.Variants == nil || nothing.Known {
		t.Errorf("got %+v", nothing)
	}
	if !slices.Equal(shown.Groups, []string{"cars", "a, b"}) {
		t.Errorf("got the groups %q", shown.Groups)
	}
}
