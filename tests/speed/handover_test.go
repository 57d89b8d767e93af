package speed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// writers is how many write one resource at the same time.
const writers = 32

// BenchmarkHandOver has many clients write one resource, one after the other, at a backend
// that takes 5 ms. It prints for how much of the time the backend was busy. The rest is what
// it takes until the next writer has its turn. First comes a single writer without the handler:
// nothing but a proxy comes between its requests. Run it with -benchtime 1x.
func BenchmarkHandOver(b *testing.B) {
	redis := startStore(b)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\noptions\tside\tbusy\tanswers/s\trequests to the backend/s\t")
	run := func(options, side string, writers, nodes int, directives string) {
		backend := &slow{shelf: newShelf(), takes: 5 * time.Millisecond}
		var urls []string
		for _, n := range caddytest.StartNodes(b, nodes, directives+"\nreverse_proxy "+caddytest.Serve(b, backend)) {
			urls = append(urls, n.URL)
		}
		busy, answered, asked := handOver(urls, writers, backend)
		fmt.Fprintf(table, "%q\t%s\t%.0f %%\t%s\t%.0f\t\n", options, side, 100*busy, answered, asked)
	}
	run("", "bare, one writer", 1, 1, "")
	for _, options := range []string{"", "lag 0s", "lag 0s\nverify never\nwrite_etag off"} {
		for _, s := range []struct {
			name, store string
			nodes       int
		}{{"memory", "store memory", 1}, {"redis", redis.option(), 1}, {"two nodes", redis.option(), 2}} {
			// Each side has a key of its own: what another one has written must not count as the past.
			key := fmt.Sprintf("key %d{http.request.uri.path}\n", written.Add(1))
			run(options, s.name, writers, s.nodes, "preconditions {\n"+s.store+"\n"+key+options+"\n}")
		}
	}
	_ = table.Flush()
}

// handOver returns for which part of the time the backend was busy, how many answers of each
// status there were per second, and how many requests the backend got per second. A writer
// that is told to come later does so, though sooner than it is told.
func handOver(urls []string, writers int, backend *slow) (busy float64, answered string, asked float64) {
	transport := &http.Transport{MaxIdleConnsPerHost: writers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	ctx, stop := context.WithCancel(context.Background())
	var counts [600]atomic.Int64 // by status
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for ctx.Err() == nil {
				r, _ := http.NewRequest(http.MethodPut, urls[i%len(urls)]+"/doc", strings.NewReader(fmt.Sprint(written.Add(1))))
				r.Header.Set("If-None-Match", `"outdated"`)
				answer, err := transport.RoundTrip(r)
				if err != nil {
					counts[0].Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				counts[answer.StatusCode].Add(1)
				if answer.StatusCode == http.StatusServiceUnavailable {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for i := range counts {
		counts[i].Store(0)
	}
	was, heard, begun := backend.busyFor(), backend.heard.Load(), time.Now()
	time.Sleep(2 * time.Second)
	took := time.Since(begun)
	busy, asked = float64(backend.busyFor()-was)/float64(took), float64(backend.heard.Load()-heard)/took.Seconds()
	for status := range counts {
		if n := counts[status].Load(); n > 0 {
			answered += fmt.Sprintf("%d: %.0f ", status, float64(n)/took.Seconds())
		}
	}
	stop()
	group.Wait()
	return busy, strings.TrimSpace(answered), asked
}

// slow is a backend that takes its time, and measures for how long it has something to do.
type slow struct {
	*shelf
	takes time.Duration
	heard atomic.Int64

	mu    sync.Mutex
	count int
	since time.Time
	busy  time.Duration
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.heard.Add(1)
	s.add(1)
	defer s.add(-1)
	time.Sleep(s.takes)
	s.shelf.ServeHTTP(w, r)
}

func (s *slow) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		s.since = time.Now()
	}
	s.count += n
	if s.count == 0 {
		s.busy += time.Since(s.since)
	}
}

// busyFor returns for how long the backend has had something to do.
func (s *slow) busyFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count > 0 {
		return s.busy + time.Since(s.since)
	}
	return s.busy
}
