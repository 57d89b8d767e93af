package resource

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Scheme, host and port are compared as the client sees them, in all spellings
// (RFC 9110, sections 4.2.3 and 4.3.1).
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
		if u, ok := requestAt(tt.target, nil).SameOrigin(tt.reference); ok {
			got = u.RequestURI()
		}
		if got != tt.want {
			t.Errorf("%q in an answer of %s is %q, want %q", tt.reference, tt.target, got, tt.want)
		}
	}
}

// Behind a trusted proxy, the origin is the one that the proxy names.
func TestOriginBehindProxy(t *testing.T) {
	header := http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"example.com"}}
	for _, trusted := range []bool{true, false} {
		r := requestAt("http://internal:8080/a", header)
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, trusted)
		if _, ok := r.SameOrigin("https://example.com/d"); ok != trusted {
			t.Errorf("trusted: %v, the origin of the proxy is that of the target: %v", trusted, ok)
		}
		if _, ok := r.SameOrigin("http://internal:8080/d"); ok == trusted {
			t.Errorf("trusted: %v, the origin as it is here is that of the target: %v", trusted, ok)
		}
		if _, ok := r.SameOrigin("/d"); !ok {
			t.Errorf("trusted: %v, a relative reference leads elsewhere", trusted)
		}
	}
}

// All spellings of a host, with any port, have one name.
func TestHostName(t *testing.T) {
	for host, want := range map[string]string{
		"example.com":        "example.com",
		"EXAMPLE.com.:8080":  "example.com",
		"www.example.com":    "www.example.com",
		"[2001:DB8::1]":      "2001:db8::1",
		"[2001:db8::1]:8080": "2001:db8::1",
		"":                   "",
	} {
		r := &Request{Request: &http.Request{Host: host}}
		if got := r.HostName(); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
