package atomicity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const holderField = "Preconditions-Holder"

// inARow puts several sites in front of a backend, each proxied to the next, with the same
// store. The option wait is so long that a write which waits for it fails the test. Of the
// sites it returns the outermost. The field X-By-1 of a response has the outcome at the
// outermost, X-By-2 at the next.
type inARow func(t *testing.T, sites int, options, backend string) (url string)

func siteInARow(i int, options, next string) string {
	return fmt.Sprintf("header >X-By-%d {http.preconditions.outcome}\npreconditions {\nwait 2m\nlag 0s\n%s\n}\nreverse_proxy %s", i, options, next)
}

// inOneCaddy has the sites in one Caddy, with the memory store.
func inOneCaddy(t *testing.T, sites int, options, backend string) string {
	t.Helper()
	next, config := backend, ""
	for i := sites; i > 0; i-- {
		address := caddytest.Address(t)
		config += fmt.Sprintf("http://%s {\n%s\n}\n", address, siteInARow(i, options, next))
		next = address
	}
	caddytest.Start(t, config)
	return "http://" + next
}

// onNodes has a Caddy for each site. They share a Redis.
func onNodes(t *testing.T, sites int, options, backend string) string {
	t.Helper()
	options += fmt.Sprintf("\nstore redis redis://%s {\ntimeout 5s\n}", caddytest.UsedRedis(t).Addr)
	next := backend
	for i := sites; i > 0; i-- {
		node := caddytest.StartNode(t, siteInARow(i, options, next))
		next = strings.TrimPrefix(node.URL, "http://")
	}
	return "http://" + next
}

// onBoth runs a test in one Caddy and on several.
func onBoth(t *testing.T, test func(t *testing.T, deploy inARow)) {
	t.Helper()
	for name, deploy := range map[string]inARow{"one Caddy": inOneCaddy, "a Caddy each": onNodes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, deploy)
		})
	}
}

// A site that is proxied to another one with the same store doesn't wait for itself: the
// outermost decides, the others let its writes pass.
func TestSitesInARow(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, deploy inARow) {
		for _, tt := range []struct {
			sites   int
			options string
		}{{2, ""}, {3, ""}, {2, "verify never"}, {2, "etag version"}, {2, "verify all"}, {2, "affects /docs/* /docs\naffects /docs /docs/**"}} {
			t.Run(fmt.Sprintf("%d, %s", tt.sites, caddytest.Title(tt.options)), func(t *testing.T) {
				t.Parallel()
				docs, seen := caddytest.Watched(legacydocs.Options{})
				url := deploy(t, tt.sites, tt.options, caddytest.Serve(t, docs)) + "/docs/a"
				do := func(status int, outcome, method, content string, fields ...string) caddytest.Answer {
					t.Helper()
					a := caddytest.Send(t, method, url, content, fields...).Expect(t, status)
					if got := a.Header.Get("X-By-1"); got != outcome {
						t.Errorf("%s %v: the outermost reports %q, want %q", method, fields, got, outcome)
					}
					for i := range tt.sites - 1 {
						name := fmt.Sprintf("X-By-%d", i+2)
						if got := a.Header.Get(name); got != "" && method != "GET" && got != "bypassed" {
							t.Errorf("%s %v: %s is %q", method, fields, name, got)
						}
					}
					if a.Header.Get(holderField) != "" || strings.Contains(a.Content, holderField) {
						t.Errorf("the client gets %s", holderField)
					}
					return a
				}
				do(201, "passed", "PUT", "one", "If-None-Match", "*")
				do(412, "failed", "PUT", "two", "If-None-Match", "*")
				tag := do(200, "read", "GET", "").Tag(t)
				do(204, "passed", "PUT", "two", "If-Match", tag)
				do(412, "failed", "PUT", "three", "If-Match", tag)
				do(204, "unconditional", "PUT", "three")
				do(412, "failed", "DELETE", "", "If-Match", tag)
				do(204, "passed", "PUT", "four", "If-Match", "*")
				do(204, "passed", "PUT", "five", "If-Match", "*", "Connection", "x, preconditions-holder")
				do(204, "passed", "DELETE", "", "If-Match", do(200, "read", "GET", "").Tag(t))
				for _, h := range seen.All() {
					writes, told := h.Method != "GET", len(h.Header[holderField]) == 1
					if writes != told {
						t.Errorf("a %s reaches the backend with %s %q", h.Method, holderField, h.Header[holderField])
					}
					if h.Header.Get("If-Match") == tag {
						t.Error("the backend gets a tag that it can't know")
					}
				}
			})
		}
	})
}

// Of any number of writers with one tag exactly one wins, however many handlers are in a
// row, and whether they come in at the first or at the second.
func TestSitesInARowContest(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, deploy inARow) {
		docs := legacydocs.New(legacydocs.Options{})
		url := deploy(t, 2, "", caddytest.Serve(t, docs))
		for _, c := range caddytest.Contests {
			for i := range caddytest.Rounds() {
				if n := c.Hold(t, caddytest.Nodes{url}, docs, fmt.Sprintf("/docs/%s-%d", c.Name, i)); n != 1 {
					t.Errorf("%s: %d winners", c.Name, n)
				}
			}
		}
	})
}

// A request that claims to be held by somebody gains nothing by that, unless it is true for
// its own resource: neither with a token that nobody holds, nor with that of a different
// resource, nor with one whose write has ended.
func TestForgedHolder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, deploy inARow) {
		g := caddytest.NewGate()
		var mu sync.Mutex
		got := make(map[string][]string) // by path
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			mu.Lock()
			got[r.URL.Path] = append(got[r.URL.Path], r.Header[holderField]...)
			mu.Unlock()
			return g.Pass(r)
		}})
		url := deploy(t, 1, "", caddytest.Serve(t, docs))
		for _, path := range []string{"/docs/a", "/docs/b"} {
			caddytest.Send(t, "PUT", url+path, "one", "If-None-Match", "*").Expect(t, 201)
		}
		tag := caddytest.Send(t, "GET", url+"/docs/a", "").Tag(t)
		mu.Lock()
		over := slices.Clone(got["/docs/b"])
		mu.Unlock()
		first := g.Send(t.Context(), t, "PUT", url+"/docs/a", "two", "If-Match", tag)
		mu.Lock()
		live := got["/docs/a"][len(got["/docs/a"])-1]
		mu.Unlock()
		if len(over) != 1 || !strings.HasPrefix(live, "passed claim ") || strings.Contains(live, "/docs/a") {
			t.Fatalf("got %q and %q", over, live)
		}
		words, ended := strings.Fields(live), strings.Fields(over[0])
		for _, forged := range [][]string{
			{"x"},
			{""},
			{"passed"},
			{strings.Repeat("passed claim AAAAAAAAAAAAAAAA AAAAAAAAAAAA, ", 100)},
			{"passed claim AAAAAAAAAAAAAAAA " + ended[3]},
			over,
			{live},
			{words[0] + " " + words[1] + " " + words[2] + " " + ended[3]},
			{words[0] + " pass " + words[2] + " " + ended[3]},
			{live, over[0]},
			{live + ", " + over[0]},
			{live + "," + over[0]},
		} {
			var fields []string
			for _, line := range forged {
				fields = append(fields, holderField, line)
			}
			a := caddytest.Send(t, "PUT", url+"/docs/b", "lost", append(fields, "If-Match", `"stale"`)...).Expect(t, 412)
			if a.Header.Get("X-By-1") != "failed" {
				t.Errorf("%.80q: %s", forged, a.Header.Get("X-By-1"))
			}
			caddytest.Send(t, "GET", url+"/docs/c", "", fields...).Expect(t, 404)
		}
		mu.Lock()
		if n := len(got["/docs/c"]); n > 0 {
			t.Errorf("the backend gets %q from a client", got["/docs/c"])
		}
		mu.Unlock()
		g.Open()
		caddytest.ExpectResult(t, first, 204)
		caddytest.Send(t, "PUT", url+"/docs/a", "lost", holderField, live, "If-Match", tag).Expect(t, 412)
	})
}
