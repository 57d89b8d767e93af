package admin

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The README advises users who can only reach Redis to delete the field g of an entry.
// This invalidates everything stored about the resource, even if a node has it cached,
// and leaves any claim with its holder.
func TestMarkedInRedis(t *testing.T) {
	server := caddytest.UsedRedis(t)
	c := server.Client()
	mark := func() {
		t.Helper()
		n, err := c.HDel(t.Context(), "caddy:preconditions:"+caddytest.Host(t)+"/docs/plan", "g").Result()
		if err != nil || n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
	}
	g := caddytest.NewGate()
	docs, seen := caddytest.Watched(legacydocs.Options{Before: g.Pass})
	nodes := caddytest.TwoNodesAt(t, server.Addr, "verify never\nwrite_etag off\nwait 100ms", docs)
	one, two := nodes[0]+"/docs/plan", nodes[1]+"/docs/plan"
	asks := func(url, tag string, status int) int {
		t.Helper()
		return seen.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, status) })
	}
	caddytest.Bypass(t, docs, "PUT", "/docs/plan", "one")
	for _, url := range []string{one, two} {
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		caddytest.Bypass(t, docs, "PUT", "/docs/plan", "two")
		if n := asks(url, tag, 204); n != 0 {
			t.Fatalf("the origin was asked %d times", n)
		}
		tag = caddytest.Send(t, "GET", url, "").Tag(t)
		caddytest.Bypass(t, docs, "PUT", "/docs/plan", "three")
		mark()
		if n := asks(url, tag, 412); n != 1 {
			t.Errorf("the origin was asked %d times", n)
		}
		if n := asks(url, tag, 412); n != 0 {
			t.Errorf("the probe's tag was not stored: the origin was asked %d more times", n)
		}
	}

	tag := caddytest.Send(t, "GET", one, "").Tag(t)
	first := g.Send(t.Context(), t, "PUT", one, "four", "If-Match", tag)
	mark()
	caddytest.Send(t, "PUT", two, "five", "If-Match", tag).Expect(t, 503)
	g.Open()
	caddytest.ExpectResult(t, first, 204).ExpectOutcome(t, "passed")
	if n := asks(two, tag, 412); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}
