package simulate

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// simulatedRedis runs the scripts of the store. Its clock may be wrong, and it may get
// something twice.
type simulatedRedis struct {
	*miniredis.Miniredis
	run *run

	// run.mu protects these.
	clock time.Duration // how far it is ahead
	again time.Duration // when it gets the next command again
}

// openRedis returns what opens a store for each node at one simulated Redis.
func openRedis(t *testing.T, r *run) func() etagcache.Store {
	m := &simulatedRedis{Miniredis: miniredis.NewMiniRedis(), run: r}
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	r.server = m
	return func() etagcache.Store {
		options := redistest.Simulated(m.Miniredis)
		dial := options.Dialer
		options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return &redisConn{c, m}, err
		}
		return etagcache.NewRedis(redis.NewClient(options), etagcache.RedisOptions{})
	}
}

// redisConn is a connection to it.
type redisConn struct {
	net.Conn
	redis *simulatedRedis
}

func (c *redisConn) Write(b []byte) (int, error) {
	m := c.redis
	m.run.mu.Lock()
	clock, again := m.clock, m.again
	m.again = 0
	m.run.mu.Unlock()
	if clock != 0 {
		m.SetTime(time.Now().Add(clock))
	}
	if again > 0 {
		go m.repeat(bytes.Clone(b), again)
	}
	return c.Conn.Write(b)
}

// repeat sends something again, as it was, later and on a different connection.
func (m *simulatedRedis) repeat(b []byte, after time.Duration) {
	time.Sleep(after)
	c, err := m.Dial()
	if err != nil {
		return // the run is over
	}
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	_, _ = c.Write(b)
	m.run.mu.Lock()
	m.run.record("Redis", "gets a command again")
	m.run.mu.Unlock()
	time.Sleep(time.Second)
}
