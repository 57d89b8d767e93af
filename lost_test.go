package preconditions_test

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// A write that lands though its claim is lost leaves nothing believed that was read
// before it landed.
func TestLandedWithoutClaim(t *testing.T) {
	server := usedRedis(t)
	c := server.Client()
	for name, condition := range map[string]bool{"a claim": true, "a pass": false} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.pass})
			nodes := twoNodesAt(t, server.Addr, "verify never\nwrite_etag off", docs)
			one, two := nodes[0]+"/docs/plan", nodes[1]+"/docs/plan"
			bypass(t, docs, "PUT", "/docs/plan", "one")
			tag := send(t, "GET", one, "").tag(t)
			var fields []string
			if condition {
				fields = []string{"If-Match", tag}
			}
			first := g.send(t.Context(), t, "PUT", one, "two", fields...)
			if n, err := c.Del(t.Context(), "caddy:preconditions:127.0.0.1/docs/plan").Result(); err != nil || n != 1 {
				t.Fatalf("%d, %v", n, err)
			}
			tag = send(t, "GET", two, "").tag(t)
			g.open()
			expectResult(t, first, 204)
			send(t, "PUT", two, "three", "If-Match", tag).expect(t, 412)
		})
	}
}
