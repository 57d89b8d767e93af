package preconditions_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// manyFaces is a backend with one document, of which it shows each user another
// part, in two media types, with or without some fields.
type manyFaces struct {
	mu      sync.Mutex
	version int
	vary    []string
	asked   int
}

func (b *manyFaces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Method != "GET" {
		b.version++
		w.WriteHeader(204)
		return
	}
	b.asked++
	for _, line := range b.vary {
		w.Header().Add("Vary", line)
	}
	format := "%s, as %s sees it, version %d"
	w.Header().Set("Content-Type", "text/plain")
	if r.Header.Get("Accept") == "application/json" {
		format = `{"fields": %q, "user": %q, "version": %d}`
		w.Header().Set("Content-Type", "application/json")
	}
	_, _ = fmt.Fprintf(w, format, "["+r.URL.Query().Get("fields")+"]", r.Header.Get("Authorization"), b.version)
}

// TestVariants: a write with If-Match passes if the tag is current for the
// representation that its own fields select; before it is refused for one that
// isn't known, the origin is asked.
func TestVariants(t *testing.T) {
	ann, bob := []string{"Authorization", "Basic YW5u"}, []string{"Authorization", "Basic Ym9i"}
	json := []string{"Accept", "application/json"}
	for _, tt := range []struct {
		name          string
		readQuery     string
		read, written []string
		options       string
		status        int
		asked         int // GETs to the origin because of the write
	}{
		{name: "the same", read: ann, written: ann, status: 204},
		{name: "a part, then the whole", readQuery: "?fields=a", status: 412, asked: 1},
		{name: "a part, then the whole, with the tag of a version", readQuery: "?fields=a", read: json, written: json, options: "etag json /version", status: 204, asked: 1},
		{name: "another media type, then any", read: json, status: 412, asked: 1},
		{name: "any media type, then JSON", written: json, status: 412, asked: 1},
		{name: "another user", read: ann, written: bob, status: 412, asked: 1},
		{name: "other codings", read: []string{"Accept-Encoding", "gzip"}, written: []string{"Accept-Encoding", "br"}, status: 204},
		{name: "a field that it doesn't vary by", read: []string{"X-Trace", "1"}, written: []string{"X-Trace", "2"}, status: 204},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &manyFaces{vary: []string{"Accept, Accept-Encoding", "authorization"}}
			url := site(t, "verify never\nwrite_etag off\n"+tt.options, b) + "/doc"
			tag := send(t, "GET", url+tt.readQuery, "", tt.read...).expect(t, 200).tag(t)
			b.asked = 0
			send(t, "PUT", url, "x", append(tt.written, "If-Match", tag)...).expect(t, tt.status)
			if b.asked != tt.asked {
				t.Errorf("the origin was asked %d times, want %d", b.asked, tt.asked)
			}
			// Whatever was read, the write has changed it.
			send(t, "PUT", url, "x", "If-Match", "*").expect(t, 204)
			send(t, "PUT", url, "x", append(tt.written, "If-Match", tag)...).expect(t, 412)
		})
	}
}

// TestOwnCoding: a backend that compresses by itself, whatever it is asked for,
// and marks its tags as many do. Compression in front doesn't come between.
func TestOwnCoding(t *testing.T) {
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(z, "the content")
	_ = z.Close()
	backend := page(compressed.String(), "Content-Encoding", "gzip", "ETag", `"v1-gzip"`, "Content-Type", "text/plain", "Vary", "Accept-Encoding")
	address := freeAddress(t)
	load(t, fmt.Sprintf("http://%s {\nencode gzip zstd\npreconditions\nreverse_proxy %s\n}\n", address, serve(t, backend)))
	url := "http://" + address + "/page"
	accept := []string{"Accept-Encoding", "gzip"}

	a := send(t, "GET", url, "", accept...).expect(t, 200)
	if tag := a.tag(t); tag != `"v1-gzip"` || a.Header.Get("Content-Encoding") != "gzip" || a.Content != compressed.String() {
		t.Errorf("%v", a.Header)
	}
	for _, field := range []string{`"v1-gzip"`, `W/"v1-gzip"`, `"x", "v1-gzip"`} {
		if got := send(t, "GET", url, "", append(accept, "If-None-Match", field)...).expect(t, 304).tag(t); got != `"v1-gzip"` {
			t.Errorf("If-None-Match: %s: the tag is %s", field, got)
		}
	}
	send(t, "GET", url, "", append(accept, "If-None-Match", `"v2-gzip"`)...).expect(t, 200)
	send(t, "PUT", url, "x", append(accept, "If-Match", `"v2-gzip"`)...).expect(t, 412)
	send(t, "PUT", url, "x", append(accept, "If-Match", `"v1-gzip"`)...).expect(t, 204)
	if got := backend.last(t, "PUT").Header["If-Match"]; len(got) != 1 || got[0] != `"v1-gzip"` {
		t.Errorf("the backend got If-Match: %q", got)
	}
}

// TestTwoNamesOfOneResource: a tag that was read by one name is good for a write by
// another one, which a rewrite makes the same.
func TestTwoNamesOfOneResource(t *testing.T) {
	for _, options := range []string{"", "verify never", "etag version"} {
		t.Run(options, func(t *testing.T) {
			url := oneNodeAt(t, "rewrite /plan /docs/7\n"+guarded(options, serve(t, legacydocs.New(legacydocs.Options{})))).first()
			send(t, "PUT", url+"/plan", "draft").expectSuccess(t)
			tag := send(t, "GET", url+"/plan", "").expect(t, 200).tag(t)
			send(t, "PUT", url+"/docs/7", "Ann's", "If-Match", tag).expect(t, 204)
			send(t, "PUT", url+"/plan", "Bob's", "If-Match", tag).expect(t, 412)
			tag = send(t, "GET", url+"/docs/7", "").expect(t, 200).tag(t)
			send(t, "PUT", url+"/plan", "Bob's", "If-Match", tag).expect(t, 204)
		})
	}
}

// TestOneKeyForTwoBackends: where two resources share a key, and even the path with
// which they come here, what is known of the one says nothing about the other.
func TestOneKeyForTwoBackends(t *testing.T) {
	for _, options := range []string{"", "verify never", "verify never\netag version"} {
		t.Run(options, func(t *testing.T) {
			one, other := serve(t, legacydocs.New(legacydocs.Options{})), serve(t, legacydocs.New(legacydocs.Options{}))
			address := freeAddress(t)
			load(t, fmt.Sprintf("http://%s {\nhandle_path /one/* {\n%s\n}\nhandle_path /other/* {\n%s\n}\n}\n",
				address, guarded(options, one), guarded(options, other)))
			doc, elsewhere := "http://"+address+"/one/docs/plan", "http://"+address+"/other/docs/plan"
			send(t, "PUT", doc, "draft").expectSuccess(t)
			send(t, "PUT", elsewhere, "draft").expectSuccess(t)
			tag := send(t, "GET", doc, "").expect(t, 200).tag(t)
			send(t, "PUT", doc, "Ann's", "If-Match", tag).expect(t, 204)
			send(t, "GET", elsewhere, "").expect(t, 200)
			send(t, "PUT", doc, "Bob's", "If-Match", tag).expect(t, 412)

			// Nor is a tag that is right refused.
			tag = send(t, "GET", doc, "").expect(t, 200).tag(t)
			send(t, "GET", elsewhere, "").expect(t, 200)
			send(t, "PUT", doc, "Cid's", "If-Match", tag).expect(t, 204)
		})
	}
}
