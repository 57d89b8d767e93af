package etagcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// calls are all calls about a resource, with a grant that nobody holds.
func calls(store etagcache.Store, key string, terms etagcache.Terms) map[string]func(context.Context) error {
	grant := etagcache.Grant{Key: key, Token: "x"}
	return map[string]func(context.Context) error{
		"read": func(ctx context.Context) error { _, err := store.Read(ctx, key, terms); return err },
		"observe": func(ctx context.Context) error {
			return store.Observe(ctx, key, etagcache.Entry{}, observation("v"), terms)
		},
		"claim":  func(ctx context.Context) error { _, _, err := store.Claim(ctx, key, "", terms); return err },
		"pass":   func(ctx context.Context) error { _, _, err := store.Pass(ctx, key, terms); return err },
		"renew":  func(ctx context.Context) error { return store.Renew(ctx, grant, terms) },
		"settle": func(ctx context.Context) error { return store.Settle(ctx, grant, etagcache.Settlement{}, terms) },
		"spend":  func(ctx context.Context) error { return store.Spend(ctx, grant, []string{"x"}, terms) },
		"wait": func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			return store.Wait(ctx, key, etagcache.Entry{})
		},
		"invalidate": func(ctx context.Context) error { return store.Invalidate(ctx, key, terms) },
		"invalidate matching": func(ctx context.Context) error {
			_, err := store.InvalidateMatching(ctx, "", func(string, bool) bool { return true }, terms)
			return err
		},
		"invalidate all": func(ctx context.Context) error { return store.InvalidateAll(ctx, terms) },
	}
}

// otherTypes put a key of each type that isn't a hash.
func otherTypes(ctx context.Context, c *redis.Client) map[string]func(name string) error {
	return map[string]func(string) error{
		"string": func(name string) error { return c.Set(ctx, name, "x", 0).Err() },
		"list":   func(name string) error { return c.RPush(ctx, name, "x").Err() },
		"set":    func(name string) error { return c.SAdd(ctx, name, "x").Err() },
		"zset":   func(name string) error { return c.ZAdd(ctx, name, redis.Z{Member: "x"}).Err() },
		"stream": func(name string) error {
			return c.XAdd(ctx, &redis.XAddArgs{Stream: name, Values: []string{"x", "x"}}).Err()
		},
	}
}

// Whatever type somebody puts at the name of an entry or of the marker, no call stumbles
// over it. What the key held is lost, so nobody gets a claim at once.
func TestRedisHealsOtherTypes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	ctx, c := t.Context(), s.Client()
	for kind, put := range otherTypes(ctx, c) {
		for _, name := range []string{"k", "generation", "group example.com cars"} {
			for call := range calls(nil, "", day) {
				what := fmt.Sprintf("%s at %s: %s", kind, name, call)
				same(t, c.FlushDB(ctx).Err(), nil)
				store := open(t, plain(s), "")
				key := name
				if name == "generation" {
					key = "k"
				}
				before := seen(t, store, key)
				held, _ := claim(t, store, "held")
				same(t, c.Del(ctx, "caddy:preconditions:"+name).Err(), nil)
				same(t, put("caddy:preconditions:"+name), nil)
				terms := day
				terms.Grace = time.Minute
				if err := calls(store, key, terms)[call](ctx); errors.Is(err, etagcache.ErrUnavailable) || errors.Is(err, etagcache.ErrIncompatible) {
					t.Errorf("%s: %v", what, err)
				}
				if _, _, err := store.Claim(ctx, key, before.Epoch, terms); !errors.Is(err, etagcache.ErrBusy) {
					t.Errorf("%s: a claim is granted, or fails otherwise: %v", what, err)
				}
				same(t, store.Renew(ctx, held, terms), nil)
			}
		}
	}
}

// Whatever somebody puts into a field, no call stumbles over it.
func TestRedisStumblesOverNoField(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	ctx, c := t.Context(), s.Client()
	terms := day
	terms.Lag = time.Minute
	store := open(t, plain(s), "")
	fields := map[string][]string{
		"k":          {"e", "g", "c:x", "p:x", "u", "l", "q", "d", "w", "y", "r", "v:v", "b:v", "s", "h", "c:", "v:", "", "x"},
		"generation": {"id", "replid", "from", "until", "spent", "lag", "", "x"},
	}
	for name, of := range fields {
		for _, field := range of {
			for _, value := range []string{
				"", "x", "inf", "nan", "-1", "0", "1e309", "0x10", "9999999999999", "9999999999999.9999999", "99999999999999999999999999",
				`1 2 p - "y"`, `99999999999999999999999999 1 p - "y"`, `inf inf p - "y"`, `1 99999999999999999999999999 p 5 "y"`, "\x00\xff", "+", "1 9999999999999\n", "1 1\n1 x\n", "1 9999999999999\n9999999999999 x\ny",
			} {
				for call, do := range calls(store, "k", terms) {
					same(t, c.Del(ctx, "caddy:preconditions:k", "caddy:preconditions:generation").Err(), nil)
					seen(t, store, "k")
					same(t, c.HSet(ctx, "caddy:preconditions:"+name, field, value).Err(), nil)
					if err := do(ctx); errors.Is(err, etagcache.ErrUnavailable) {
						t.Errorf("%s of %s is %q: %s: %v", field, name, value, call, err)
					}
				}
			}
		}
	}
}

// If a script stumbles all the same, the error says that to try again is no use.
func TestRedisSaysThatItStumbled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for script, stumbles := range map[string]bool{
		"return {}.x.y":                               true,
		"return redis.call('HGETALL', KEYS[1])":       true,
		"return redis.error_reply('READONLY x')":      false,
		"return redis.call('CONFIG', 'GET', KEYS[1])": false,
	} {
		same(t, s.Client().Set(t.Context(), "k", "x", 0).Err(), nil)
		err := s.Client().Eval(t.Context(), script, []string{"k"}).Err()
		if got := etagcache.Failed(err, "running it"); !errors.Is(got, etagcache.ErrUnavailable) || errors.Is(got, etagcache.ErrUnreadable) != stumbles {
			t.Errorf("%s: got %v", script, got)
		}
	}
}
