package redistest

import (
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// given are the ports that FreePort has returned.
var given sync.Map

// FreePort returns a port on which nobody listens, whatever the address. No other test gets
// it, also in other processes, until this one ends. It isn't one of the ports that the system
// gives to clients: one of those could take it meanwhile.
func FreePort(t testing.TB) (port string) {
	t.Helper()
	for range 100 {
		port = strconv.Itoa(10_000 + rand.IntN(20_000))
		if _, taken := given.LoadOrStore(port, true); taken || !reserve(t, port) {
			continue
		}
		if l, err := net.Listen("tcp", ":"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return ""
}

// reserve keeps the tests of other processes from a port until the test ends. It reports false
// if one of them has it. Only Linux has names of sockets that aren't files.
func reserve(t testing.TB, port string) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	l, err := net.Listen("unix", "@caddytest-port-"+port)
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = l.Close() })
	return true
}
