package speed

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
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
// request. Run it with -benchtime 1x and -timeout 1h, and -bench Scale/memory or Scale/redis
// for one store.
func BenchmarkScale(b *testing.B) {
	const few = 1_000
	many := int(caddytest.DurationFromEnv(b, "PRECONDITIONS_RESOURCES", 1, 1_000_000))
	for _, kind := range []string{"memory", "redis"} {
		b.Run(kind, func(b *testing.B) {
			origin := caddytest.Serve(b, page())
			small, large := newHolding(b, kind, origin), newHolding(b, kind, origin)
			small.learn(b, few)
			large.learn(b, few)
			large.checkTag(b)
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

// learning is a field of the requests that make resources known. Caddy itself answers them
// as the backend would, so a million take minutes.
const learning = "Learning"

func newHolding(b *testing.B, kind, origin string) *holding {
	h, option := new(holding), "store memory"
	if kind == "redis" {
		h.redis = startStore(b)
		option = h.redis.option()
	}
	h.node = caddytest.StartNode(b, "preconditions {\n"+option+"\n}\n@learning header "+learning+" *\n"+
		`header @learning Content-Type text/plain`+"\n"+`respond @learning "This is the page at {path}."`+"\nreverse_proxy "+origin)
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
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			if err := h.readPages(h.known+i, n, clients); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	if b.Failed() {
		b.FailNow()
	}
	h.known = max(h.known, n)
}

// readPages reads every step-th resource. It sends some requests at once, and then reads the
// answers.
func (h *holding) readPages(from, to, step int) error {
	address := strings.TrimPrefix(h.node.URL, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for from < to {
		var requests []byte
		begin := from
		for ; from < min(to, begin+64*step); from += step {
			requests = fmt.Appendf(requests, "GET %s HTTP/1.1\r\nHost: %s\r\n%s: 1\r\n\r\n", h.path(from), address, learning)
		}
		if _, err := conn.Write(requests); err != nil {
			return err
		}
		for ; begin < from; begin += step {
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				return err
			}
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("GET %s: %s", h.path(begin), answer.Status)
			}
		}
	}
	return nil
}

// checkTag checks that what Caddy itself answers makes the same tag as what the backend answers.
func (h *holding) checkTag(b *testing.B) {
	c := h.client(b, &http.Transport{DisableKeepAlives: true})
	path := h.path(0)
	c.send("GET", path)
	proxied := c.tags[path]
	c.send("GET", path, learning, "1")
	if own := c.tags[path]; own == "" || own != proxied {
		b.Fatalf("Caddy's own page has the tag %q, and the backend's %q", own, proxied)
	}
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
