package speed

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// BenchmarkScale compares a node that knows 1,000 resources with one that knows
// PRECONDITIONS_RESOURCES (default 1,000,000): the latency of a GET and of a refused PUT that
// one client sees, and the memory per resource. The two are measured in turn, request by
// request. Run it with -benchtime 1x, and -bench Scale/memory or Scale/redis for one store.
func BenchmarkScale(b *testing.B) {
	const few = 1_000
	many := int(caddytest.DurationFromEnv(b, "PRECONDITIONS_RESOURCES", 1, 1_000_000))
	for _, kind := range []string{"memory", "redis"} {
		b.Run(kind, func(b *testing.B) {
			origin := caddytest.Serve(b, page())
			small, large := newHolding(b, kind, origin), newHolding(b, kind, origin)
			small.learn(b, few)
			large.learn(b, few)
			memory, used := large.node.Memory(), large.redis.memory(b)
			for _, n := range []int{many / 4, many} {
				begun, before := time.Now(), large.known
				large.learn(b, n)
				rate, added := float64(large.known-before)/time.Since(begun).Seconds(), float64(large.known-few)
				fmt.Printf("\n%s: %d resources, learned at %.0f/s; for each, %.0f bytes of Caddy and %.0f of Redis\n", kind, large.known,
					rate, float64(large.node.Memory()-memory)/added, float64(large.redis.memory(b)-used)/added)
			}
			compareLatency(b, small, large)
		})
	}
}

// holding is a node that knows some resources.
type holding struct {
	node  *caddytest.Node
	redis *store
	known int
}

func newHolding(b *testing.B, kind, origin string) *holding {
	h, option := new(holding), "store memory"
	if kind == "redis" {
		h.redis = startStore(b)
		option = h.redis.option()
	}
	h.node = caddytest.StartNode(b, "preconditions {\n"+option+"\n}\nreverse_proxy "+origin)
	return h
}

func (h *holding) path(i int) string { return fmt.Sprintf("/documents/%08d", i) }

// client returns a client of the node.
func (h *holding) client(b *testing.B, transport *http.Transport) *client {
	return &client{
		b: b, http: &http.Client{Transport: transport}, urls: []string{h.node.URL}, sent: new(atomic.Int64), tags: make(map[string]string),
		content: make([]byte, 100),
	}
}

// learn reads resources until the node knows n.
func (h *holding) learn(b *testing.B, n int) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for i := range clients {
		c := h.client(b, transport)
		group.Go(func() {
			for at := h.known + i; at < n; at += clients {
				c.send("GET", h.path(at))
				clear(c.tags)
			}
		})
	}
	group.Wait()
	h.known = max(h.known, n)
}

// compareLatency prints what one client sees of two nodes.
func compareLatency(b *testing.B, small, large *holding) {
	requests := []struct {
		name   string
		method string
		fields []string
	}{
		{"GET", "GET", nil},
		{"refused PUT", "PUT", []string{"If-Match", `"outdated"`}},
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	holdings := []*holding{small, large}
	clients := []*client{small.client(b, transport), large.client(b, transport)}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "request\tresources\tmedian\t99th percentile\t")
	for _, r := range requests {
		took := make([][]time.Duration, len(holdings))
		for round := range 3_000 {
			for i, h := range holdings {
				begun := time.Now()
				clients[i].send(r.method, h.path(rand.IntN(h.known)), r.fields...)
				if round >= 100 { // connections, scripts
					took[i] = append(took[i], time.Since(begun))
				}
			}
		}
		for i, h := range holdings {
			slices.Sort(took[i])
			n := len(took[i])
			fmt.Fprintf(table, "%s\t%d\t%v\t%v\t\n", r.name, h.known, took[i][n/2].Round(time.Microsecond), took[i][n*99/100].Round(time.Microsecond))
		}
	}
	_ = table.Flush()
}

// page is a backend whose every path has a content of its own.
func page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprintf(w, "This is the page at %s.", r.URL.Path)
		}
	})
}
