package preconditions

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// exchangeAt returns a write of a target, which the client knows by a URL.
func exchangeAt(url string, header http.Header) *exchange {
	r := httptest.NewRequest("PUT", url, nil)
	if r.URL.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	r.URL.Scheme, r.URL.Host, r.Header = "", "", header
	repl, w := caddy.NewReplacer(), httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, repl, w, nil)
	return &exchange{h: &Handler{Key: defaultKey, logger: zap.NewNop()}, w: w, r: r, repl: repl, target: r.URL.RequestURI(), header: header, key: resourceKey(defaultKey, repl)}
}

// TestSameOrigin: scheme, host and port are compared as the client sees them, in
// all their spellings (RFC 9110, sections 4.2.3 and 4.3.1).
func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		target, reference string
		want              string // path and query, or nothing
	}{
		{"http://example.com/a/b?c", "", "/a/b?c"},
		{"http://example.com/a/b?c", "?d", "/a/b?d"},
		{"http://example.com/a/b?c", "d", "/a/d"},
		{"http://example.com/a/b", "http://example.com", "/"},
		{"http://example.com/a/b", "http://EXAMPLE.com.:80/d", "/d"},
		{"http://example.com:80/a/b", "http://example.com/d", "/d"},
		{"http://example.com/a/b", "http://user@example.com/d", "/d"},
		{"http://example.com/a/b", "http://example.com:8080/d", ""},
		{"http://example.com/a/b", "https://example.com/d", ""},
		{"http://example.com/a/b", "https://example.com:80/d", ""},
		{"http://example.com/a/b", "http:d", ""},
		{"http://example.com/a/b", "ftp://example.com/d", ""},
		{"https://example.com/a/b", "https://example.com:443/d", "/d"},
		{"https://example.com:443/a/b", "//example.com/d", "/d"},
		{"https://example.com/a/b", "http://example.com/d", ""},
		{"https://example.com:8443/a/b", "https://example.com:8443/d", "/d"},
		{"https://example.com:8443/a/b", "https://example.com/d", ""},
		{"http://[2001:db8::1]:8080/a/b", "http://[2001:DB8::1]:8080/d", "/d"},
		{"http://[2001:db8::1]/a/b", "http://[2001:db8::2]/d", ""},
		{"http://example.com/a/b", "http://example.org/d", ""},
		{"http://example.com/a/b", "http://www.example.com/d", ""},
		{"http://example.com/a/b", ":", ""},
		{"http://example.com/a/b", "http://example.com:x/d", ""},
		{"http://example.com//a/b", "d", "//a/d"},
	} {
		got := ""
		if u, ok := exchangeAt(tt.target, nil).sameOrigin(tt.reference); ok {
			got = u.RequestURI()
		}
		if got != tt.want {
			t.Errorf("%q in an answer of %s is %q, want %q", tt.reference, tt.target, got, tt.want)
		}
	}
}

// TestOriginBehindProxy: the client sees what a trusted proxy says that it sees.
func TestOriginBehindProxy(t *testing.T) {
	header := http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"example.com"}}
	for _, trusted := range []bool{true, false} {
		x := exchangeAt("http://internal:8080/a", header)
		caddyhttp.SetVar(x.r.Context(), caddyhttp.TrustedProxyVarKey, trusted)
		if _, ok := x.sameOrigin("https://example.com/d"); ok != trusted {
			t.Errorf("trusted: %v, the origin of the proxy is that of the target: %v", trusted, ok)
		}
		if _, ok := x.sameOrigin("http://internal:8080/d"); ok == trusted {
			t.Errorf("trusted: %v, the origin as it is here is that of the target: %v", trusted, ok)
		}
		if _, ok := x.sameOrigin("/d"); !ok {
			t.Errorf("trusted: %v, a relative reference leads elsewhere", trusted)
		}
	}
}

// FuzzChanged: whatever an answer names, no more than so many resources of this
// host are marked as changed, and never the target.
func FuzzChanged(f *testing.F) {
	f.Add("/a", "../b", "</c>; rel=invalidates")
	f.Add("http://[::1", "//example.com/", "<%>;rel=invalidates, <?>;rel=invalidates")
	f.Fuzz(func(t *testing.T, location, content, link string) {
		wr := &writing{exchange: exchangeAt("http://example.com/a/b", nil)}
		keys := wr.changedKeys(http.Header{"Location": {location}, "Content-Location": {content}, "Link": {link}})
		if len(keys) > maxTargets {
			t.Errorf("%d keys", len(keys))
		}
		for _, key := range keys {
			if key == wr.key || len(key) < len("example.com/") || key[:len("example.com/")] != "example.com/" {
				t.Errorf("the key is %q", key)
			}
		}
	})
}
