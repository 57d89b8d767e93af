package origin

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// cache stands between the handler and an origin, and answers reads from what it has.
type cache struct {
	origin http.Handler
	// deaf caches answer although they are asked not to (RFC 9111, section 5.2.1.4).
	deaf bool

	mu     sync.Mutex
	stored map[string]string
}

func newCache(origin http.Handler, deaf bool) *cache {
	return &cache{origin: origin, deaf: deaf, stored: make(map[string]string)}
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		c.origin.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, hit := c.stored[r.URL.Path]
	if hit && (c.deaf || !strings.Contains(r.Header.Get("Cache-Control"), "no-cache")) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Cache", "HIT")
		_, _ = io.WriteString(w, content)
		return
	}
	rec := &recorder{ResponseWriter: w}
	c.origin.ServeHTTP(rec, r)
	c.stored[r.URL.Path] = rec.content.String()
}

type recorder struct {
	http.ResponseWriter
	content strings.Builder
}

func (r *recorder) Write(p []byte) (int, error) {
	r.content.Write(p)
	return r.ResponseWriter.Write(p)
}

// The handler asks the origin, and not the cache before it: what somebody else has
// written behind the handler's back is noticed although the cache doesn't know it.
func TestProbesGoPastACache(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newReplicated(0)
		b.put("/doc", "start")
		n := deploy(t, lease, newCache(b, false))
		tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
		b.put("/doc", "changed elsewhere")
		caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200) // from the cache
		save(t, "PUT", n.Other()+"/doc", "one", tag, "start").Expect(t, 412)
		b.expectNoneLost(t)
	})
}

// Nothing is learned from a cache that answers in place of the origin: neither by a
// probe nor by a read.
func TestNothingIsLearnedFromACache(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"", "verify never", "verify all"} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := newReplicated(0)
				b.put("/doc", "start")
				n := deploy(t, lease+options, newCache(b, true))
				caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200) // fills the cache
				b.put("/doc", "changed elsewhere")
				caddytest.Send(t, "PUT", n.First()+"/doc", "blind").Expect(t, 204)
				tag := caddytest.Send(t, "GET", n.Other()+"/doc", "").Expect(t, 200).Tag(t)
				if a := save(t, "PUT", n.Other()+"/doc", "one", tag, "start"); !refused(a) {
					t.Errorf("a tag that only the cache shows got %d", a.StatusCode)
				}
				b.expectNoneLost(t)
			})
		}
	})
}

// What comes slowly isn't held back: the first line of a response without an end
// arrives, without a tag (RFC 9110, section 8.8.3).
func TestEndlessResponse(t *testing.T) {
	more := make(chan struct{})
	defer close(more)
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for line := 0; ; line++ {
			_, _ = fmt.Fprintf(w, "{\"line\":%d}\n", line)
			w.(http.Flusher).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})
	n := caddytest.OneNode(t, "", backend)
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.First()+"/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := caddytest.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("{\"line\":0}\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "{\"line\":0}\n" {
		t.Fatalf("got %q, %v", first, err)
	}
	if tag := resp.Header.Get("ETag"); tag != "" {
		t.Errorf("a response that isn't complete has the tag %s", tag)
	}
	more <- struct{}{}
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "{\"line\":1}\n" {
		t.Fatalf("the next line is %q, %v", first, err)
	}
}
