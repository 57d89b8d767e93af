package etagcache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions are the options of NewRedis. The zero value is fine.
type RedisOptions struct {
	// Prefix begins the name of every key and channel. Gateways that share
	// entries share the prefix. Default: "caddy:preconditions:".
	Prefix string

	// Timeout bounds each operation. Default: 250ms.
	Timeout time.Duration
}

// Redis is the Store of gateways that share a Redis server (5 or later), a
// replicated one or a cluster. Each call is one script on one key, timed by the
// server's clock.
//
// A user needs the commands eval, evalsha, time, hgetall, hset, hdel, pttl,
// pexpire, publish, subscribe and ping, the keys that begin with the prefix, and
// the channel of the prefix followed by "handover". Without the channel it works
// all the same, but those who wait notice up to half a second later.
//
// The server must not evict keys (maxmemory-policy noeviction), or claims are
// lost before their lease is over. The same goes for writes that a failover
// loses: Redis replicates after it has answered.
type Redis struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
	wakeups *wakeups
}

var _ Store = (*Redis)(nil)

// NewRedis returns a store that uses client and closes it in the end. The
// client must not read from replicas, and should heed the deadlines of contexts
// and leave repetition to the caller, as those of RedisConfig do.
func NewRedis(client redis.UniversalClient, o RedisOptions) *Redis {
	r := &Redis{
		client:  client,
		prefix:  cmp.Or(o.Prefix, "caddy:preconditions:"),
		timeout: cmp.Or(o.Timeout, defaultTimeout),
	}
	r.wakeups = newWakeups(client, r.channel())
	return r
}

// Read implements Store.
func (r *Redis) Read(ctx context.Context, key string, t Terms) (Entry, error) {
	reply, err := r.run(ctx, readScript, r.key(key), t)
	if err != nil {
		return Entry{}, err
	}
	return reply.entry()
}

// Observe implements Store.
func (r *Redis) Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error {
	known := ""
	if v, ok := before.Variants[o.Variant]; ok {
		known = pack(v.Observed)
	}
	_, err := r.run(ctx, observeScript, r.key(key), t,
		before.Epoch, o.Variant, known, pack(o.Observed), o.Vary)
	return err
}

// Claim implements Store.
func (r *Redis) Claim(ctx context.Context, key, epoch string, t Terms) (Grant, Entry, error) {
	g := Grant{Key: key, Token: NewToken()}
	reply, err := r.run(ctx, claimScript, r.key(key), t,
		g.Token, epoch, milliseconds(t.Lease))
	return granted(g, reply, err)
}

// Pass implements Store.
func (r *Redis) Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error) {
	g := Grant{Key: key, Token: NewToken(), Pass: true}
	reply, err := r.run(ctx, passScript, r.key(key), t,
		g.Token, milliseconds(t.Lease))
	return granted(g, reply, err)
}

// granted returns what Claim and Pass return.
func granted(g Grant, reply reply, err error) (Grant, Entry, error) {
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrStale) {
		return Grant{}, Entry{}, err
	}
	e, malformed := reply.entry()
	if err = cmp.Or(malformed, err); err != nil {
		return Grant{}, e, err
	}
	return g, e, nil
}

// Renew implements Store.
func (r *Redis) Renew(ctx context.Context, g Grant, t Terms) error {
	_, err := r.run(ctx, renewScript, r.key(g.Key), t,
		lease(g), milliseconds(t.Lease))
	return err
}

// Settle implements Store.
func (r *Redis) Settle(ctx context.Context, g Grant, s Settlement, t Terms) error {
	var epoch, variant, value, vary string
	if s.Unchanged && !g.Pass {
		epoch = g.Token
		if o := s.Observation; o != nil {
			variant, value, vary = o.Variant, pack(o.Observed), o.Vary
		}
	}
	_, err := r.run(ctx, settleScript, r.key(g.Key), t,
		lease(g), g.settled(), epoch, variant, value, vary)
	return err
}

// Touch implements Store.
func (r *Redis) Touch(ctx context.Context, key string, t Terms) error {
	_, err := r.run(ctx, touchScript, r.key(key), t)
	return err
}

// Wait implements Store.
func (r *Redis) Wait(ctx context.Context, key string, seen Entry) error {
	name := r.key(key)
	wakeup := r.wakeups.add(name)
	defer r.wakeups.remove(name, wakeup)
	for {
		reply, err := r.run(ctx, waitScript, name, Terms{}, seen.Epoch)
		if err != nil {
			return err
		}
		left, err := reply.wait()
		if err != nil || left == 0 {
			return err
		}
		timer := time.NewTimer(min(left, recheck))
		select {
		case <-wakeup:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Close implements Store. It closes the client, too.
func (r *Redis) Close() error {
	return errors.Join(r.wakeups.close(), r.client.Close())
}

// run runs a script on the entry at key. A call that has begun isn't cut short
// when ctx is done: a claim would have been taken that nobody knows of.
func (r *Redis) run(ctx context.Context, s *script, key string, t Terms, args ...any) (reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	argv := append([]any{NewToken(), r.channel(), milliseconds(t.Retention)}, args...)
	values, err := s.Run(bounded, r.client, []string{key}, argv...).Slice()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: running %s.lua: %w", ErrUnavailable, s.name, err)
	}
	return values, reply(values).status()
}

func (r *Redis) channel() string { return r.prefix + "handover" }

// maxKey is the number of bytes of a key that are stored in full.
const maxKey = 200

// key returns the name in Redis of the entry of key. That of a long key ends in
// its hash, and is longer than any that isn't hashed.
func (r *Redis) key(key string) string {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = key[:maxKey-32] + "#" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return r.prefix + key
}

// lease returns the name of the field that holds the lease of g.
func lease(g Grant) string {
	if g.Pass {
		return "p:" + g.Token
	}
	return "c:" + g.Token
}

// milliseconds rounds up, as Redis would take nothing for none.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
