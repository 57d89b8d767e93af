package etagcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// batch is how many scripts are sent at once.
const batch = 256

// scanned is about how many keys a server goes through at a time.
const scanned = 1000

// InvalidateMatching implements Store. A server may be promoted, and a hash slot moved,
// while their keys are gone through; nothing that was known before counts then,
// as always.
func (r *Redis) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t Terms) (int, error) {
	var mu sync.Mutex
	invalidated := 0
	argv := []any{NewToken(), milliseconds(t.Grace), "1", r.channel(), milliseconds(t.Retention)}
	err := r.scan(ctx, prefix, func(names []string) error {
		mu.Lock() // masters are gone through at once
		defer mu.Unlock()
		var keys [][]string
		for _, name := range names {
			key, whole, ok := r.keyOf(name)
			if ok && mayBegin(key, whole, prefix) && matches(key, whole) {
				keys = append(keys, []string{name, r.markers.of(name)})
			}
		}
		return r.runAll(ctx, invalidateScript, keys, argv, func(reply any) {
			if reply, ok := reply.([]any); ok && len(reply) > 1 && reply[1] == int64(1) {
				invalidated++
			}
		})
	})
	return invalidated, err
}

// mayBegin reports whether key begins with prefix, or may do so if it is only how
// a key begins.
func mayBegin(key string, whole bool, prefix string) bool {
	return strings.HasPrefix(key, prefix) || !whole && strings.HasPrefix(prefix, key)
}

// scan calls visit with the names of all entries whose key may begin with prefix,
// some at a time, and some twice.
func (r *Redis) scan(ctx context.Context, prefix string, visit func(names []string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pattern := escapeGlob(r.prefix+prefix[:min(len(prefix), headOfKey)]) + "*"
	each := func(ctx context.Context, server redis.Cmdable) error {
		for cursor := uint64(0); ; {
			names, next, err := r.scanOnce(ctx, server, cursor, pattern)
			if err == nil {
				err = visit(names)
			}
			if err != nil || next == 0 {
				return err
			}
			cursor = next
		}
	}
	if c, ok := r.client.(clusterClient); ok {
		err := c.ForEachMaster(ctx, func(ctx context.Context, server *redis.Client) error { return each(ctx, server) })
		return unavailableUnless(ctx, err, "finding keys")
	}
	return each(ctx, r.client)
}

func (r *Redis) scanOnce(ctx context.Context, server redis.Cmdable, cursor uint64, pattern string) ([]string, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	names, next, err := server.ScanType(bounded, cursor, pattern, scanned, "hash").Result()
	return names, next, unavailableUnless(ctx, err, "finding keys")
}

// escapeGlob returns the pattern that matches nothing but text.
func escapeGlob(text string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(text)
}

// runAll runs a script on each of keys, some at a time, and hands the replies to
// took.
func (r *Redis) runAll(ctx context.Context, s *script, keys [][]string, argv []any, took func(reply any)) error {
	for some := range slices.Chunk(keys, batch) {
		for len(some) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if some, err = r.runOn(ctx, s, some, argv, took); err != nil {
				return unavailableUnless(ctx, err, "running "+s.name+".lua")
			}
		}
	}
	return nil
}

// runOn runs a script on some keys and returns those that are left, as their
// server didn't have the script.
func (r *Redis) runOn(ctx context.Context, s *script, keys [][]string, argv []any, took func(reply any)) (left [][]string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	pipe := r.client.Pipeline()
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
	reply, err := s.Run(ctx, r.client, left[0], argv...).Result()
	if err == nil {
		took(reply)
	}
	return left[1:], err
}

// unavailableUnless returns the error of ctx if it is done, and otherwise says what
// it was that failed.
func unavailableUnless(ctx context.Context, err error, doing string) error {
	switch {
	case err == nil || errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
	}
}
