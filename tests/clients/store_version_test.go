package clients

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// If a different version of the handler uses the store, no write is forwarded, not even
// if the store may be gone round while it is out of reach: that version's claims count.
func TestStoreOfADifferentVersion(t *testing.T) {
	m := miniredis.RunT(t)
	m.HSet("caddy:preconditions:generation", "id", "x", "format", "999")
	for _, unconditional := range []string{"serialize", "forward"} {
		backend := caddytest.Page("content")
		url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nunconditional %s\nstore_down {\nconditional forward\nunconditional forward\n}",
			m.Addr(), unconditional), backend)
		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		for _, condition := range [][]string{{"If-Match", tag}, nil} {
			a := caddytest.Send(t, "PUT", url, "x", condition...).Expect(t, 503)
			if got := a.Header.Get("Retry-After"); got != "5" {
				t.Errorf("Retry-After: %s", got)
			}
		}
		if n := len(backend.All("PUT")); n > 0 {
			t.Errorf("unconditional %s: %d writes were forwarded", unconditional, n)
		}
	}
}
