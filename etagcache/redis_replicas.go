package etagcache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var errReplicas = errors.New("too few replicas acknowledged it")

// evalReplicated runs a script and waits until the replicas have what it wrote. It
// waits for a third of the timeout at most, because it may need two attempts.
func (r *Redis) evalReplicated(ctx context.Context, s *script, keys []string, argv []any) (reply, error) {
	node, err := masterOf(ctx, r.client, keys[0])
	if err != nil {
		return nil, err
	}
	run := s.EvalSha
	for {
		pipe := node.Pipeline() // one connection: WAIT covers what was written on the same one
		ran := run(ctx, pipe, keys, argv...)
		acks := pipe.Do(ctx, "wait", r.replicas, milliseconds(r.timeout/3))
		_, _ = pipe.Exec(ctx) // each has its own error
		values, err := ran.Slice()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			run = s.Eval
			continue
		}
		if c, ok := r.client.(clusterClient); ok && redis.HasErrorPrefix(err, "MOVED") {
			c.ReloadState(ctx) // for the next call
		}
		if err != nil || reply(values).status() != nil {
			return values, err
		}
		if n, err := acks.Int64(); err != nil {
			return nil, fmt.Errorf("%w: %w", errReplicas, err)
		} else if n < int64(r.replicas) {
			return nil, fmt.Errorf("%w: %d of %d", errReplicas, n, r.replicas)
		}
		return values, nil
	}
}

// masterOf returns a client for the server that stores a key.
func masterOf(ctx context.Context, client redis.UniversalClient, key string) (redis.Cmdable, error) {
	if c, ok := client.(clusterClient); ok {
		return c.MasterForKey(ctx, key)
	}
	return client, nil
}
