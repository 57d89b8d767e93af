package resource

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Paths that servers read in one way are clear, however odd they are. Those that lead to
// different places in different servers aren't.
func TestUnclearPath(t *testing.T) {
	t.Parallel()
	for why, paths := range map[string][]string{
		"": {
			"", "/", "/docs", "/docs/", "/docs/plan", "/docs//plan", "/docs/plan//", "/docs///", "/docs/./plan", "/docs/x/../plan", "/docs/plan/.", "/docs/plan/..",
			"/docs/%2E/plan", "/docs/x/%2e%2E/plan", "/docs/x/.%2e/plan", "/docs/x/%2e./plan", "/docs/x%2e/plan", "/../docs/plan", "/docs/x/y/../../plan", "/a/../b/../c",
			"/docs/plan;jsessionid=1A2B", "/docs;a=b/plan;c", "/docs/;x/plan", "/docs/x;a=b/../plan", "/docs/x/..;a=b/plan", "/docs/plan%3Ba=b", "/docs/plan%3Ba%2Fb", "/docs/a%2Fb;c=d", "/docs/a;b/c%2Fd", "/docs/plan;file=../x",
			"/docs/a%2Fb", "/docs/a%2fb/c", "/docs/%2Fa", "/%2Fdocs", "/docs%2Fplan", "/docs/x/..%2Fplan", "/docs/a%5Cb", "/docs/x%5C..%5Cplan", "/%5C%5Cdocs",
			"/docs/a%252Fb", "/docs/100%25", "/docs/100%2525", "/docs/a%20b", "/docs/a+b", "/docs/a%3Fb", "/docs/a%23b", "/docs/plan%00.html", "/docs/plan%0A",
			"/docs/.well-known", "/docs/a..b", "/docs/..a", "/docs/...", "/docs/.../plan", "/docs/v1.0/plan.json", "/docs/index.html/../plan",
			"/docs/%E4", "/docs/%C3%A4", "/docs/%C0%B4", "/docs/" + strings.Repeat("a%2Fb;c/", 1000), "/(S(x))/docs",
		},
		unclearHost:    {"//", "//docs", "//docs/plan", "//any/docs/plan", "///docs/plan", "//docs/../plan"},
		unclearLetters: {"/docs/x/%C0%AE%C0%AE/plan", "/docs/x%C0%AFy", "/docs/x%E0%80%AFy", "/docs%C1%9Cplan", "/docs/%25C0%25AE"},
		unclearPlace: {
			"/docs//../plan", "/docs/plan//..", "/docs//x/../../plan", "/docs/%2F/../plan", "/docs%2Fq/%2e%2e/docs/plan", "/docs%2fq/../docs/plan", "/docs/%5C/../plan", "/docs/x%5C../../plan",
			"/docs/a/;/../plan", "/docs/a/;x/../plan", "/docs/x/..;/../plan", "/docs/x/..;x/../plan", "/docs/a/%3B/../plan", "/docs/x;a%2F..%2F/../plan", "/docs/x;%2F..%2Fplan",
			"/docs/%20/../plan", "/docs/x/..%20/../plan", "/docs/x/..%0A/../plan", "/docs/+/../plan", "/docs/.../../plan",
			"/docs/%2e/../plan", "/docs/x/%2e%2e/../plan", "/docs/x/%252e%252e/plan", "/docs/x/%252e%252E%252fplan", "/docs/x/..%252fplan", "/docs/a%252Fb/../plan",
			"/docs/a%00/../plan", "/docs/a%3F/../plan", "/docs/a%23/../plan", "/docs/plan%3F/../x",
			"/docs/;%00/plan", "/docs/%3B%00/plan", "/docs/a%2500/../plan", "/docs/plan;a%2Fb", "/docs/plan;a%5Cb", "/docs/plan;a%00/b",
			"/x/..//docs/plan", "/.//docs/plan", "/" + strings.Repeat("x", maxDotted) + "/../plan",
		},
	} {
		for _, path := range paths {
			if got := unclearPath(path); got != why {
				t.Errorf("%.80s: got %q, want %q", path, got, why)
			}
		}
	}
}

// A path that servers agree on leads to where it says.
func TestIsPlain(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/a/b": true, "/.a/b..": true, "/...": true, "": true, "/a//b": true, "/a%2Fb": true, "/a%20b": true,
		"/a/./b": false, "/a/../b": false, "/a/..": false, "/a/.": false, "/a/%2e": false, "/a%2F..%2Fb": false,
		"/a/%252e%252e": false, "/a/..;x/b": false, "/a/%C0%AE%C0%AE": false, "//a/b": false,
	} {
		u, err := url.ParseRequestURI("http://example.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := IsPlain(u); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}

// A write of an unclear path is refused. A read is marked.
func TestUnclearRequest(t *testing.T) {
	t.Parallel()
	const original = "{http.request.host}{http.request.orig_uri.path}"
	signed := http.Header{"Signature-Input": {`sig=("@method")`}, "X_original-Url": {"/docs/plan"}}
	for _, tt := range []struct {
		name            string
		namer           Namer
		method          string
		sent, rewritten string
		header          http.Header
		marked, unclear bool
	}{
		{"a clear path", Namer{Template: defaultKey}, "PUT", "/docs/plan", "", nil, false, false},
		{"an unclear path", Namer{Template: defaultKey}, "PUT", "/docs//../plan", "", nil, true, true},
		{"an unclear path with a query", Namer{Template: original}, "PUT", "/docs//../plan?a=/..", "", nil, true, true},
		{"a query is no path", Namer{Template: original}, "PUT", "/docs/plan?a=//../b", "", nil, false, false},
		{"a read", Namer{Template: defaultKey}, "GET", "/docs//../plan", "", nil, true, false},
		{"an override", Namer{Template: defaultKey}, "GET", "/docs//../plan", "", http.Header{"X-Http-Method": {"PUT"}}, true, true},
		{"neither a read nor a write", Namer{Template: defaultKey}, "PROPFIND", "/docs//../plan", "", nil, true, false},
		{"rewritten to a clear path", Namer{Template: defaultKey}, "PUT", "/docs//../plan", "/docs/plan", nil, false, false},
		{"rewritten from it, and it counts", Namer{Template: original}, "PUT", "/docs//../plan", "/index.php", nil, true, true},
		{"rewritten to an unclear path", Namer{Template: original}, "PUT", "/docs/plan", "/docs//../plan", nil, true, true},
		{"trusted", Namer{Template: original, TrustPaths: true}, "PUT", "/docs//../plan", "", nil, false, false},
		{"a field in a signed write", Namer{Template: defaultKey}, "PUT", "/docs/a", "", signed, true, true},
		{"a field in a signed read", Namer{Template: defaultKey}, "GET", "/docs/a", "", signed, true, false},
		{"a field in a signed write, trusted", Namer{TrustPaths: true}, "PUT", "/docs/a", "", signed, true, true},
		{"a field that is still there", Namer{Template: defaultKey}, "PUT", "/docs/a", "", http.Header{"X-Rewrite-Url": {"/"}}, true, false},
	} {
		r := requestAt("http://example.com"+tt.sent, tt.header).Request
		r.Method = tt.method
		if tt.rewritten != "" {
			r.URL.Path, r.URL.RawPath = tt.rewritten, ""
		}
		got := tt.namer.Request(r, RFC9421)
		if got.PathUnclear != tt.marked || (got.Unclear != "") != tt.unclear {
			t.Errorf("%s: %t, %q", tt.name, got.PathUnclear, got.Unclear)
		}
	}
}
