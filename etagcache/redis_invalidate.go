package etagcache

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// scanned is roughly how many keys a server examines per SCAN.
const scanned = 1000

// Invalidate implements Store.
func (r *Redis) Invalidate(ctx context.Context, key string, t Terms) error {
	_, err := r.run(ctx, invalidateScript, r.prefix.entry(key), t)
	return err
}

// InvalidateMatching implements Store. If a server is promoted or a hash slot moves
// in the meantime, keys may be missed, but then a new generation begins and forgets
// everything that was known about them.
func (r *Redis) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t Terms) (int, error) {
	var mu sync.Mutex
	invalidated := 0
	argv := r.prefix.argv(&r.replies, t, true)
	err := r.scan(ctx, prefix, func(names []string) error {
		mu.Lock() // the masters are scanned concurrently
		defer mu.Unlock()
		var keys [][]string
		for _, name := range names {
			key, whole, ok := r.prefix.key(name)
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

// mayBegin reports whether key begins with prefix, or could do so if only its
// beginning is known.
func mayBegin(key string, whole bool, prefix string) bool {
	return strings.HasPrefix(key, prefix) || !whole && strings.HasPrefix(prefix, key)
}

// scan calls visit with the names of all entries whose keys may begin with prefix,
// in batches. A name may appear more than once.
func (r *Redis) scan(ctx context.Context, prefix string, visit func(names []string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pattern := escapeGlob(string(r.prefix)+prefix[:min(len(prefix), headOfKey)]) + "*"
	each := func(ctx context.Context, server redis.Cmdable) error {
		for cursor := uint64(0); ; {
			names, next, err := scanOnce(ctx, server, r.timeout, cursor, pattern)
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

// scanOnce returns the names of one batch and the cursor of the next.
func scanOnce(ctx context.Context, server redis.Cmdable, timeout time.Duration, cursor uint64, pattern string) ([]string, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	names, next, err := server.ScanType(bounded, cursor, pattern, scanned, "hash").Result()
	return names, next, unavailableUnless(ctx, err, "finding keys")
}

// escapeGlob returns the pattern that matches only text.
func escapeGlob(text string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(text)
}

// InvalidateAll implements Store. In a cluster it visits all hash slots.
func (r *Redis) InvalidateAll(ctx context.Context, t Terms) error {
	return r.everywhere(ctx, invalidateAllScript, t)
}
