package caddytest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres is where Debian keeps the programs of PostgreSQL, for each version.
const postgres = "/usr/lib/postgresql/*/bin/postgres"

// PostgresWithReplicas is a document service with a PostgreSQL primary, and a streaming
// replica for each of the delays. It reads from the replicas in turn.
func PostgresWithReplicas(delays ...time.Duration) Backend {
	return Backend{
		Name:  "PostgreSQL",
		needs: []string{"node", ours("node_modules/pg"), postgresProgram("postgres")},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			sockets := filepath.Join(dir, documents)
			ports := startPostgres(t, sockets, nobody(t, dir), delays)
			return exec.Command("node", append([]string{ours("postgres.js"), port, sockets}, ports...)...)
		},
	}
}

// postgresProgram returns the path of a program of PostgreSQL, if it is there.
func postgresProgram(name string) string {
	found, _ := filepath.Glob(postgres)
	if found == nil {
		return postgres
	}
	return filepath.Join(filepath.Dir(slices.Max(found)), name)
}

// startPostgres starts a primary and its replicas. A directory has all their files and
// sockets, which are told apart by the ports that it returns.
func startPostgres(t testing.TB, dir string, user *syscall.Credential, delays []time.Duration) (ports []string) {
	t.Helper()
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(postgresProgram(name), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
		if os.Geteuid() == 0 { // it would refuse to run as root
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		}
		return cmd
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	start := func(port string, args ...string) {
		t.Helper()
		args = append([]string{"-D", port, "-k", dir, "-p", port, "-c", "listen_addresses=", "-c", "fsync=off"}, args...)
		runPostgres(t, command("postgres", args...))
		Eventually(t, "PostgreSQL answers", func() bool {
			return command("pg_isready", "-h", dir, "-p", port, "-U", "nobody", "-d", "postgres").Run() == nil
		})
		ports = append(ports, port)
	}
	const primary = "1"
	run("initdb", "-D", primary, "-U", "nobody", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	start(primary)
	for _, statement := range []string{
		"CREATE TABLE docs (path text PRIMARY KEY, content text)",
		"CREATE TABLE writes (id serial PRIMARY KEY, path text, replaced text, replaces text)",
		"INSERT INTO docs VALUES ('/doc', 'start')",
	} {
		run("psql", "-X", "-q", "-h", dir, "-p", primary, "-U", "nobody", "-d", "postgres", "-c", statement)
	}
	for i, delay := range delays {
		port := fmt.Sprint(2 + i)
		run("pg_basebackup", "-h", dir, "-p", primary, "-U", "nobody", "-D", port, "-R", "-c", "fast", "--no-sync")
		start(port, "-c", fmt.Sprintf("recovery_min_apply_delay=%dms", delay.Milliseconds()))
	}
	return ports
}

// runPostgres runs a server until the test ends.
func runPostgres(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	log := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // at once
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of PostgreSQL:\n%s", log)
		}
	})
}
