package speed

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

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
