package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// With a Redis that has just started, all writes wait for the grace, and none is refused
// for it: one writer of many wins, and the others are told so. As by default, the grace is
// as long as the wait.
func TestFreshRedis(t *testing.T) {
	t.Parallel()
	for _, c := range caddytest.Contests {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			docs := legacydocs.New(legacydocs.Options{})
			nodes := nodesAt(t, server, "lease 6s\nwait 2s\n", docs)
			begun := time.Now()
			if winners := c.Hold(t, nodes, docs, "/docs/a"); winners != 1 {
				t.Errorf("%d writers won, want 1", winners)
			}
			if took := time.Since(begun); took > 2*time.Second+faultWait {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A write that can't wait until the grace is over is told so, and when it will be.
func TestGraceIsNamed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	docs := legacydocs.New(legacydocs.Options{})
	nodes := nodesAt(t, server, "lease 1h\ngrace 1h\nwait 10ms\n", docs)
	a := caddytest.Send(t, "PUT", nodes[0]+"/docs/a", "new", "If-None-Match", "*").Expect(t, 503)
	after, err := time.ParseDuration(a.Header.Get("Retry-After") + "s")
	if err != nil || after < 50*time.Minute || after > time.Hour {
		t.Errorf("Retry-After: %s", a.Header.Get("Retry-After"))
	}
	if !strings.Contains(a.Content, "may have lost its data") {
		t.Errorf("got %s", a.Content)
	}
}

// nodesAt starts two nodes with one Redis, in front of the documents.
func nodesAt(t *testing.T, server *redistest.Server, options string, docs *legacydocs.Service) (nodes caddytest.Nodes) {
	t.Helper()
	backend := caddytest.Serve(t, docs)
	directives := caddytest.Guarded(fmt.Sprintf("store redis redis://%s {\ntimeout 1s\n}\n%s", server.Addr, options), backend)
	for _, m := range caddytest.StartNodes(t, 2, directives) {
		nodes = append(nodes, m.URL)
	}
	return nodes
}
