package preconditions_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// restless is a backend of which every read shows another content.
func restless(fields ...string) (*witness, *atomic.Int32) {
	var reads atomic.Int32
	return &witness{answer: func(w http.ResponseWriter, r *http.Request) {
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

// TestSourceVersion: the tag tells whether the resource was written since,
// whatever its content.
func TestSourceVersion(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		status := new(atomic.Int32)
		backend, reads := restless()
		pages := backend.answer
		backend.answer = func(w http.ResponseWriter, r *http.Request) {
			if s := status.Load(); s != 0 && r.Method != "GET" && r.Method != "HEAD" {
				w.WriteHeader(int(s))
				return
			}
			pages(w, r)
		}
		n := deploy(t, "etag version", backend)
		url, other := n.first()+"/page", n.other()+"/page"

		tag := send(t, "GET", url, "").expect(t, 200).tag(t)
		for _, method := range []string{"GET", "HEAD"} {
			if got := send(t, method, other, "").expect(t, 200).tag(t); got != tag {
				t.Errorf("another %s has the tag %s, want %s", method, got, tag)
			}
			send(t, method, other, "", "If-None-Match", tag).expect(t, 304)
		}
		before := reads.Load()
		send(t, "PUT", other, "x", "If-Match", `"stale"`).expect(t, 412)
		for _, refused := range []int32{400, 409} { // the version stands
			status.Store(refused)
			send(t, "PUT", other, "x", "If-Match", tag).expect(t, int(refused))
		}
		if got := reads.Load() - before; got != 0 {
			t.Errorf("the origin was asked %d times", got)
		}
		for _, changed := range []int32{204, 500} { // it moves
			status.Store(changed)
			send(t, "PUT", other, "x", "If-Match", tag).expect(t, int(changed))
			send(t, "PUT", url, "x", "If-Match", tag).expect(t, 412)
			now := send(t, "GET", url, "").tag(t)
			if now == tag {
				t.Errorf("after %d the tag is still %s", changed, tag)
			}
			tag = now
		}
		status.Store(0)
		send(t, "PUT", url, "x").expect(t, 204) // without a condition
		a := send(t, "PUT", other, "x", "If-Match", tag).expect(t, 412)
		current, _ := problemOf(t, a)["current_etag"].(string)
		if now := send(t, "GET", url, "").tag(t); current != now {
			t.Errorf("the refusal tells the tag %q, want %s", current, now)
		}
		send(t, "DELETE", other, "", "If-Match", current).expect(t, 204)
		send(t, "GET", url, "", "If-None-Match", current).expect(t, 200)
	})
}

// TestVersionOfAbsence: what doesn't exist has no version, and what is created
// again has another one.
func TestVersionOfAbsence(t *testing.T) {
	url := site(t, "etag version", legacydocs.New(legacydocs.Options{})) + "/docs/a"
	send(t, "GET", url, "").expect(t, 404)
	var tags []string
	for range 2 {
		send(t, "PUT", url, "same", "If-Match", "*").expect(t, 412)
		a := send(t, "PUT", url, "same", "If-None-Match", "*").expect(t, 201)
		send(t, "PUT", url, "same", "If-None-Match", "*").expect(t, 412)
		tag := send(t, "GET", url, "").tag(t)
		if got := a.tag(t); got != tag { // stored as it was sent
			t.Errorf("the answer has the tag %s, want %s", got, tag)
		}
		tags = append(tags, tag)
		send(t, "DELETE", url, "", "If-Match", tag).expect(t, 204)
		send(t, "DELETE", url, "", "If-Match", tag).expect(t, 404)
	}
	if tags[0] == tags[1] {
		t.Errorf("both have the tag %s", tags[0])
	}
}

// TestVersionOfAnyRepresentation: a version says as much about all
// representations, so that the write may select another one than the read.
func TestVersionOfAnyRepresentation(t *testing.T) {
	backend, _ := restless("Vary", "Accept")
	url := site(t, "etag version", backend) + "/page"
	html := send(t, "GET", url, "", "Accept", "text/html").tag(t)
	fields := send(t, "GET", url+"?fields=a", "", "Accept", "text/html").tag(t)
	if html == fields {
		t.Errorf("two representations have the tag %s", html)
	}
	send(t, "GET", url, "", "Accept", "*/*").expect(t, 200) // also if the one that it selects is known
	send(t, "PUT", url, "x", "Accept", "*/*", "If-Match", fields).expect(t, 204)
	send(t, "PUT", url, "x", "Accept", "*/*", "If-Match", html).expect(t, 412)
}

// TestVersionWhileWriting: what is read while a write is in flight may be from
// before or after it, so that it has no tag.
func TestVersionWhileWriting(t *testing.T) {
	g := newGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.pass})
	bypass(t, docs, "PUT", "/docs/a", "old")
	url := site(t, "etag version", docs) + "/docs/a"
	tag := send(t, "GET", url, "").tag(t)
	written := g.send(context.Background(), t, "PUT", url, "new", "If-Match", tag)
	if got := send(t, "GET", url, "").expect(t, 200).Header.Get("ETag"); got != "" {
		t.Errorf("the tag is %s", got)
	}
	g.open()
	expectResult(t, written, 204)
	send(t, "GET", url, "").expect(t, 200).tag(t)
}

// TestVersionOfManyReads: all who read at once for the first time get one tag.
func TestVersionOfManyReads(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		backend, _ := restless()
		n := deploy(t, "etag version", backend)
		var mu sync.Mutex
		tags := make(map[string]int)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				a, err := try(context.Background(), "GET", n.random()+"/page", "")
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
