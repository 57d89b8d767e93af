package caddytest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Node is a Caddy in a process of its own. It can be killed, and started again at
// the same address.
type Node struct {
	t       testing.TB
	URL     string
	address string
	dir     string
	program string // if it isn't this test binary
	cmd     *exec.Cmd
	exited  chan struct{}
	logs    []*bytes.Buffer // one for each time that it was started
}

// StartNodes starts nodes with one site each, which has the given directives, and
// returns when they listen. They end with the test.
func StartNodes(t testing.TB, n int, directives string) (all []*Node) {
	t.Helper()
	return StartNodesOf(t, "", slices.Repeat([]string{directives}, n)...)
}

// StartNodesOf starts a node for each of the given directives. The program is a Caddy
// with the handler, or a test binary that Main makes behave as one. Default: this binary.
func StartNodesOf(t testing.TB, program string, directives ...string) (all []*Node) {
	t.Helper()
	for _, d := range directives {
		all = append(all, newNode(t, program, d))
	}
	host := Host(t)
	t.Cleanup(func() { // all of them, before newNode waits for the first one to end
		transports.of(host).CloseIdleConnections() // a node waits for connections that were never used
		for _, m := range all {
			m.interrupt()
		}
	})
	for _, m := range all {
		m.await()
	}
	return all
}

// StartNode starts one node.
func StartNode(t testing.TB, directives string) *Node {
	t.Helper()
	return StartNodes(t, 1, directives)[0]
}

// newNode launches a node.
func newNode(t testing.TB, program, directives string) *Node {
	t.Helper()
	// Not t.TempDir: its path may be too long for a socket.
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		t.Fatal(err)
	}
	m := &Node{t: t, address: Address(t), dir: dir, program: program}
	t.Cleanup(func() {
		m.end()
		_ = os.RemoveAll(dir)
	})
	m.URL = "http://" + m.address
	global := strings.Replace(globalOptions("default_bind "+Host(t)), "admin off", "admin unix/"+m.Socket(), 1)
	config := fmt.Sprintf("%s%s {\n%s\n}\n", global, m.URL, directives)
	if err := os.WriteFile(m.file(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	m.launch()
	return m
}

// file is the Caddyfile.
func (m *Node) file() string { return filepath.Join(m.dir, "Caddyfile") }

// Socket is the Unix socket of the admin API.
func (m *Node) Socket() string { return filepath.Join(m.dir, "admin") }

// Start starts a node that was killed, and returns when it listens.
func (m *Node) Start() {
	m.t.Helper()
	m.launch()
	m.await()
}

func (m *Node) await() {
	m.t.Helper()
	waitForListener(m.t, m.address, m.exited)
}

func (m *Node) launch() {
	m.t.Helper()
	log := new(bytes.Buffer)
	cmd := Command(m.t, m.dir, "run", "--config", m.file(), "--adapter", "caddyfile")
	cmd.Path = cmp.Or(m.program, cmd.Path)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	m.cmd, m.exited, m.logs = cmd, exited, append(m.logs, log)
}

// Kill ends the node without giving it time for anything.
func (m *Node) Kill() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}

// Exchange shuts the node down and starts it again with a different program, as an upgrade
// does.
func (m *Node) Exchange(program string) {
	m.t.Helper()
	transports.of(Host(m.t)).CloseIdleConnections() // the node waits for connections that were never used
	m.interrupt()
	m.wait()
	m.program = program
	m.Start()
}

// Freeze makes the node stand still until Thaw is called.
func (m *Node) Freeze() { m.signal(syscall.SIGSTOP) }

// Thaw makes it go on.
func (m *Node) Thaw() { m.signal(syscall.SIGCONT) }

func (m *Node) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// interrupt asks the node to shut down, as a service manager would.
func (m *Node) interrupt() { _ = m.cmd.Process.Signal(os.Interrupt) }

// end waits until the node has shut down, and fails the test if the node had a data
// race.
func (m *Node) end() {
	m.t.Helper()
	if m.cmd == nil {
		return
	}
	m.wait()
	if strings.Contains(m.log(), "DATA RACE") {
		m.t.Errorf("data race in node %s", m.URL)
	}
	if m.t.Failed() {
		m.t.Logf("log of node %s:\n%s", m.URL, m.log())
	}
}

// wait waits until the node has shut down, but not for long.
func (m *Node) wait() {
	select {
	case <-m.exited:
	case <-time.After(10 * time.Second):
		m.Kill()
	}
}

// log returns the logs of the processes that have ended.
func (m *Node) log() string {
	var all []string
	for i, log := range m.logs {
		if i == len(m.logs)-1 {
			select {
			case <-m.exited:
			default:
				continue
			}
		}
		all = append(all, log.String())
	}
	return strings.Join(all, "\n")
}

// Memory returns how many bytes of memory the node has resident, or 0 if this isn't Linux.
func (m *Node) Memory() int64 {
	status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.cmd.Process.Pid), "status"))
	for line := range strings.Lines(string(status)) {
		if rss, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rss), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// CPU returns the processor time that the node has used.
func (m *Node) CPU() time.Duration { return CPU(m.cmd.Process.Pid) }

// CPU returns the processor time that a process has used, according to Linux.
func CPU(pid int) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name of the program may have spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / ticks
}

// ticks is the number of clock ticks in a second (sysconf(_SC_CLK_TCK)), which is the same on
// all platforms of Linux that Go runs on.
const ticks = 100

// Usage describes what the node uses: memory and files according to Linux, and
// goroutines according to the node.
func (m *Node) Usage() string {
	files := "?"
	if open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(m.cmd.Process.Pid), "fd")); err == nil {
		files = strconv.Itoa(len(open))
	}
	return fmt.Sprintf("%d kB, %s files, %s goroutines, started %d times", m.Memory()>>10, files, m.goroutines(), len(m.logs))
}

func (m *Node) goroutines() string {
	admin := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", m.Socket())
		},
	}}
	resp, err := admin.Get("http://127.0.0.1/debug/pprof/goroutine?debug=1")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	profile, err := io.ReadAll(resp.Body)
	first, _, _ := strings.Cut(string(profile), "\n")
	_, total, _ := strings.Cut(first, "total ")
	return cmp.Or(total, fmt.Sprint(resp.Status, ", ", err))
}
