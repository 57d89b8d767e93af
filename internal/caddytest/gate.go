package caddytest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Gate holds requests at the backend: those whose field X-Hold is their method.
// The handler's own GETs carry the fields of the client's request, so the gate can
// hold those, too.
type Gate struct {
	arrived chan struct{}

	mu   sync.Mutex
	shut chan struct{} // nil while the gate is open
}

// NewGate returns a gate that is open.
func NewGate() *Gate { return &Gate{arrived: make(chan struct{}, 100)} }

// Pass waits while the gate holds the request. It is a hook of legacydocs.
func (g *Gate) Pass(r *http.Request) int {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil && r.Header.Get("X-Hold") == r.Method {
		// Whoever kills the sender now must not cut the content off.
		if content, err := io.ReadAll(r.Body); err == nil {
			r.Body = io.NopCloser(bytes.NewReader(content))
		}
		g.arrived <- struct{}{}
		<-shut
	}
	return 0
}

// Open lets all requests go on.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *Gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// Send closes the gate, sends a request in the background, and returns once the
// gate holds it.
func (g *Gate) Send(ctx context.Context, t testing.TB, method, url, content string, fields ...string) <-chan Result {
	t.Helper()
	return g.SendHolding(ctx, t, method, method, url, content, fields...)
}

// SendHolding is like Send, but says which method the gate holds: GET for the
// request that the handler makes on behalf of a write.
func (g *Gate) SendHolding(ctx context.Context, t testing.TB, held, method, url, content string, fields ...string) <-chan Result {
	t.Helper()
	g.close()
	t.Cleanup(g.Open) // before the backend is closed, which waits for its requests
	fields = append([]string{"X-Hold", held}, fields...)
	done := Go(ctx, method, url, content, fields...)
	select {
	case <-g.arrived:
	case r := <-done:
		t.Fatalf("%s %s did not arrive at the backend: %v, %v", method, url, r.Response, r.Err)
	case <-time.After(time.Minute):
		t.Fatalf("%s %s did not arrive at the backend", method, url)
	}
	return done
}
