package clients

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// restless is a backend whose content differs on every read.
func restless(fields ...string) (*caddytest.Witness, *atomic.Int32) {
	var reads atomic.Int32
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" && r.Method != "HEAD" {
			w.WriteHeader(204)
			return
		}
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		_, _ = io.WriteString(w, strings.Repeat("token ", int(reads.Add(1))))
	}}, &reads
}

// With the source version, the tag changes when the resource may have been written,
// and only then, whatever the content is.
func TestSourceVersion(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		status := new(atomic.Int32)
		backend, reads := restless()
		pages := backend.Answer
		backend.Answer = func(w http.ResponseWriter, r *http.Request) {
			if s := status.Load(); s != 0 && r.Method != "GET" && r.Method != "HEAD" {
				w.WriteHeader(int(s))
				return
			}
			pages(w, r)
		}
		n := deploy(t, "etag version", backend)
		url, other := n.First()+"/page", n.Other()+"/page"

		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		for _, method := range []string{"GET", "HEAD"} {
			if got := caddytest.Send(t, method, other, "").Expect(t, 200).Tag(t); got != tag {
				t.Errorf("a repeated %s has the tag %s, want %s", method, got, tag)
			}
			caddytest.Send(t, method, other, "", "If-None-Match", tag).Expect(t, 304)
		}
		before := reads.Load()
		caddytest.Send(t, "PUT", other, "x", "If-Match", `"stale"`).Expect(t, 412)
		for _, refused := range []int32{400, 409} { // the version stays
			status.Store(refused)
			caddytest.Send(t, "PUT", other, "x", "If-Match", tag).Expect(t, int(refused))
		}
		if got := reads.Load() - before; got != 0 {
			t.Errorf("the origin was asked %d times", got)
		}
		for _, changed := range []int32{204, 500} { // the version moves
			status.Store(changed)
			caddytest.Send(t, "PUT", other, "x", "If-Match", tag).Expect(t, int(changed))
			caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 412)
			now := caddytest.Send(t, "GET", url, "").Tag(t)
			if now == tag {
				t.Errorf("after %d the tag is still %s", changed, tag)
			}
			tag = now
		}
		status.Store(0)
		caddytest.Send(t, "PUT", url, "x").Expect(t, 204) // without a condition
		a := caddytest.Send(t, "PUT", other, "x", "If-Match", tag).Expect(t, 412)
		current, _ := problemOf(t, a)["current_etag"].(string)
		if now := caddytest.Send(t, "GET", url, "").Tag(t); current != now {
			t.Errorf("the refusal names the current tag %q, want %s", current, now)
		}
		caddytest.Send(t, "DELETE", other, "", "If-Match", current).Expect(t, 204)
		caddytest.Send(t, "GET", url, "", "If-None-Match", current).Expect(t, 200)
	})
}

// A resource that doesn't exist has no version. If it is created again, it gets a new
// one.
func TestVersionOfAbsence(t *testing.T) {
	url := caddytest.Site(t, "etag version", legacydocs.New(legacydocs.Options{})) + "/docs/a"
	caddytest.Send(t, "GET", url, "").Expect(t, 404)
	var tags []string
	for range 2 {
		caddytest.Send(t, "PUT", url, "same", "If-Match", "*").Expect(t, 412)
		a := caddytest.Send(t, "PUT", url, "same", "If-None-Match", "*").Expect(t, 201)
		caddytest.Send(t, "PUT", url, "same", "If-None-Match", "*").Expect(t, 412)
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		if got := a.Tag(t); got != tag { // stored as it was sent
			t.Errorf("the answer has the tag %s, want %s", got, tag)
		}
		tags = append(tags, tag)
		caddytest.Send(t, "DELETE", url, "", "If-Match", tag).Expect(t, 204)
		caddytest.Send(t, "DELETE", url, "", "If-Match", tag).Expect(t, 404)
	}
	if tags[0] == tags[1] {
		t.Errorf("both resources created under this URL have the tag %s", tags[0])
	}
}

// A version covers all representations of a resource: a write may select a different
// one than the read that its tag comes from.
func TestVersionOfAnyRepresentation(t *testing.T) {
	backend, _ := restless("Vary", "Accept")
	url := caddytest.Site(t, "etag version", backend) + "/page"
	html := caddytest.Send(t, "GET", url, "", "Accept", "text/html").Tag(t)
	fields := caddytest.Send(t, "GET", url+"?fields=a", "", "Accept", "text/html").Tag(t)
	if html == fields {
		t.Errorf("two representations have the tag %s", html)
	}
	caddytest.Send(t, "GET", url, "", "Accept", "*/*").Expect(t, 200) // the write below selects this representation, which is now known
	caddytest.Send(t, "PUT", url, "x", "Accept", "*/*", "If-Match", fields).Expect(t, 204)
	caddytest.Send(t, "PUT", url, "x", "Accept", "*/*", "If-Match", html).Expect(t, 412)
}

// A read during a write gets no tag: its content may be from before or after the write.
func TestVersionWhileWriting(t *testing.T) {
	t.Parallel()
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
	url := caddytest.Site(t, "etag version", docs) + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	written := g.Send(context.Background(), t, "PUT", url, "new", "If-Match", tag)
	if got := caddytest.Send(t, "GET", url, "").Expect(t, 200).Header.Get("ETag"); got != "" {
		t.Errorf("the tag is %s", got)
	}
	g.Open()
	caddytest.ExpectResult(t, written, 204)
	caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
}

// Concurrent first reads all get the same tag.
func TestVersionOfManyReads(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		backend, _ := restless()
		n := deploy(t, "etag version", backend)
		var mu sync.Mutex
		tags := make(map[string]int)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				a, err := caddytest.Try(context.Background(), "GET", n.Random()+"/page", "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				tags[a.Header.Get("ETag")]++
			})
		}
		wg.Wait()
		if len(tags) != 1 || tags[""] > 0 {
			t.Errorf("the tags are %v", tags)
		}
	})
}
