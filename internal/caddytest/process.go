package caddytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Load makes this process serve the sites of a Caddyfile, instead of those that
// it served before, until the test ends. The test must not be parallel.
func Load(t testing.TB, sites string) {
	t.Helper()
	LoadCaddyfile(t, GlobalOptions+sites)
}

// LoadCaddyfile is like Load, with global options.
func LoadCaddyfile(t testing.TB, caddyfile string) {
	t.Helper()
	if err := caddy.Load(Adapt(t, caddyfile), true); err != nil {
		t.Fatalf("loading:\n%s\n%v", caddyfile, err)
	}
	t.Cleanup(func() {
		Client.CloseIdleConnections() // Caddy waits for connections that were never used
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// Reload makes this process serve other sites, after Load. If it returns an
// error, the old sites go on.
func Reload(t testing.TB, sites string) error {
	t.Helper()
	return caddy.Load(Adapt(t, GlobalOptions+sites), true)
}

// LoadWithAdmin is like Load, with the admin API at the URL that it returns.
func LoadWithAdmin(t testing.TB, sites string) (admin string) {
	t.Helper()
	address := LocalAddress(t) // the API allows no other loopback address as its host
	global := strings.Replace(GlobalOptions, "admin off", "admin "+address, 1)
	global = strings.Replace(global, "level ERROR", "level PANIC", 1) // the API logs what it refuses as errors
	LoadCaddyfile(t, global+sites)
	return "http://" + address
}

// Purge asks the admin API to invalidate what content names.
func Purge(t testing.TB, admin, content string) Answer {
	t.Helper()
	return Send(t, "POST", admin+"/preconditions/purge", content, "Content-Type", "application/json")
}

// RunCaddy runs a Caddy with a Caddyfile and environment variables in a process of its own, until
// the test ends. What the process counts and logs is this Caddy's alone.
func RunCaddy(t testing.TB, caddyfile string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := Command(t, dir, "run", "--config", file)
	cmd.Env = append(cmd.Env, env...)
	Background(t, cmd)
}

// Background runs a program until the test ends.
func Background(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}
