package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// badEntries are what somebody may put at the name of an entry with redis-cli.
var badEntries = map[string]func(t *testing.T, c *redis.Client, name string) error{
	"string": func(t *testing.T, c *redis.Client, name string) error { return c.Set(t.Context(), name, "x", 0).Err() },
	"list":   func(t *testing.T, c *redis.Client, name string) error { return c.RPush(t.Context(), name, "x").Err() },
	"set":    func(t *testing.T, c *redis.Client, name string) error { return c.SAdd(t.Context(), name, "x").Err() },
	"claim": func(t *testing.T, c *redis.Client, name string) error {
		return c.HSet(t.Context(), name, "c:x", "inf").Err()
	},
	"fields": func(t *testing.T, c *redis.Client, name string) error {
		return c.HSet(t.Context(), name, "c:x", "inf", "p:y", "nan", "e", "", "l", "inf", "d", "1e309", "s", "x", "h", "x", "v:", "inf inf", "q", "inf").Err()
	},
}

// Whatever somebody has put into Redis at the names of entries, subtrees, locks
// and the marker, a node that wrote the resources without the store catches up, and writes
// everything else.
func TestCatchingUpWithBadEntries(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(badEntries)) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--user", "gate", "on", ">secret", "~*", "&*", "+@all")
			caddytest.EndGrace(t, server.Addr)
			admin := server.Client()
			docs := legacydocs.New(legacydocs.Options{})
			for _, doc := range []string{"/docs/a", "/docs/b"} {
				caddytest.Bypass(t, docs, "PUT", doc, "old")
			}
			url := caddytest.Site(t, fmt.Sprintf("store redis {\naddress %s\nusername gate\npassword secret\ntimeout 1s\n}\nlease 1s\nwait 10s\naffects /docs /docs/**", server.Addr), docs)
			for _, doc := range []string{"/docs/a", "/docs/b"} {
				tag := caddytest.Send(t, "GET", url+doc, "").Expect(t, 200).Tag(t)
				caddytest.Send(t, "PUT", url+doc, "newer", "If-Match", tag).Expect(t, 204)
			}
			tag := caddytest.Send(t, "GET", url+"/docs/b", "").Expect(t, 200).Tag(t)

			// Without any rights, the store is out of reach, and no call runs late.
			may(t, admin, "-@all")
			caddytest.Send(t, "PUT", url+"/docs/a", "unseen").Expect(t, 204)
			caddytest.Send(t, "DELETE", url+"/docs/missing", "").Expect(t, 404)
			caddytest.Send(t, "PUT", url+"/docs/b", "refused", "If-Match", tag).Expect(t, 503)
			bad := 0
			for _, name := range admin.Keys(t.Context(), "*").Val() {
				if isHash := kind == "claim" || kind == "fields"; isHash && strings.HasSuffix(name, ":generation") {
					continue // it would be another marker
				}
				if err := admin.Del(t.Context(), name).Err(); err != nil {
					t.Fatal(err)
				}
				if err := badEntries[kind](t, admin, name); err != nil {
					t.Fatal(err)
				}
				bad++
			}
			if bad < 4 {
				t.Fatalf("only %d entries", bad)
			}
			may(t, admin, "+@all")

			// Claims may have been lost with what was there, so writes wait for a lease.
			caddytest.Send(t, "PUT", url+"/docs/b", "newest", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", url+"/docs/a", "stale", "If-Match", tag).Expect(t, 412)
			tag = caddytest.Send(t, "GET", url+"/docs/a", "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url+"/docs/a", "seen", "If-Match", tag).Expect(t, 204)
		})
	}
}

// may gives the user of the node rights, or takes them.
func may(t *testing.T, admin *redis.Client, rights string) {
	t.Helper()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "gate", rights).Err(); err != nil {
		t.Fatal(err)
	}
}
