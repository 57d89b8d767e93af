package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Simulated returns the options of a client of a simulated Redis. Its connections are in
// memory, so it works in the simulated time of testing/synctest.
func Simulated(m *miniredis.Miniredis) *redis.Options {
	return &redis.Options{
		Addr:       "127.0.0.1:0", // needs no name lookup outside the bubble
		Dialer:     func(context.Context, string, string) (net.Conn, error) { return roomy(m.Dial()) },
		MaxRetries: -1,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
}

// roomy buffers the writes to a connection in memory, as a socket does. A client
// can then write a pipeline before it reads the first reply.
func roomy(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	r := &roomyConn{Conn: c, writes: make(chan []byte, 1024), closed: make(chan struct{})}
	go func() {
		for {
			select {
			case b := <-r.writes:
				_, _ = c.Write(b)
			case <-r.closed:
				return
			}
		}
	}()
	return r, nil
}

type roomyConn struct {
	net.Conn
	writes chan []byte
	once   sync.Once
	closed chan struct{}
}

func (r *roomyConn) Write(b []byte) (int, error) {
	select {
	case r.writes <- bytes.Clone(b):
		return len(b), nil
	case <-r.closed:
		return 0, net.ErrClosed
	}
}

func (r *roomyConn) Close() error {
	r.once.Do(func() { close(r.closed) })
	return r.Conn.Close()
}

// Process is what a simulated Redis tells of itself with INFO, as a real one does. The
// simulation itself tells none of it.
type Process struct {
	redis *miniredis.Miniredis

	mu      sync.Mutex
	started time.Time
	replid  int
	calls   map[string]int // of each command, since the start
}

// NewProcess makes a simulated Redis tell of itself from now on, as if it had just started.
func NewProcess(m *miniredis.Miniredis) (*Process, error) {
	p := &Process{redis: m}
	c, err := m.Dial() // starts the server
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	p.Restart()
	m.Server().SetPreHook(p.hook)
	return p, nil
}

// Restart simulates that the process is killed, and started without its data.
func (p *Process) Restart() {
	p.redis.FlushAll()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.calls = time.Now(), make(map[string]int)
	p.replid++
}

// hook counts the calls, and answers INFO.
func (p *Process) hook(c *server.Peer, cmd string, args ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.calls[strings.ToLower(cmd)]++ }()
	if cmd != "INFO" || len(args) != 1 {
		return false
	}
	switch args[0] {
	case "server":
		uptime := time.Now().Unix() - p.started.Unix()
		c.WriteBulk(fmt.Sprintf("redis_mode:standalone\r\nuptime_in_seconds:%d\r\n", uptime))
	case "replication":
		c.WriteBulk(fmt.Sprintf("role:master\r\nconnected_slaves:0\r\nmaster_replid:%040x\r\nmaster_replid2:%040d\r\nrepl_backlog_active:0\r\n",
			p.replid, 0))
	case "commandstats":
		var b strings.Builder
		for name, n := range p.calls {
			fmt.Fprintf(&b, "cmdstat_%s:calls=%d\r\n", name, n)
		}
		c.WriteBulk(b.String())
	default:
		return false
	}
	return true
}
