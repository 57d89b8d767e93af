package preconditions

import (
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// keyOf returns the key of the resource that a request is for.
func keyOf(template, host, target string) string {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = host
	repl := caddy.NewReplacer()
	caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	return resourceKey(template, repl)
}

// What backends take for one path is one resource.
func TestSpellingsShareAKey(t *testing.T) {
	tests := []struct {
		name         string
		host, target string
	}{
		{"as it is", "example.com", "/docs/plan"},
		{"case of the host", "Example.COM", "/docs/plan"},
		{"port", "example.com:8080", "/docs/plan"},
		{"default port", "example.com:80", "/docs/plan"},
		{"host as a fully qualified name", "example.com.", "/docs/plan"},
		{"host as a fully qualified name, with port", "EXAMPLE.com.:443", "/docs/plan"},
		{"query", "example.com", "/docs/plan?draft=1"},
		{"empty query", "example.com", "/docs/plan?"},
		{"empty segments", "example.com", "//docs///plan"},
		{"dot segments", "example.com", "/a/../docs/./plan"},
		{"dot segments above the root", "example.com", "/../../docs/plan"},
		{"slash at the end", "example.com", "/docs/plan/"},
		{"dot at the end", "example.com", "/docs/plan/."},
		{"needless escapes", "example.com", "/d%6Fcs/pl%61n"},
		{"case of the path", "example.com", "/Docs/PLAN"},
		{"escaped slash", "example.com", "/docs%2Fplan"},
		{"escaped dot segments", "example.com", "/a/%2e%2E/docs/plan"},
	}
	for _, tt := range tests {
		if got, want := keyOf(defaultKey, tt.host, tt.target), "example.com/docs/plan"; got != want {
			t.Errorf("%s: the key of %s%s is %s, want %s", tt.name, tt.host, tt.target, got, want)
		}
	}
}

func TestDifferentResourcesHaveDifferentKeys(t *testing.T) {
	seen := make(map[string]string)
	for _, target := range []struct{ host, path string }{
		{"example.com", "/"},
		{"example.com", "/docs"},
		{"example.com", "/docs/plan"},
		{"example.com", "/docs/plan%20"}, // space
		{"example.com", "/docs/plan%252F"},
		{"example.com", "/docs/plan."},
		{"example.com", "/docs/.plan"},
		{"example.com", "/docs/plan%3Fdraft=1"}, // no query
		{"example.com", "/docs/plan%00"},
		{"example.com", "/docs/pl%C3%A4n"},
		{"example.org", "/docs/plan"},
		{"docs.example.com", "/plan"},
		{"192.0.2.1", "/"},
		{"[2001:db8::1]:80", "/"},
	} {
		name := target.host + target.path
		key := keyOf(defaultKey, target.host, target.path)
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s share the key %s", name, other, key)
		}
		seen[key] = name
	}
}

// Only host and path are normalised: nobody knows what the rest means.
func TestKeyTemplate(t *testing.T) {
	tests := []struct{ template, want string }{
		{"fixed", "fixed"},
		{"{http.request.host}", "example.com"},
		{"{http.request.hostport}", "example.com:8080"},
		{"{http.request.uri.path}", "/a/b"},
		{"{http.request.orig_uri.path}", "/a/b"},
		{"{http.request.uri.path}?{http.request.uri.query}", "/a/b?Q=//1"},
		{"{http.request.header.X-Tenant}{http.request.uri.path}", "Ann//1/a/b"},
		{"{http.request.header.X-None}{http.request.uri.path}", "/a/b"},
		{"{no.such.placeholder}/x", "/x"},
		{`\{literal\}`, "{literal}"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "//a/./b/?Q=//1", nil)
		r.URL.Path, r.URL.RawPath, r.URL.Host = "//a/./b/", "", "" // NewRequest takes //a for a host
		r.RequestURI = "//a/./b/?Q=//1"
		r.Host = "EXAMPLE.com:8080"
		r.Header.Set("X-Tenant", "Ann//1")
		repl := caddy.NewReplacer()
		caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
		if got := resourceKey(tt.template, repl); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.template, got, tt.want)
		}
	}
}

// A resource has the same key as the target of a request and as something else
// that a request for another one changes.
func TestKeyAt(t *testing.T) {
	templates := []string{
		defaultKey, "{http.request.hostport}{http.request.uri.path}", "{http.request.host}{http.request.orig_uri.path}",
		"{http.request.uri}", "{http.request.uri.query.id}{http.vars.tenant}", "{http.request.uri.path.1}",
	}
	for _, template := range templates {
		for _, target := range []string{"/", "/docs/plan", "/Docs//plan/?id=7", "/docs/a%2Fb?id=%20", "/docs/%7Eann"} {
			at := func(target string) *exchange {
				r := httptest.NewRequest("PUT", target, nil)
				r.Host = "Example.com:8080"
				repl := caddy.NewReplacer()
				w := httptest.NewRecorder()
				r = caddyhttp.PrepareRequest(r, repl, w, nil)
				caddyhttp.SetVar(r.Context(), "tenant", "a")
				return &exchange{h: &Handler{Key: template}, w: w, r: r, repl: repl}
			}
			own := at(target)
			if got, want := at("/other?id=x").keyAt(own.r.URL), resourceKey(template, own.repl); got != want {
				t.Errorf("%s of %s is %q from elsewhere, want %q", template, target, got, want)
			}
		}
	}
}
