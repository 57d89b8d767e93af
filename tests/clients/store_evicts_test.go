package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// If Redis may evict keys, nothing passes because of what is stored alone, unless the
// operator says that it may. What is confirmed at the origin passes, and nothing that is
// refuted does. A metric says what was found.
func TestStoreThatEvicts(t *testing.T) {
	for _, tt := range []struct {
		policy, eviction, options string
		status                    int
	}{
		{"volatile-lru", "", "verify never", 503},
		{"allkeys-random", "eviction refuse", "verify never", 503},
		{"volatile-lru", "", "verify 1h", 503},
		{"volatile-lru", "", "etag version", 503},
		{"volatile-lru", "eviction allow", "verify never", 204},
		{"volatile-lru", "eviction allow", "etag version", 204},
		{"volatile-lru", "", "", 204},
		{"volatile-lru", "", "verify all", 204},
		{"noeviction", "", "verify never", 204},
	} {
		t.Run(caddytest.Title(tt.policy+"\n"+tt.eviction+"\n"+tt.options), func(t *testing.T) {
			server := redistest.Start(t, "--maxmemory-policy", tt.policy)
			caddytest.EndGrace(t, server.Addr)
			backend := caddytest.Page("content")
			options := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n%s\n}\n%s", server.Addr, tt.eviction, tt.options)
			sites, url, metrics := caddytest.WithMetrics(t, caddytest.Guarded(options, caddytest.Serve(t, backend)))
			caddytest.Start(t, sites)

			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url, "x", "If-Match", `"other"`).Expect(t, 412)
			a := caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, tt.status)
			if refused := tt.status == 503; refused {
				a.ExpectOutcome(t, "unavailable")
				if !strings.Contains(a.Content, "may evict") {
					t.Errorf("the refusal doesn't say why: %s", a.Content)
				}
			}
			if n := len(backend.All("PUT")); n != map[int]int{204: 1}[tt.status] {
				t.Errorf("%d writes were forwarded", n)
			}
			evicts := map[bool]int{true: 1}[tt.policy != "noeviction"]
			if want, got := fmt.Sprintf("caddy_preconditions_store_evicts{store=\"redis\"} %d\n", evicts), caddytest.Send(t, "GET", metrics, "").Content; !strings.Contains(got, want) {
				t.Errorf("the metrics don't have %s", want)
			}
		})
	}
}

// In mode report, the same writes are reported.
func TestStoreThatEvictsReported(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "volatile-ttl")
	caddytest.EndGrace(t, server.Addr)
	url := caddytest.OneNode(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nverify never\nmode report", server.Addr), caddytest.Page("content")).First()
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 204).ExpectOutcome(t, "unavailable")
}
