package origin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// place is one of many handlers in the same Caddys, with a backend of its own.
type place struct {
	name    string
	options string
	cache   realCache // before the backend, if it has a name
	backend *replicated
	lag     time.Duration   // that the handler expects
	nodes   caddytest.Nodes // the URLs of the place
}

// atEveryPlace runs a test at each of the places, on each store: one Caddy with the
// memory store, and two that share a Redis. The Caddys serve all places, because it
// would take too long to start others for each of them.
func atEveryPlace(t *testing.T, places func() []place, test func(t *testing.T, p place)) {
	t.Helper()
	t.Parallel()
	for _, store := range []string{"memory", "redis"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			all := places()
			deployAll(t, store == "redis", all)
			for _, p := range all {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					test(t, p)
				})
			}
		})
	}
}

// deployAll starts the Caddys, and tells each place its URLs.
func deployAll(t *testing.T, shared bool, places []place) {
	t.Helper()
	store := ""
	if shared {
		// With the default timeout, a busy machine could look like a store that is away.
		store = fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", caddytest.UsedRedis(t).Addr)
	}
	var directives strings.Builder
	for i, p := range places {
		address := caddytest.Serve(t, p.backend)
		if p.cache.name != "" {
			address = p.cache.run(address, p.cache.directives).Run(t)
		}
		fmt.Fprintf(&directives, "handle /%d/* {\n%s\n}\n", i, caddytest.Guarded(store+p.options, address))
	}
	var nodes caddytest.Nodes
	if shared {
		for _, m := range caddytest.StartNodes(t, 2, directives.String()) {
			nodes = append(nodes, m.URL)
		}
	} else {
		nodes = caddytest.OneNodeAt(t, directives.String())
	}
	for i := range places {
		for _, node := range nodes {
			places[i].nodes = append(places[i].nodes, fmt.Sprintf("%s/%d", node, i))
		}
	}
}
