package resource

import (
	"maps"
	"strings"
	"testing"
)

// What Caddy knows may be in a key, also what only some requests have. What it can't know is
// refused, because it would be empty in all requests.
func TestCheckPlaceholders(t *testing.T) {
	t.Parallel()
	for _, name := range append([]string{
		"http.request.uri.query.id", "http.request.header.X-Tenant", "http.request.cookie.tenant", "http.request.uri.path.7",
		"http.request.host.labels.9", "http.request.orig_uri.path.0", "http.request.tls.client.fingerprint", "http.request.local.port",
		"http.request.uuid", "http.vars.tenant", "http.regexp.name.1", "http.error.status_code", "tenant", "env.TENANT", "system.hostname",
	}, requestPlaceholders...) {
		if err := Template("{" + name + "}").CheckPlaceholders(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, meant := range map[string]string{
		"http.request.uri.pth":    "{http.request.uri.path}",
		"http.request.hots":       "{http.request.host}",
		"http.request.uri.path.x": "{http.request.uri.path.0}",
		"http.requst.host":        "{http.request.host}",
		"http.request.zzzzzzzz":   "",
	} {
		err := Template("a{" + name + "}").CheckPlaceholders()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "did you mean") != (meant != "") || !strings.Contains(err.Error(), meant) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A name that Caddy doesn't know may come from a map. It is doubtful if it looks like one
// that Caddy knows in a Caddyfile.
func TestDoubtfulPlaceholders(t *testing.T) {
	t.Parallel()
	got := Template("{pth}{tenant}{http.request.host}{vars.x}{hst}").DoubtfulPlaceholders()
	if want := map[string]string{"pth": "path", "hst": "host"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
