package etagcache_test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// lossyProxy is a proxy in front of a Redis server. If lose is set, it closes the
// connection instead of forwarding the next reply.
type lossyProxy struct {
	addr string
	lose atomic.Bool
}

func startLossyProxy(t *testing.T, backend string) *lossyProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &lossyProxy{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client, backend)
		}
	}()
	return p
}

func (p *lossyProxy) serve(client net.Conn, backend string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil || p.lose.CompareAndSwap(true, false) {
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
