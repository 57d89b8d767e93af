package origin

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// An application that writes to a PostgreSQL primary, and reads from two streaming
// replicas of which one is far behind, loses no update: of many writers with one tag
// exactly one gets a 2xx, and all editors get their changes through.
func TestPostgresReplicas(t *testing.T) {
	b := caddytest.PostgresWithReplicas(0, 400*time.Millisecond)
	for _, tt := range []struct{ store, options string }{
		{"memory", ""},
		{"memory", "verify never"},
		{"redis", "write_etag off"},
	} {
		t.Run(tt.store+" "+tt.options, func(t *testing.T) {
			t.Parallel()
			address := b.Run(t)
			store := "store memory\n"
			if tt.store == "redis" {
				store = fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", caddytest.UsedRedis(t).Addr)
			}
			var n caddytest.Nodes
			directives := caddytest.Guarded(store+"lease 3s\nlag 10s\n"+tt.options, address)
			if tt.store == "memory" {
				n = caddytest.OneNodeAt(t, directives)
			} else {
				for _, m := range caddytest.StartNodes(t, 2, directives) {
					n = append(n, m.URL)
				}
			}
			tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
			if winners := contest(t, n, tag, false); winners != 1 {
				t.Errorf("%d writers were told that they succeeded", winners)
			}
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() { edit(t, n, fmt.Sprint("editor ", i), 2) })
			}
			all.Wait()

			var record []struct{ Path, Replaced, Replaces string }
			if err := json.Unmarshal([]byte(caddytest.Send(t, "GET", "http://"+address+"/record", "").Expect(t, 200).Content), &record); err != nil {
				t.Fatal(err)
			}
			if len(record) != 7 && !t.Failed() {
				t.Errorf("the primary has applied %d writes", len(record))
			}
			for _, w := range record {
				if w.Replaces != w.Replaced {
					t.Errorf("a write was meant to replace %q, and replaced %q", w.Replaces, w.Replaced)
				}
			}
		})
	}
}
