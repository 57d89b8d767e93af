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
	"testing"
	"text/tabwriter"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// BenchmarkConnections shows what 10,000 open connections cost: 100 clients send requests,
// first alone and then beside connections that are idle, each after one request. Both
// processes need 10,000 file descriptors and some more (ulimit -n). Run it with -benchtime 1x.
func BenchmarkConnections(b *testing.B) {
	const open, active, resources = 10_000, 100, 1_000
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nside\trequest\tconnections\treq/s\tmedian\t99th percentile\t")
	for _, kind := range []string{"bare", "memory", "redis"} {
		var h *holding
		origin := caddytest.Serve(b, page())
		if kind == "bare" {
			h = &holding{node: caddytest.StartNode(b, "reverse_proxy "+origin)}
		} else {
			h = newHolding(b, kind, origin)
		}
		h.learn(b, resources)
		h.hammer(b, active, "GET") // connections to the backend
		before := h.node.Memory()
		var opened []net.Conn
		for _, idle := range []int{0, open - active} {
			opened = h.openIdle(b, idle)
			if idle > 0 {
				fmt.Fprintf(table, "%s\t\t%d opened\t\t%d bytes each\t\t\n", kind, idle, (h.node.Memory()-before)/int64(idle))
			}
			for _, r := range []struct {
				name, method string
				fields       []string
			}{{"GET", "GET", nil}, {"refused PUT", "PUT", []string{"If-Match", `"outdated"`}}} {
				if kind == "bare" && r.fields != nil {
					continue
				}
				took, rate := h.hammer(b, active, r.method, r.fields...)
				fmt.Fprintf(table, "%s\t%s\t%d\t%.0f\t%v\t%v\t\n", kind, r.name, idle+active, rate,
					took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
			}
		}
		for _, conn := range opened { // the next side needs as many
			_ = conn.Close()
		}
	}
	_ = table.Flush()
}

// hammer has n clients send a request for two seconds. It returns how long each took, in
// order, and their rate.
func (h *holding) hammer(b *testing.B, n int, method string, fields ...string) (took []time.Duration, rate float64) {
	transport := &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var mu sync.Mutex
	var group sync.WaitGroup
	begun := time.Now()
	for range n {
		c := h.client(b, transport)
		group.Go(func() {
			var own []time.Duration
			for time.Since(begun) < 2*time.Second {
				sent := time.Now()
				c.send(method, h.path(rand.IntN(h.known)), fields...)
				own = append(own, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	group.Wait()
	slices.Sort(took)
	return took, float64(len(took)) / time.Since(begun).Seconds()
}

// openIdle opens connections that send one request each.
func (h *holding) openIdle(b *testing.B, n int) (opened []net.Conn) {
	address := strings.TrimPrefix(h.node.URL, "http://")
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for at := i; at < n; at += clients {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				opened = append(opened, conn)
				mu.Unlock()
				_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", h.path(rand.IntN(h.known)), address)
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
		})
	}
	group.Wait()
	return opened
}
