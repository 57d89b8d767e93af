package preconditions_test

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// What the README tells those who have nothing but a client of Redis: to delete
// the field g of an entry has nothing believed that was known, although a node
// remembers it, and leaves the claim to whoever has it.
func TestMarkedInRedis(t *testing.T) {
	server := usedRedis(t)
	c := server.Client()
	mark := func() {
		t.Helper()
		n, err := c.HDel(t.Context(), "caddy:preconditions:127.0.0.1/docs/plan", "g").Result()
		if err != nil || n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
	}
	g := newGate()
	docs, seen := watched(legacydocs.Options{Before: g.pass})
	nodes := twoNodesAt(t, server.Addr, "verify never\nwrite_etag off\nwait 100ms", docs)
	one, two := nodes[0]+"/docs/plan", nodes[1]+"/docs/plan"
	asks := func(url, tag string, status int) int {
		t.Helper()
		return seen.asks(func() { send(t, "PUT", url, "x", "If-Match", tag).expect(t, status) })
	}
	bypass(t, docs, "PUT", "/docs/plan", "one")
	for _, url := range []string{one, two} {
		tag := send(t, "GET", url, "").tag(t)
		bypass(t, docs, "PUT", "/docs/plan", "two")
		if n := asks(url, tag, 204); n != 0 {
			t.Fatalf("the origin was asked %d times", n)
		}
		tag = send(t, "GET", url, "").tag(t)
		bypass(t, docs, "PUT", "/docs/plan", "three")
		mark()
		if n := asks(url, tag, 412); n != 1 {
			t.Errorf("the origin was asked %d times", n)
		}
		if n := asks(url, tag, 412); n != 0 {
			t.Errorf("what it showed was not stored: it was asked %d times", n)
		}
	}

	tag := send(t, "GET", one, "").tag(t)
	first := g.send(t.Context(), t, "PUT", one, "four", "If-Match", tag)
	mark()
	send(t, "PUT", two, "five", "If-Match", tag).expect(t, 503)
	g.open()
	expectResult(t, first, 204).expectOutcome(t, "passed")
	if n := asks(two, tag, 412); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}
