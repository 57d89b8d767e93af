package atomicity

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// slowDoc is a backend with one document. Tests hold its requests.
type slowDoc struct {
	mu      sync.Mutex
	content string
	applied []string

	held    string        // the field X-Client of the requests to hold
	arrived chan struct{} // gets a value when one has come as far as it should
	goOn    chan struct{} // closed to let them go on
	read    int64         // how much content a held write may send before
}

func newSlowDoc(held string) *slowDoc {
	return &slowDoc{content: "old", held: held, arrived: make(chan struct{}, 9), goOn: make(chan struct{})}
}

func (b *slowDoc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	held := r.Header.Get("X-Client") == b.held
	if r.Method == http.MethodGet {
		b.mu.Lock()
		content := b.content
		b.mu.Unlock()
		if held && b.read == 0 {
			b.arrived <- struct{}{}
			<-b.goOn // with what was there before
		}
		_, _ = io.WriteString(w, content)
		return
	}
	var begin strings.Builder
	if held && b.read > 0 {
		_, _ = io.CopyN(&begin, r.Body, b.read)
		b.arrived <- struct{}{}
		<-b.goOn
	}
	rest, err := io.ReadAll(r.Body)
	if err != nil {
		return // not the whole content
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = begin.String() + string(rest)
	b.applied = append(b.applied, r.Header.Get("X-Client"))
	w.WriteHeader(http.StatusNoContent)
}

// A node that stands still for longer than its lease doesn't go on with its write
// afterwards: while it asks the origin, or when half of the content is sent. It asks under
// its claim if only the write itself carries the client's credentials. Before the claim it
// holds nothing, and finds out afterwards that somebody has written.
func TestNodeStandsStill(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options string
		size    int
		read    int64
		claimed bool
	}{
		{"while it asks the origin", "", 10, 0, true},
		{"while it asks the origin, write_etag always", "write_etag always", 10, 0, true},
		{"while it asks the origin before the claim", "", 10, 0, false},
		{"when half of the content is sent", "verify never", 16 << 20, 1 << 20, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backend := newSlowDoc("ann")
			backend.read = tt.read
			t.Parallel()
			options := fmt.Sprintf("store redis redis://%s {\ntimeout 2s\n}\nlease 3s\nwait 20s\n%s", caddytest.UsedRedis(t).Addr, tt.options)
			nodes := caddytest.StartNodes(t, 2, caddytest.Guarded(options, caddytest.Serve(t, backend)))
			first, other := nodes[0], nodes[1]
			tag := caddytest.Send(t, "GET", first.URL+"/doc", "").Expect(t, 200).Tag(t)

			fields := []string{"X-Client", "ann", "If-Match", tag}
			if tt.claimed {
				fields = append(fields, "Authorization", "Digest ann")
			}
			ann := caddytest.Go(context.Background(), "PUT", first.URL+"/doc", strings.Repeat("a", tt.size), fields...)
			<-backend.arrived
			first.Freeze()
			bob := caddytest.Send(t, "PUT", other.URL+"/doc", "bob's", "X-Client", "bob", "If-Match", tag)
			close(backend.goOn)
			first.Thaw()
			r := <-ann

			backend.mu.Lock()
			defer backend.mu.Unlock()
			if bob.StatusCode != 204 || len(backend.applied) != 1 || backend.applied[0] != "bob" {
				t.Errorf("Bob got %d, applied %q", bob.StatusCode, backend.applied)
			}
			if !tt.claimed {
				if r.Err != nil || r.StatusCode != 412 {
					t.Errorf("Ann got %v, %v", r.Response, r.Err)
				}
				return
			}
			if r.Err == nil && (r.StatusCode < 500 || r.Header.Get("ETag") != "") {
				t.Errorf("Ann got %d, header %v", r.StatusCode, r.Header)
			}
		})
	}
}
