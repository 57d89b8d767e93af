package speed

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// BenchmarkFull prints what happens when a store is full: what requests are answered, and
// how many requests the backend gets. First many resources are read, more than the store can
// keep. Then each of the first and of the last ones gets a PUT whose If-Match is outdated,
// one whose If-Match has the tag, and a GET. Run it with -benchtime 1x.
func BenchmarkFull(b *testing.B) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nstore\trequests\tanswered\trequests to the backend\t")
	full(b, table, "memory, max_entries 1000", "store memory {\nmax_entries 1000\n}", nil)
	for _, policy := range []string{"noeviction", "volatile-lru", "allkeys-lru"} {
		for _, eviction := range []string{"refuse", "allow"} {
			if policy == "noeviction" && eviction == "allow" {
				continue
			}
			redis := startStore(b)
			limit := redis.memory(b) + 1<<20
			for name, value := range map[string]string{"maxmemory": fmt.Sprint(limit), "maxmemory-policy": policy} {
				if err := redis.client.ConfigSet(b.Context(), name, value).Err(); err != nil {
					b.Fatal(err)
				}
			}
			option := strings.TrimSuffix(redis.option(), "}") + "eviction " + eviction + "\n}"
			full(b, table, policy+", eviction "+eviction, option, redis)
		}
	}
	_ = table.Flush()
}

func full(b *testing.B, table *tabwriter.Writer, name, option string, redis *store) {
	const resources, each = 6_000, 300
	backend := &slow{shelf: newShelf()}
	node := caddytest.StartNode(b, "preconditions {\n"+option+"\n}\nreverse_proxy "+caddytest.Serve(b, backend))
	path := func(i int) string { return fmt.Sprintf("/documents/%08d", i) }
	tags := make(map[string]string)
	requests := func(what string, from, n int, send func(path string) caddytest.Answer) {
		heard, answered := backend.heard.Load(), make(map[string]int)
		for i := range n {
			a := send(path(from + i))
			if tag := a.Header.Get("Etag"); tag != "" {
				tags[path(from+i)] = tag
			}
			answered[fmt.Sprint(a.Status)]++
		}
		var list []string
		for status, count := range answered {
			list = append(list, fmt.Sprintf("%s: %d", status, count))
		}
		slices.Sort(list)
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t\n", name, what, strings.Join(list, ", "), backend.heard.Load()-heard)
	}
	get := func(path string) caddytest.Answer { return caddytest.Send(b, http.MethodGet, node.URL+path, "") }
	for i := range resources {
		backend.contents[path(i)] = []byte(path(i))
	}
	requests("GET of all", 0, resources, get)
	for _, part := range []struct {
		name string
		from int
	}{{"last", resources - each}, {"first", 0}} {
		requests("PUT, outdated, "+part.name, part.from, each, func(path string) caddytest.Answer {
			return caddytest.Send(b, http.MethodPut, node.URL+path, "new", "If-Match", `"outdated"`)
		})
		requests("PUT, current, "+part.name, part.from, each, func(path string) caddytest.Answer {
			return caddytest.Send(b, http.MethodPut, node.URL+path, "new "+path, "If-Match", tags[path])
		})
		requests("GET, "+part.name, part.from, each, get)
	}
	if redis != nil {
		stats, err := redis.client.InfoMap(b.Context(), "stats").Result()
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(table, "%s\tkeys kept: %d\tevicted: %s\t\t\n", name, redis.client.DBSize(b.Context()).Val(), stats["Stats"]["evicted_keys"])
	}
}
