package preconditions_test

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
	"strconv"
	"strings"
	"testing"
	"time"
)

// mortal is a Caddy in a process of its own that can be killed and started again
// at the same address.
type mortal struct {
	t       testing.TB
	url     string
	address string
	dir     string
	cmd     *exec.Cmd
	exited  chan struct{}
	logs    []*bytes.Buffer // of all its lives
}

// startNodes starts nodes, which end with the test.
func startNodes(t testing.TB, n int, directives string) (all []*mortal) {
	t.Helper()
	for range n {
		all = append(all, newMortal(t, directives))
	}
	t.Cleanup(func() { // all at once
		client.CloseIdleConnections() // a node would wait for those that were never used
		for _, m := range all {
			m.interrupt()
		}
	})
	for _, m := range all {
		m.await()
	}
	return all
}

// startNode starts one.
func startNode(t testing.TB, directives string) *mortal {
	t.Helper()
	return startNodes(t, 1, directives)[0]
}

// newMortal launches a node.
func newMortal(t testing.TB, directives string) *mortal {
	t.Helper()
	// Not t.TempDir: the path of a socket in it might be too long.
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{t: t, address: freeAddress(t), dir: dir}
	t.Cleanup(func() {
		m.end()
		_ = os.RemoveAll(dir)
	})
	m.url = "http://" + m.address
	global := strings.Replace(globalOptions, "admin off", "admin unix/"+m.socket(), 1)
	config := fmt.Sprintf("%s%s {\n%s\n}\n", global, m.url, directives)
	if err := os.WriteFile(m.file(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	m.launch()
	return m
}

func (m *mortal) file() string   { return filepath.Join(m.dir, "Caddyfile") }
func (m *mortal) socket() string { return filepath.Join(m.dir, "admin") }

// start returns when the node can be reached.
func (m *mortal) start() {
	m.t.Helper()
	m.launch()
	m.await()
}

func (m *mortal) await() {
	m.t.Helper()
	waitForListener(m.t, m.address, m.exited)
}

func (m *mortal) launch() {
	m.t.Helper()
	log := new(bytes.Buffer)
	cmd := caddyCommand(m.t, m.dir, "run", "--config", m.file(), "--adapter", "caddyfile")
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

// kill ends the node without giving it time for anything.
func (m *mortal) kill() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}

// interrupt tells the node to end, as a service manager would.
func (m *mortal) interrupt() { _ = m.cmd.Process.Signal(os.Interrupt) }

// end waits until it has, and fails the test if there was a data race in it.
func (m *mortal) end() {
	m.t.Helper()
	if m.cmd == nil {
		return
	}
	select {
	case <-m.exited:
	case <-time.After(10 * time.Second):
		m.kill()
	}
	if strings.Contains(m.log(), "DATA RACE") {
		m.t.Errorf("a data race in node %s", m.url)
	}
	if m.t.Failed() {
		m.t.Logf("log of node %s:\n%s", m.url, m.log())
	}
}

// log returns what the node has logged in the lives that are over.
func (m *mortal) log() string {
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

// usage tells what the node uses: memory and files as Linux tells, goroutines as
// it tells itself.
func (m *mortal) usage() string {
	memory, files := "?", "?"
	proc := filepath.Join("/proc", strconv.Itoa(m.cmd.Process.Pid))
	if status, err := os.ReadFile(filepath.Join(proc, "status")); err == nil {
		for line := range strings.Lines(string(status)) {
			if rss, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				memory = strings.TrimSpace(rss)
			}
		}
	}
	if open, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
		files = strconv.Itoa(len(open))
	}
	return fmt.Sprintf("%s, %s files, %s goroutines, life %d", memory, files, m.goroutines(), len(m.logs))
}

func (m *mortal) goroutines() string {
	admin := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", m.socket())
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
