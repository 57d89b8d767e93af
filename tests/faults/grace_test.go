package faults

import (
	"fmt"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// If Redis loses its data, a site with a short lease gives away no claim of a site with
// a long one in the same process, although it is the first to ask and its own grace
// would end before the other site renews its claims.
func TestGraceOfANeighbour(t *testing.T) {
	t.Parallel()
	server := caddytest.UsedRedis(t)
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	for _, path := range []string{"/docs/a", "/docs/b"} {
		caddytest.Bypass(t, docs, "PUT", path, "old")
	}
	backend := caddytest.Serve(t, docs)
	var sites string
	var urls []string
	for _, lease := range []string{"12s", "1s"} {
		address := caddytest.Address(t)
		urls = append(urls, "http://"+address)
		sites += fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(fmt.Sprintf(
			"store redis redis://%s\nlease %s\nwait 1m\nverify never\n", server.Addr, lease), backend))
	}
	caddytest.Start(t, sites)
	long, short := urls[0], urls[1]
	tag := caddytest.Send(t, "GET", long+"/docs/a", "").Tag(t)
	first := g.Send(t.Context(), t, "PUT", long+"/docs/a", "first", "If-Match", tag)
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	second := caddytest.Go(t.Context(), "PUT", short+"/docs/a", "second", "If-Match", tag)
	caddytest.Send(t, "PUT", short+"/docs/b", "new").ExpectSuccess(t) // once the grace is over
	select {
	case r := <-second:
		t.Errorf("the second write didn't wait for the first: %v, %v", r.Response, r.Err)
	default:
	}
	g.Open()
	caddytest.ExpectResult(t, first, 204)
	if !t.Failed() {
		caddytest.ExpectResult(t, second, 412)
	}
}
