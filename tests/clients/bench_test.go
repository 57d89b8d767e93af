package clients

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// BenchmarkCost compares a reverse_proxy alone with one behind the handler, on
// both stores. Each client has a document of its own.
func BenchmarkCost(b *testing.B) {
	content := bytes.Repeat([]byte("x"), 10<<10)
	var written sync.Map // contents by path
	backend := caddytest.Serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "text/plain")
			if now, ok := written.Load(r.URL.Path); ok {
				_, _ = w.Write(now.([]byte))
				return
			}
			_, _ = w.Write(content)
			return
		}
		sent, _ := io.ReadAll(r.Body)
		written.Store(r.URL.Path, sent)
		w.WriteHeader(http.StatusNoContent)
	}))
	sites := []struct{ name, directive string }{
		{"bare", ""},
		{"memory", "preconditions"},
		{"redis", "preconditions {\n store redis redis://" + caddytest.UsedRedis(b).Addr + "\n}"},
	}
	requests := []struct {
		name, method string
		fields       []string
		status       int
	}{
		{"get", "GET", nil, 200},
		{"refused", "PUT", []string{"If-Match", `"outdated"`}, 412},
		{"passed", "PUT", []string{"If-None-Match", `"outdated"`}, 204},
	}
	for _, request := range requests {
		for _, s := range sites {
			b.Run(request.name+"/"+s.name, func(b *testing.B) {
				address := caddytest.Address(b)
				caddytest.Start(b, fmt.Sprintf("http://%s {\n%s\nreverse_proxy %s\n}\n", address, s.directive, backend))
				status := request.status
				if s.name == "bare" && request.method == "PUT" {
					status = 204
				}
				var clients atomic.Int64
				b.SetParallelism(8)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					url := fmt.Sprintf("http://%s/%d", address, clients.Add(1))
					body := strings.Repeat("y", 1<<10)
					if request.method == "GET" {
						body = ""
					} else {
						caddytest.Send(b, "GET", url, "")
					}
					for pb.Next() {
						if got := caddytest.Send(b, request.method, url, body, request.fields...).StatusCode; got != status {
							b.Errorf("got %d, want %d", got, status)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			})
		}
	}
}

// BenchmarkRead shows what it costs a single reader that the handler holds a response back
// until it is complete, or for half a second: as good as nothing, because an ordinary
// response is complete long before. One with a length is written at once, one without in
// pieces.
func BenchmarkRead(b *testing.B) {
	piece := bytes.Repeat([]byte("x"), 8<<10)
	backend := caddytest.Serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Path == "/at-once" {
			_, _ = w.Write(piece)
			return
		}
		for range 8 {
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	for _, path := range []string{"/at-once", "/in-pieces"} {
		for _, s := range []struct{ name, directive string }{{"bare", ""}, {"memory", "preconditions"}} {
			b.Run(path[1:]+"/"+s.name, func(b *testing.B) {
				address := caddytest.Address(b)
				caddytest.Start(b, fmt.Sprintf("http://%s {\n%s\nreverse_proxy %s\n}\n", address, s.directive, backend))
				for b.Loop() {
					caddytest.Send(b, "GET", "http://"+address+path, "").Expect(b, 200)
				}
			})
		}
	}
}
