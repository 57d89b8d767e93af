package clients

import (
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestPreferRepresentation: if a client sends Prefer: return=representation, a 412
// to its write contains the current representation (RFC 8144, section 3.2).
func TestPreferRepresentation(t *testing.T) {
	backend := caddytest.Page("the current content", "Content-Type", "text/plain", "Content-Language", "en", "Vary", "Accept",
		"Cache-Control", "max-age=60", "Set-Cookie", "a=b", "X-Of-The-Page", "yes")
	url := caddytest.Site(t, "buffer 100", backend) + "/page"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	for _, method := range []string{"PUT", "PATCH", "DELETE", "POST"} {
		a := caddytest.Send(t, method, url+"?q=1", "x", "If-Match", `"stale"`, "Prefer", "return=representation", "Authorization", "Basic x").Expect(t, 412)
		if a.Content != "the current content" {
			t.Errorf("%s: the content is %q", method, a.Content)
		}
		for name, want := range map[string][]string{
			"Content-Type": {"text/plain"}, "Content-Language": {"en"}, "Content-Location": {"/page?q=1"},
			"Preference-Applied": {"return=representation"}, "Vary": {"Accept", "Prefer"}, "Etag": {tag},
			"Cache-Control": {"no-store"}, "Set-Cookie": nil, "X-Of-The-Page": nil,
		} {
			if got := a.Header[name]; !slices.Equal(got, want) {
				t.Errorf("%s: %s: %q, want %q", method, name, got, want)
			}
		}
		asked := backend.Last(t, "GET").Header
		if asked.Get("Authorization") != "Basic x" || asked["If-Match"] != nil || asked["Prefer"] != nil {
			t.Errorf("the GET to the origin had the fields %v", asked)
		}
		// The tag is valid for the next write.
		caddytest.Send(t, method, url, "x", "If-Match", a.Tag(t)).Expect(t, 204)
	}

	for name, options := range map[string]string{
		"too long":      "buffer 10",
		"not disclosed": "disclose off",
	} {
		t.Run(name, func(t *testing.T) {
			url := caddytest.Site(t, options, backend) + "/page"
			a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`, "Prefer", "return=representation").Expect(t, 412)
			if problemOf(t, a)["status"] != 412.0 || a.Header["Preference-Applied"] != nil {
				t.Errorf("%v %s", a.Header, a.Content)
			}
		})
	}
	t.Run("the origin refuses to show it", func(t *testing.T) {
		url := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Secret") == "" {
				w.WriteHeader(http.StatusForbidden)
			}
		}}) + "/page"
		caddytest.Send(t, "GET", url, "", "X-Secret", "known").Expect(t, 200)
		a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`, "Prefer", "return=representation").Expect(t, 412)
		problemOf(t, a)
	})
}
