package clients

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Nobody can tell which resource a write is about if its key contains a parameter that the
// query has twice: backends take the first, the last, or all.
func TestQueryOfTheKeyIsUnclear(t *testing.T) {
	t.Parallel()
	backend := caddytest.Page("content")
	url := caddytest.OneNode(t, "key {host}{path}{query.id}", backend).First()
	for _, query := range []string{"?id=1&id=7", "?id=1&%69d=7", "?id[]=7", "?ID=7"} {
		for _, condition := range [][]string{nil, {"If-Match", "*"}} {
			caddytest.Send(t, "PUT", url+query, "x", condition...).Expect(t, 400).ExpectOutcome(t, "unverifiable")
		}
		caddytest.Send(t, "GET", url+query, "").Expect(t, 200)
	}
	if n := len(backend.All("PUT")); n > 0 {
		t.Errorf("%d writes were forwarded", n)
	}
	caddytest.Send(t, "PUT", url+"?id=1&other=7", "x").Expect(t, 204)
}
