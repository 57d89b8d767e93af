package atomicity

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// If a write is applied after its claim was lost, nothing that was read before is
// trusted any more.
func TestLandedWithoutClaim(t *testing.T) {
	t.Parallel()
	server := caddytest.UsedRedis(t)
	c := server.Client()
	for name, condition := range map[string]bool{"a claim": true, "a pass": false} {
		t.Run(name, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			nodes := caddytest.TwoNodesAt(t, server.Addr, "verify never\nwrite_etag off", docs)
			one, two := nodes[0]+"/docs/plan", nodes[1]+"/docs/plan"
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "one")
			tag := caddytest.Send(t, "GET", one, "").Tag(t)
			var fields []string
			if condition {
				fields = []string{"If-Match", tag}
			}
			first := g.Send(t.Context(), t, "PUT", one, "two", fields...)
			if n, err := c.Del(t.Context(), "caddy:preconditions:"+caddytest.Host(t)+"/docs/plan").Result(); err != nil || n != 1 {
				t.Fatalf("%d, %v", n, err)
			}
			tag = caddytest.Send(t, "GET", two, "").Tag(t)
			g.Open()
			caddytest.ExpectResult(t, first, 204)
			caddytest.Send(t, "PUT", two, "three", "If-Match", tag).Expect(t, 412)
		})
	}
}
