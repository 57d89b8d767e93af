package caddytest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// Nodes are the URLs of the Caddys in front of one backend.
type Nodes []string

// First returns a node.
func (n Nodes) First() string { return n[0] }

// Other returns a node that isn't the first, if there is one.
func (n Nodes) Other() string { return n[len(n)-1] }

// Random returns any node.
func (n Nodes) Random() string { return n[rand.IntN(len(n))] }

// Deployment puts the handler, with the given options, in front of a backend.
type Deployment func(t testing.TB, options string, backend http.Handler) Nodes

// OneNode is a Caddy in this process, with the memory store.
func OneNode(t testing.TB, options string, backend http.Handler) Nodes {
	t.Helper()
	return OneNodeAt(t, Guarded(options, Serve(t, backend)))
}

// OneNodeAt is a Caddy in this process whose only site has the given directives.
func OneNodeAt(t testing.TB, directives string) Nodes {
	t.Helper()
	address := Address(t)
	Start(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, directives))
	return Nodes{"http://" + address}
}

// TwoNodes are two Caddy processes that share a Redis.
func TwoNodes(t testing.TB, options string, backend http.Handler) Nodes {
	t.Helper()
	return TwoNodesAt(t, UsedRedis(t).Addr, options, backend)
}

// TwoNodesFarFromRedis are two nodes whose calls to Redis arrive late, and may
// overtake each other.
func TwoNodesFarFromRedis(t testing.TB, options string, backend http.Handler) Nodes {
	t.Helper()
	return TwoNodesAt(t, delayed(t, UsedRedis(t).Addr, 20*time.Millisecond), options, backend)
}

// TwoNodesAt are two nodes that share the Redis at an address.
func TwoNodesAt(t testing.TB, redis, options string, backend http.Handler) Nodes {
	t.Helper()
	// With the default timeout, a busy machine could look like a store that is away.
	store := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", redis)
	var urls Nodes
	for _, m := range StartNodes(t, 2, Guarded(store+options, Serve(t, backend))) {
		urls = append(urls, m.URL)
	}
	return urls
}

// OnEveryStore runs a test with one node that uses its memory, and with two nodes
// that share a Redis.
func OnEveryStore(t *testing.T, test func(t *testing.T, deploy Deployment)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, OneNode) })
	t.Run("redis", func(t *testing.T) { test(t, TwoNodes) })
}
