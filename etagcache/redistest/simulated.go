package redistest

import (
	"bytes"
	"context"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2"
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
