package caddytest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// hosts are the hosts of the tests that run now, by the name of the test.
var hosts struct {
	sync.Mutex
	all  map[string]string
	next int
}

// Host returns the IP address that is the host of this test's sites. A subtest
// has another one than the test that it is part of. See the package comment.
func Host(t testing.TB) string {
	t.Helper()
	hosts.Lock()
	defer hosts.Unlock()
	if host, ok := hosts.all[t.Name()]; ok {
		return host
	}
	host := "127.0.0.1"
	if haveHosts() {
		hosts.next++
		// Suites run beside each other, in processes of their own.
		host = fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%254, hosts.next/256, hosts.next%256)
	}
	if hosts.all == nil {
		hosts.all = make(map[string]string)
	}
	hosts.all[t.Name()] = host
	t.Cleanup(func() { // the test may be run again
		hosts.Lock()
		defer hosts.Unlock()
		delete(hosts.all, t.Name())
	})
	return host
}

// Address returns an address of this test's host, with a port that nobody
// listens on.
func Address(t testing.TB) string {
	t.Helper()
	return Host(t) + ":" + redistest.FreePort(t)
}

// LocalAddress is like Address, but of 127.0.0.1, for what works nowhere else.
func LocalAddress(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + redistest.FreePort(t)
}

// Listen listens on a port of 127.0.0.1.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Serve serves a backend until the test ends, and returns its address.
func Serve(t testing.TB, backend http.Handler) (address string) {
	t.Helper()
	return serve(t, Listen(t), backend).Listener.Addr().String()
}

// ServeAt serves a backend at an address, until it is closed or the test ends.
func ServeAt(t testing.TB, address string, backend http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, backend)
}

func serve(t testing.TB, l net.Listener, backend http.Handler) *httptest.Server {
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: backend}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// waitForListener returns once somebody listens on the address. It fails the test
// if the program that should listen has exited.
func waitForListener(t testing.TB, address string, exited <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("the program that should listen on %s exited", address)
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s", address)
		case <-tick.C:
		}
	}
}
