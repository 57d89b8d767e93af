package clients

import (
	"slices"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A request with a signature over its header fields reaches the backend exactly as
// the client sent it. The handler sends no other request in the client's name.
func TestSignedRequests(t *testing.T) {
	for name, signature := range map[string][]string{
		"AWS Signature Version 4":          {"Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;if-match, Signature=b"},
		"HTTP message signature, RFC 9421": {"Signature-Input", `sig=("@method" "if-match");keyid="k"`, "Signature", "sig=:YQ==:"},
		"Signature, its predecessor":       {"Authorization", `Signature keyId="k",headers="if-match",signature="b"`},
	} {
		t.Run(name, func(t *testing.T) {
			backend := caddytest.Page("content")
			url := caddytest.Site(t, "lag 1m", backend) + "/page"
			with := func(fields ...string) []string { return append(fields, signature...) }
			arrives := func(method string, name string, want ...string) {
				t.Helper()
				if got := backend.Last(t, method).Header[name]; !slices.Equal(got, want) {
					t.Errorf("%s: the backend got %s: %q, want %q", method, name, got, want)
				}
			}

			// No tag is stored yet, and the handler can't send a signed probe.
			// That isn't a condition that is false.
			a := caddytest.Send(t, "PUT", url, "x", with("If-Match", `"x"`)...).Expect(t, 503)
			if problemOf(t, a)["condition"] != "If-Match" || len(backend.All()) != 0 || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s; the backend heard %d requests", a.Content, len(backend.All()))
			}

			tag := caddytest.Send(t, "GET", url, "", with("Accept-Encoding", "gzip, br", "If-None-Match", `"x"`, "Range", "bytes=0-3")...).Tag(t)
			arrives("GET", "Accept-Encoding", "gzip, br")
			arrives("GET", "If-None-Match", `"x"`)
			arrives("GET", "Range", "bytes=0-3")

			asked := backend.Asks(func() {
				caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", `"stale"`)...).Expect(t, 412)
				caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", tag, "Prefer", "return=minimal")...).Expect(t, 204)
			})
			if asked != 0 {
				t.Errorf("the origin was asked %d times", asked)
			}
			arrives("PUT", "If-Match", tag)
			arrives("PUT", "Accept-Encoding", "gzip, br")
			arrives("PUT", "Prefer", "return=minimal")
			caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", tag)...).Expect(t, 412)
		})
	}
	t.Run("AWS Signature Version 4 in the query", func(t *testing.T) {
		backend := caddytest.Page("content")
		url := caddytest.Site(t, "", backend) + "/page?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=b"
		caddytest.Send(t, "PUT", url, "x", "If-Match", `"x"`).Expect(t, 503)
		if got := len(backend.All()); got != 0 {
			t.Errorf("the backend heard %d requests", got)
		}
	})
}

// The backend's answer to a signed write reaches the client that signed it.
func TestSignedAnswers(t *testing.T) {
	url := caddytest.Site(t, "", new(caddytest.Shelf)) + "/page"
	a := caddytest.Send(t, "PUT", url, "x", "Authorization", "AWS4-HMAC-SHA256 Signature=b").Expect(t, 200)
	if got := a.Header.Get("ETag"); got != `"of the answer"` {
		t.Errorf("ETag: %s", got)
	}
}
