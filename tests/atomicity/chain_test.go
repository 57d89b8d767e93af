package atomicity

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A node whose write goes through a second one may stand still for longer than its lease: the
// inner handler keeps the claim alive as long as it works on the write, so nobody else gets in.
func TestOuterStandsStill(t *testing.T) {
	t.Parallel()
	arrived, goOn := make(chan struct{}, 1), make(chan struct{})
	auth := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Client") == "ann" && r.Header.Get("X-Forwarded-Method") == "PUT" {
			arrived <- struct{}{}
			<-goOn
		}
		w.WriteHeader(http.StatusNoContent)
	})
	backend, done := newSlowDoc("nobody"), make(chan struct{}, 9)
	watched := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		backend.ServeHTTP(w, r)
		if r.Method == "PUT" {
			done <- struct{}{}
		}
	})
	options := fmt.Sprintf("preconditions {\nstore redis redis://%s {\ntimeout 2s\n}\nlease 3s\nwait 7s\nlag 0s\nkey still{http.request.uri.path}\n}\n", caddytest.UsedRedis(t).Addr)
	inner := caddytest.StartNode(t, fmt.Sprintf("route {\n%sforward_auth %s {\nuri /auth\n}\nreverse_proxy %s\n}", options, caddytest.Serve(t, auth), caddytest.Serve(t, watched)))
	outer := caddytest.StartNode(t, options+"reverse_proxy "+strings.TrimPrefix(inner.URL, "http://"))
	tag := caddytest.Send(t, "GET", outer.URL+"/doc", "").Expect(t, 200).Tag(t)

	ann := caddytest.Go(context.Background(), "PUT", outer.URL+"/doc", "ann's", "X-Client", "ann", "If-Match", tag)
	<-arrived
	outer.Freeze()
	bob := caddytest.Send(t, "PUT", inner.URL+"/doc", "bob's", "X-Client", "bob", "If-Match", tag) // waits for two leases
	close(goOn)
	<-done
	outer.Thaw()
	<-ann // her node may have given the answer up
	backend.mu.Lock()
	defer backend.mu.Unlock()
	if bob.StatusCode != 503 || len(backend.applied) != 1 || backend.applied[0] != "ann" {
		t.Errorf("Bob got %d, applied %q", bob.StatusCode, backend.applied)
	}
}

// A handler that only reports, or uses a different store, doesn't keep one further in the same
// chain from its work.
func TestNestedInAnother(t *testing.T) {
	t.Parallel()
	for name, outer := range map[string]string{
		"reports":                     "STORE\nmode report",
		"with a different store":      "",
		"reports, a different store":  "mode report",
		"forwards without conditions": "STORE\nunconditional forward",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs := legacydocs.New(legacydocs.Options{})
			store := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}", caddytest.UsedRedis(t).Addr)
			handler := func(options string) string {
				return fmt.Sprintf("preconditions {\nlag 0s\nwait 30s\nkey another{http.request.uri.path}\n%s\n}\n", options)
			}
			directives := "route {\n" + handler(strings.ReplaceAll(outer, "STORE", store)) + handler(store) + "reverse_proxy " + caddytest.Serve(t, docs) + "\n}"
			var urls caddytest.Nodes
			for _, node := range caddytest.StartNodes(t, 2, directives) {
				urls = append(urls, node.URL)
			}
			caddytest.Send(t, "PUT", urls[0]+"/docs/a", "lost", "If-Match", `"stale"`).Expect(t, 412)
			for _, c := range caddytest.Contests {
				if n := c.Hold(t, urls, docs, "/docs/"+c.Name); n != 1 {
					t.Errorf("%s: %d winners", c.Name, n)
				}
			}
		})
	}
}

// What only the inner one of two handlers in a chain requires, or knows to change, counts.
func TestNestedKnowsMore(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			_, _ = fmt.Fprint(w, "list ", n.Load())
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		n.Add(1) // each order is in the list
		w.WriteHeader(http.StatusNoContent)
	}))
	const common = "lag 0s\nverify never\nkey more{http.request.uri.path}\n"
	url := caddytest.OneNodeAt(t, "route {\npreconditions {\n"+common+"}\npreconditions {\n"+common+"affects /orders/* /orders\nrequire DELETE\n}\nreverse_proxy "+backend+"\n}").First()
	tag := caddytest.Send(t, "GET", url+"/orders", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "DELETE", url+"/orders/1", "").Expect(t, 428)
	caddytest.Send(t, "PUT", url+"/orders/1", "new", "If-Match", "*").Expect(t, 204)
	caddytest.Send(t, "PUT", url+"/orders", "new", "If-Match", tag).Expect(t, 412)
}

// A handler in an error route protects the resource on its own: the handler whose error it
// handles has given its claim back.
func TestNestedInErrorRoutes(t *testing.T) {
	t.Parallel()
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	backend := caddytest.Serve(t, docs)
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
	address := caddytest.Address(t)
	const handler = "preconditions {\nlag 0s\nwait 1ms\nkey errors{http.request.uri.path}\n}\n"
	caddytest.Start(t, fmt.Sprintf("http://%s {\n%s@write method PUT\nreverse_proxy @write %s\nreverse_proxy %s\nhandle_errors 502 {\n%sreverse_proxy %s\n}\n}\n",
		address, handler, caddytest.LocalAddress(t), backend, handler, backend))
	url := "http://" + address + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	ann := g.Send(t.Context(), t, "PUT", url, "ann's", "If-Match", tag)
	caddytest.Send(t, "PUT", url, "bob's", "If-Match", tag).Expect(t, 503)
	g.Open()
	caddytest.ExpectResult(t, ann, 204)
}

// Of three sites in a row, the outermost and the innermost may have the same key or store,
// and the one in between a different one. It tells the innermost what the outermost holds, and
// the outermost that the backend is done.
func TestKeysInARow(t *testing.T) {
	t.Parallel()
	redis := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", caddytest.UsedRedis(t).Addr)
	for name, middle := range map[string]string{
		"a different key":   redis + "key middle{http.request.uri.path}",
		"a different store": "key row{http.request.uri.path}",
		"it only reports":   redis + "mode report\nkey row{http.request.uri.path}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "PUT" {
					w.Header().Set("Preconditions-Settled", "?1")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			ends := redis + "key row{http.request.uri.path}"
			for i, options := range []string{ends, middle, ends} {
				next = strings.TrimPrefix(caddytest.StartNode(t, siteInARow(3-i, "lease 1h\nretention 2h\n"+options, next)).URL, "http://")
			}
			url := "http://" + next + "/" + caddytest.Title(name)
			for range 2 { // the second would wait for the first
				a := caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, 503)
				if a.Header.Get("X-By-1") != "passed" || a.Header.Get("X-By-3") != "bypassed" || a.Header.Get("Preconditions-Settled") != "" {
					t.Errorf("got %v: %s", a.Header, a.Content)
				}
			}
		})
	}
}
