package clients

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// pagesOfOwner is a backend that refuses the writes of everybody but the owner, after
// pass was called.
func pagesOfOwner(pass func(*http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "GET" && r.Header.Get("X-Http-Method-Override") == "":
			_, _ = io.WriteString(w, "page "+r.URL.Path)
		case r.Header.Get("Authorization") == "":
			if pass != nil {
				pass(r)
			}
			w.WriteHeader(401)
		default:
			w.WriteHeader(204)
		}
	})
}

// strangersWrites are writes without credentials that would change /page, each with its
// path and fields.
var strangersWrites = map[string][]string{
	"a DELETE":                         {"DELETE", "/page"},
	"a POST":                           {"POST", "/page"},
	"a conditional PUT":                {"PUT", "/page", "If-Match", "*"},
	"an unknown method":                {"FROB", "/page"},
	"an unknown override on a GET":     {"GET", "/page", "X-HTTP-Method-Override", "FROB"},
	"a MOVE of the page":               {"MOVE", "/page", "Destination", "/other"},
	"a MOVE over the page":             {"MOVE", "/other", "Destination", "/page"},
	"a conditional COPY over the page": {"COPY", "/other", "Destination", "/page", "If-Match", "*"},
	"a write that affects the page":    {"PUT", "/parts/a"},
	"a conditional one":                {"PUT", "/parts/a", "If-Match", "*"},
	"a write that the page guards":     {"POST", "/page/comments", "If-Match", "*"},
}

const pageRules = "affects /parts/* /page\nguards /page/comments /page"

// What the backend refuses leaves the version of every resource that it might have changed.
func TestRefusedWritesKeepTheVersion(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"etag version", "etag version\nlag 30s"} {
			n := deploy(t, options+"\n"+pageRules, pagesOfOwner(nil))
			caddytest.Send(t, "GET", n.First()+"/parts/a", "").Expect(t, 200)
			caddytest.Send(t, "GET", n.First()+"/other", "").Expect(t, 200)
			tag := caddytest.Send(t, "GET", n.First()+"/page", "").Expect(t, 200).Tag(t)
			for name, w := range strangersWrites {
				caddytest.Send(t, w[0], n.Other()+w[1], "", w[2:]...).Expect(t, 401)
				if got := caddytest.Send(t, "GET", n.First()+"/page", "").Tag(t); got != tag {
					t.Fatalf("%s: after %s the tag is %s, before %s", options, name, got, tag)
				}
			}
			caddytest.Send(t, "PUT", n.First()+"/page", "x", "Authorization", "me", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", n.First()+"/page", "x", "Authorization", "me", "If-Match", tag).Expect(t, 412)
		}
	})
}

// So it is if refused writes overlap, and one that isn't refused still counts.
func TestOverlappingRefusedWritesKeepTheVersion(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		const writes = 4
		var arrived sync.WaitGroup
		n := deploy(t, "etag version", pagesOfOwner(func(*http.Request) {
			arrived.Done()
			arrived.Wait()
		}))
		url, other := n.First()+"/page", n.Other()+"/page"
		for _, owner := range []bool{false, true} {
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			arrived.Add(writes)
			var answered sync.WaitGroup
			refused := func(url string) {
				if a, err := caddytest.Try(context.Background(), "DELETE", url, ""); err != nil || a.StatusCode != 401 {
					t.Errorf("got %v and %v", a, err)
				}
			}
			for range writes - 1 {
				answered.Go(func() { refused(url) })
			}
			if owner {
				caddytest.Send(t, "PUT", other, "x", "Authorization", "me").Expect(t, 204)
			}
			answered.Go(func() { refused(other) })
			answered.Wait()
			if got := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t); (got == tag) == owner {
				t.Errorf("the owner has written: %v, but the tag was %s and is %s", owner, tag, got)
			}
		}
	})
}
