package etagcache

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// batch is the number of script calls that are sent at once.
const batch = 256

// runAll runs a script on each of keys, in batches, and passes each reply to took.
func (r *Redis) runAll(ctx context.Context, s *script, keys [][]string, argv []any, took func(reply any)) error {
	for some := range slices.Chunk(keys, batch) {
		for len(some) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err, refused error
			some, err = s.runOn(ctx, r.client, r.timeout, some, argv, func(values any) {
				if values, ok := values.([]any); ok && errors.Is(reply(values).status(), ErrIncompatible) {
					refused = reply(values).status()
					return
				}
				took(values)
			})
			if err != nil {
				return unavailableUnless(ctx, err, "running "+s.name+".lua")
			}
			if refused != nil {
				return refused
			}
		}
	}
	return nil
}

// runOn runs a script on a batch of keys. It returns the keys that are left because
// their server didn't have the script: go-redis doesn't load it in a pipeline.
func (s *script) runOn(ctx context.Context, c redis.UniversalClient, timeout time.Duration, keys [][]string, argv []any, took func(reply any)) (left [][]string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	pipe := c.Pipeline()
	for _, k := range keys {
		s.EvalSha(ctx, pipe, k, argv...)
	}
	replies, _ := pipe.Exec(ctx) // each has its own error
	for i, reply := range replies {
		err := reply.Err()
		switch {
		case err == nil:
			took(reply.(*redis.Cmd).Val())
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			left = append(left, keys[i])
		default:
			return nil, err
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	reply, err := s.Run(ctx, c, left[0], argv...).Result()
	if err == nil {
		took(reply)
	}
	return left[1:], err
}

// unavailableUnless returns the error of ctx if ctx is done. Otherwise it returns
// err as an ErrUnavailable that states what the store was doing.
func unavailableUnless(ctx context.Context, err error, doing string) error {
	switch {
	case err == nil || errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return failed(err, doing)
	}
}
