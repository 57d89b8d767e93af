package etagcache

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// dialHook keeps go-redis dialing while the server is away. After as many failed dials
// as a pool has connections, the library would answer all calls from the last error, and
// dial once a second. A short lease can't wait that long for its renewal. So no dial
// fails: instead of an error, the pool gets a connection that returns the error.
type dialHook struct {
	// patience is how long a dial may take in all, if that is longer than DialTimeout.
	patience time.Duration
}

// DialHook implements redis.Hook.
func (h dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h.patience > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), h.patience)
			defer cancel()
		}
		conn, err := next(ctx, network, addr)
		if err != nil {
			return failedConn{&dialError{&net.OpError{Op: "dial", Net: network, Err: withoutAddress(err)}}}, nil
		}
		return conn, nil
	}
}

// ProcessHook implements redis.Hook.
func (dialHook) ProcessHook(redis.ProcessHook) redis.ProcessHook { return nil }

// ProcessPipelineHook implements redis.Hook.
func (dialHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook { return nil }

// withoutAddress returns an error that tells why a dial failed, but not where to. It
// isn't a redis.Error, even if a Sentinel's answer is the reason: go-redis would take it
// for an answer of the server and keep the connection.
func withoutAddress(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("looking up the host: " + dns.Err)
	}
	if address, ok := errors.AsType[*net.AddrError](err); ok {
		return errors.New(address.Err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errors.New("x509: the certificate is for a different host")
	}
	switch {
	case errors.Is(err, redis.Nil):
		return errors.New("the Sentinels don't know the master")
	case errors.Is(err, redis.ErrClosed):
		return redis.ErrClosed
	}
	if redisError, ok := errors.AsType[redis.Error](err); ok {
		return errors.New("a Sentinel answered: " + redisError.Error())
	}
	return err
}

// dialError survives that go-redis unwraps the errors of a new connection once.
type dialError struct{ cause *net.OpError }

func (e *dialError) Error() string { return e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }
func (e *dialError) Timeout() bool { return e.cause.Timeout() }

// failedConn is a connection whose dial failed. The pool drops it at its first use.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)       { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)      { return 0, c.err }
func (failedConn) Close() error                     { return nil }
func (failedConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (failedConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (failedConn) SetDeadline(time.Time) error      { return nil }
func (failedConn) SetReadDeadline(time.Time) error  { return nil }
func (failedConn) SetWriteDeadline(time.Time) error { return nil }

// SyscallConn tells the pool that the connection is dead. If the caller gave up before
// the dial failed, the pool keeps the connection, and asks this before it hands it out.
// On Windows it doesn't ask, so each such connection costs one later call.
func (c failedConn) SyscallConn() (syscall.RawConn, error) { return nil, c.err }

// reloadHook belongs to the client of a cluster's node. When the node doesn't answer, it
// makes the client of the cluster ask the other nodes which replica has taken over. The
// library would ask once a minute.
type reloadHook struct{ reload func(context.Context) }

// DialHook implements redis.Hook.
func (reloadHook) DialHook(redis.DialHook) redis.DialHook { return nil }

// ProcessHook implements redis.Hook.
func (h reloadHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.check(ctx, err)
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (h reloadHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.check(ctx, err)
		return err
	}
}

func (h reloadHook) check(ctx context.Context, err error) {
	if _, answered := errors.AsType[redis.Error](err); err != nil && !answered {
		h.reload(ctx)
	}
}
