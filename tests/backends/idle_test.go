package backends

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func init() { caddy.RegisterModule(new(breakingTransport)) }

// breakingTransport is Caddy's transport, on connections that break at the worst moment: a
// backend has closed an idle connection, and the proxy hasn't heard of it yet.
type breakingTransport struct {
	reverseproxy.HTTPTransport
}

func (*breakingTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.breaking",
		New: func() caddy.Module { return new(breakingTransport) },
	}
}

func (b *breakingTransport) Provision(ctx caddy.Context) error {
	if err := b.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	dial := b.Transport.DialContext
	b.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		where, _ := breakers.LoadOrStore(address, new(breaker))
		return &breakingConn{Conn: conn, breaker: where.(*breaker)}, nil
	}
	return nil
}

// breakers has the breaker of each address of a backend.
var breakers sync.Map

// breaker says how often a connection that was used before is still to break, and whether
// what is written then gets through all the same.
type breaker struct {
	left    atomic.Int32
	through atomic.Bool
}

// breakingConn is a connection that can break.
type breakingConn struct {
	net.Conn
	*breaker
	used bool // only one goroutine writes at a time
	deaf atomic.Bool
}

func (c *breakingConn) Write(p []byte) (int, error) {
	if c.used && c.left.Load() > 0 {
		c.left.Add(-1)
		if !c.through.Load() {
			_ = c.Close()
			return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
		}
		c.deaf.Store(true)
	}
	c.used = true
	return c.Conn.Write(p)
}

// Read waits for the answer also if the connection is broken, so the backend has applied the
// write by then.
func (c *breakingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf.Load() {
		_ = c.Close()
		return 0, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	}
	return n, err
}

// TestBrokenIdleConnection: if an idle connection turns out to be broken when a write is to
// be sent, the write is sent on a new one, and nobody must wait. If it may have been sent,
// it isn't sent again, and others wait.
func TestBrokenIdleConnection(t *testing.T) {
	t.Parallel()
	const (
		small = "small"
		large = 100 << 10
	)
	for _, tt := range []struct {
		name, method string
		options      string
		between      string // directives in front of the proxy
		content      string
		fields       []string
		breaks       int32
		through      bool
		status, sent int
		held         bool
	}{
		{name: "content in memory", method: "PUT", content: small, breaks: 1, status: 204, sent: 1},
		{name: "content in a file", method: "PUT", options: "buffer 1KiB", content: strings.Repeat("x", large), breaks: 1, status: 204, sent: 1},
		{name: "content that is called a stream", method: "PUT", content: small, fields: []string{"Content-Type", "application/grpc"}, breaks: 1, status: 204, sent: 1},
		{name: "no content", method: "DELETE", breaks: 1, status: 204, sent: 1},
		{name: "empty content", method: "PUT", breaks: 1, status: 204, sent: 1},
		{name: "a tracing handler", method: "PUT", between: "tracing", content: small, breaks: 1, status: 204, sent: 1},
		{name: "content that is limited", method: "PUT", between: "request_body {\nmax_size 1KiB\n}", content: small, breaks: 1, status: 502},
		{name: "content that is replaced", method: "PUT", between: "request_body {\nset other\n}", content: small, breaks: 1, status: 502},
		{name: "a key", method: "PUT", content: small, fields: []string{"Idempotency-Key", "x"}, breaks: 1, status: 502, held: true},
		{name: "no content, a key", method: "DELETE", fields: []string{"Idempotency-Key", "x"}, breaks: 1, status: 204, sent: 1, held: true},
		{name: "sent", method: "PUT", content: small, breaks: 1, through: true, status: 502, sent: 1, held: true},
		{name: "sent, no content", method: "DELETE", breaks: 1, through: true, status: 502, sent: 1, held: true},
		{name: "sent, no content, a key", method: "DELETE", fields: []string{"Idempotency-Key", "x"}, breaks: 1, through: true, status: 404, sent: 2, held: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			docs := legacydocs.New(legacydocs.Options{})
			var sent atomic.Int32
			backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Counted") != "" {
					sent.Add(1)
				}
				docs.ServeHTTP(w, r)
			}))
			site := caddytest.OneNodeAt(t, fmt.Sprintf("header >X-Outcome {http.preconditions.outcome}\nroute {\npreconditions {\nlag 0s\nverify never\nwrite_etag off\n%s%s\n}\n%s\n"+
				"reverse_proxy %s {\ntransport breaking\n}\n}", patientClaims, tt.options, tt.between, backend)).First()
			url := site + "/docs/plan"
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "old")
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)

			where, ok := breakers.Load(backend)
			if !ok {
				t.Fatal("no connection was made")
			}
			where.(*breaker).through.Store(tt.through)
			where.(*breaker).left.Store(tt.breaks)
			a := caddytest.Send(t, tt.method, url, tt.content, append(tt.fields, "If-Match", tag, "X-Counted", "yes")...)
			if a.StatusCode != tt.status {
				t.Errorf("got %d: %s", a.StatusCode, a.Content)
			}
			if left := where.(*breaker).left.Load(); left != 0 {
				t.Errorf("%d connections didn't break", left)
			}
			if got := int(sent.Load()); got != tt.sent {
				t.Errorf("sent %d times, want %d", got, tt.sent)
			}
			if tt.method == "PUT" {
				want := "old"
				if tt.sent > 0 {
					want = tt.content
				}
				if got := caddytest.Bypass(t, docs, "GET", "/docs/plan", ""); got != want {
					t.Errorf("the document is %.20q", got)
				}
			}
			next := caddytest.Send(t, "PUT", url, "next", "If-Match", tag)
			if held := next.StatusCode == 503 && next.Header.Get("X-Outcome") == "conflict"; held != tt.held {
				t.Errorf("held: %t (%d)", held, next.StatusCode)
			}
		})
	}
}
