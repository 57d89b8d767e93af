package proxyhooks

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A field overrides the method in every spelling that a gateway interface makes the same
// variable of.
func TestIsMethodOverride(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"X-Http-Method-Override": true, "X-HTTP-METHOD-OVERRIDE": true, "x_http_method_override": true, "X.Http-Method_override": true,
		"X-Method-Override": true, "X_method_override": true,
		"X-Http-Method": true, "X_http-Method": true,
		"X-Http-Methods": false, "X-Http-Method-Overrid": false, "XxHttp-Method": false, "X-Http0Method": false, "": false,
	} {
		if got := IsMethodOverride(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

// A probe overrides nothing: it must not become a DELETE.
func TestProbeOverridesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X_HTTP_Method_Override", "X_Method-Override", "X.HTTP.Method"} {
		r := newRequest("PUT", nil, name, "DELETE")
		r.Header[name] = r.Header[http.CanonicalHeaderKey(name)]
		probeBoth(caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			for name := range r.Header {
				if IsMethodOverride(name) {
					t.Errorf("the probe has %s", name)
				}
			}
			return nil
		}), r, 0)
	}
}
