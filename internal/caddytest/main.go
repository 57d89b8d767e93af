package caddytest

import (
	"flag"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what a Caddyfile may name

	_ "github.com/caddy-preconditions/preconditions" // the handler
)

// runCaddy is the environment variable that makes a test binary behave as Caddy.
const runCaddy = "PRECONDITIONS_TEST_CADDY"

// Main runs the tests of a suite. Each suite's TestMain must call it, because
// Caddys that are processes of their own are started from the test binary.
func Main(m *testing.M) {
	if os.Getenv(runCaddy) != "" {
		caddycmd.Main()
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); !haveHosts() {
		_ = flag.Set(f.Name, "1")
	} else if f.Value.String() == f.DefValue {
		// Most parallel tests spend their time waiting, for example for a lease to
		// run out.
		_ = flag.Set(f.Name, strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// haveHosts reports whether this system listens on the whole loopback network, as
// Linux and Windows do. On others, such as macOS, all tests share a host, and
// must run one after another.
var haveHosts = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp", "127.1.2.3:0")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
})

// Command returns the command that runs Caddy in a process of its own, with home
// as the directory of its data. It runs this very test binary, so the race
// detector watches the process if it watches the test.
func Command(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...) // not with t.Context(), which ends before the cleanup
	cmd.Env = append(os.Environ(), runCaddy+"=1", "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		// By default, a process with the race detector sleeps for a second before it exits.
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}
