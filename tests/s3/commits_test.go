package s3

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A table format commits like this: read the pointer, write a new file that names the one
// before, and swap the pointer if nobody else has. Eight processes do so through two nodes, with
// both SDKs, and every commit that was acknowledged is in the chain in the end.
func TestCommits(t *testing.T) {
	t.Parallel()
	const commits = 4 // of each writer
	nodes := twoNodes(t, "", caddytest.ObjectStore(t))
	var clients []client
	for i := range 8 {
		sdk := caddytest.ObjectSDKs[i%len(caddytest.ObjectSDKs)]
		clients = append(clients, client{caddytest.NewObjectClient(t, sdk), t, nodes[i/4]})
	}
	clients[0].expect(op{Op: "put", Key: "pointer", Body: "root", IfNoneMatch: "*"}, 200, "")

	acknowledged := make(chan []string)
	for i, c := range clients {
		go func() {
			var mine []string
			defer func() { acknowledged <- mine }()
			for try := 0; len(mine) < commits && !t.Failed(); try++ {
				pointer := c.expect(op{Op: "get", Key: "pointer"}, 200, "")
				name := fmt.Sprintf("%d-%d", i, try)
				file, _ := json.Marshal(pointer.Body)
				c.expect(op{Op: "put", Key: "file/" + name, Body: string(file), IfNoneMatch: "*"}, 200, "")
				r := c.Do(op{Op: "put", Endpoint: c.node, Bucket: "b", Key: "pointer", Body: name, IfMatch: pointer.ETag})
				switch {
				case r.Status == 200:
					mine = append(mine, name)
				case r.Code != "PreconditionFailed" && r.Code != "ConditionalRequestConflict":
					t.Errorf("a commit got %d %s: %s", r.Status, r.Code, r.Text)
				}
			}
		}()
	}
	var all []string
	for range clients {
		all = append(all, <-acknowledged...)
	}

	chain := make(map[string]bool)
	for name := clients[0].expect(op{Op: "get", Key: "pointer"}, 200, "").Body; name != "root" && !t.Failed(); {
		chain[name] = true
		file := clients[0].expect(op{Op: "get", Key: "file/" + name}, 200, "")
		if err := json.Unmarshal([]byte(file.Body), &name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range all {
		if !chain[name] {
			t.Errorf("the commit %s is lost", name)
		}
	}
	if len(all) != len(clients)*commits || len(chain) != len(all) {
		t.Errorf("%d commits were acknowledged, and %d are in the chain", len(all), len(chain))
	}
}
