// Package redistest runs Redis servers, replicas, Sentinels and clusters for tests.
// It runs the installed redis-server itself: the maintained libraries that do so need
// Docker, and tests need to kill, suspend and restart the process. The environment
// variable PRECONDITIONS_REDIS_SERVER names a different program, such as valkey-server.
package redistest

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server process. It ends with the test.
type Server struct {
	// Addr is the server's host:port. Restart keeps it.
	Addr string
	// Dir is the server's working directory.
	Dir string

	t      testing.TB
	bus    string // the port for the other nodes of a cluster
	args   []string
	cmd    *exec.Cmd
	log    bytes.Buffer
	exited chan struct{}
}

// Pid returns the ID of the process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Start starts a server on a free port, without persistence, and waits until it
// accepts connections. If redis-server isn't installed, Start skips the test, or
// fails it if the environment variable CI or PRECONDITIONS_REDIS_SERVER is set.
//
// In args, {port} and {dir} stand for the server's port and directory. Later
// arguments override earlier ones and the defaults.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t)
	_, port, _ := net.SplitHostPort(s.Addr)
	defaults := []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.Dir,
		"--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}
	replace := strings.NewReplacer("{port}", port, "{dir}", s.Dir)
	for _, arg := range append(defaults, args...) {
		s.args = append(s.args, replace.Replace(arg))
	}
	s.start()
	return s
}

const defaultProgram = "redis-server"

// program is the program that runs servers, Sentinels and the nodes of clusters.
func program() string { return cmp.Or(os.Getenv("PRECONDITIONS_REDIS_SERVER"), defaultProgram) }

// prepare returns a server that is not started yet and has no arguments.
func prepare(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath(program()); err != nil {
		if os.Getenv("CI") != "" || program() != defaultProgram {
			t.Fatal(err)
		}
		t.Skip(defaultProgram + " isn't installed")
	}
	// In t.TempDir, the path of a socket could be too long.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: "127.0.0.1:" + FreePort(t), Dir: dir, t: t}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	return s
}

func (s *Server) start() {
	s.t.Helper()
	s.log.Reset()
	s.cmd = exec.Command(program(), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		defer close(exited)
		_ = s.cmd.Wait()
	}()
	s.eventually("it accepts connections", func() bool {
		select {
		case <-exited:
			s.t.Fatalf("%s exited: %s", program(), s.log.String())
		default:
		}
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// eventually waits until a condition holds that depends on a different process.
func (s *Server) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			s.t.Fatalf("redis at %s: gave up waiting until %s", s.Addr, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Client returns a plain client. It is closed with the test.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Stop ends the server with SIGTERM, as a service manager does.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL, which leaves it no time to save anything.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Restart starts a server that was stopped or killed, on the same port.
func (s *Server) Restart() {
	s.t.Helper()
	s.start()
}

// RestartWith is like Restart, with arguments added to those of Start.
func (s *Server) RestartWith(args ...string) {
	s.t.Helper()
	s.args = append(s.args, args...)
	s.start()
}

// Freeze suspends the server: the kernel still accepts connections for it.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw resumes a server that Freeze suspended.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.signal(sig)
	s.signal(syscall.SIGCONT)
	<-s.exited
}

func (s *Server) signal(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
}

// StartReplica starts the first replica of master, and waits until it has the data.
func StartReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	s := Start(t, "--replicaof", host, port)
	master.waitForReplica()
	return s
}

// waitForReplica waits until the only replica of s has acknowledged the data.
func (s *Server) waitForReplica() {
	s.t.Helper()
	ctx := context.Background()
	c := s.Client()
	s.eventually("it has a replica", func() bool {
		c.Publish(ctx, "replica", "") // something to acknowledge
		info := c.Info(ctx, "replication").Val()
		return strings.Contains(info, "state=online,") && !strings.Contains(info, ",offset=0,")
	})
}

// StartSentinel starts a Sentinel that watches master under the given name. It
// replaces a master that has been away for a second and a half. With a shorter
// time, on a busy machine, it would declare a master dead that it has just promoted.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	s := prepare(t)
	_, port, _ := net.SplitHostPort(s.Addr)
	host, masterPort, _ := net.SplitHostPort(master.Addr)
	file := filepath.Join(s.Dir, "sentinel.conf")
	config := "bind 127.0.0.1\nport " + port + "\nsentinel monitor " + name + " " + host + " " + masterPort + " 1\n" +
		"sentinel down-after-milliseconds " + name + " 1500\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{file, "--sentinel"}
	s.start()
	return s
}

// StartClusterReplica starts the first replica of master, which is a master of a
// cluster, and waits until the replica has the data.
func StartClusterReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	ctx := context.Background()
	s := startNode(t)
	meet(t, s, master)
	c, id := s.Client(), master.Client().ClusterMyID(ctx).Val()
	s.eventually("it knows its master", func() bool {
		return c.ClusterReplicate(ctx, id).Err() == nil
	})
	master.waitForReplica()
	// The other nodes hear of it from the master, which a test may stop at once. If they
	// don't know it, they take no notice of its promotion.
	s.eventually("all nodes know it as a replica", func() bool {
		nodes := strings.Split(strings.TrimSpace(c.ClusterNodes(ctx).Val()), "\n")
		return !slices.ContainsFunc(nodes, func(node string) bool { return !knowsReplica(ctx, node, c.ClusterMyID(ctx).Val()) })
	})
	return s
}

// knowsReplica reports whether the node of a cluster that a line of CLUSTER NODES
// describes knows the one with this id as a replica.
func knowsReplica(ctx context.Context, line, id string) bool {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return false
	}
	address, _, _ := strings.Cut(fields[1], "@")
	c := redis.NewClient(&redis.Options{Addr: address, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	for known := range strings.Lines(c.ClusterNodes(ctx).Val()) {
		fields := strings.Fields(known)
		if len(fields) > 2 && fields[0] == id {
			return strings.Contains(fields[2], "slave")
		}
	}
	return false
}

// startNode starts a node of a cluster.
func startNode(t testing.TB) *Server {
	t.Helper()
	bus := FreePort(t)
	s := Start(t, "--cluster-enabled", "yes", "--cluster-port", bus)
	s.bus = bus
	return s
}

// meet introduces two nodes to each other.
func meet(t testing.TB, a, b *Server) {
	t.Helper()
	host, port, _ := net.SplitHostPort(b.Addr)
	if err := a.Client().Do(context.Background(), "CLUSTER", "MEET", host, port, b.bus).Err(); err != nil {
		t.Fatal(err)
	}
}

// StartCluster starts a cluster of three masters.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	const slots = 16384
	var nodes []*Server
	ctx := context.Background()
	for i := range 3 {
		s := startNode(t)
		c := s.Client()
		if err := c.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			meet(t, nodes[0], s)
		}
		nodes = append(nodes, s)
	}
	for _, s := range nodes {
		c := s.Client()
		s.eventually("the cluster is complete", func() bool {
			info, err := c.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return nodes
}
