package clients

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// manyFaces is a backend with one document. It shows each user a different part, in
// two media types, with all fields or only some.
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

// A write with If-Match passes if the tag is current for the representation that its
// own header fields select, or for one that the same client has negotiated. If the handler
// doesn't know the first, it asks the origin before it refuses the write.
func TestVariants(t *testing.T) {
	ann, bob := []string{"Authorization", "Basic YW5u"}, []string{"Authorization", "Basic Ym9i"}
	json := []string{"Accept", "application/json"}
	for _, tt := range []struct {
		name          string
		readQuery     string
		read, written []string
		options       string
		status        int
		asked         int // GETs that the write causes at the origin
	}{
		{name: "the same", read: ann, written: ann, status: 204},
		{name: "a part, then the whole", readQuery: "?fields=a", status: 412, asked: 1},
		{name: "a part, then the whole, with the tag of the version", readQuery: "?fields=a", read: json, written: json, options: "etag json /version", status: 204, asked: 1},
		{name: "one media type, then any", read: json, status: 204},
		{name: "any media type, then JSON", written: json, status: 204},
		{name: "a different user", read: ann, written: bob, status: 412, asked: 1},
		{name: "other codings", read: []string{"Accept-Encoding", "gzip"}, written: []string{"Accept-Encoding", "br"}, status: 204},
		{name: "a field that it doesn't vary by", read: []string{"X-Trace", "1"}, written: []string{"X-Trace", "2"}, status: 204},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &manyFaces{vary: []string{"Accept, Accept-Encoding", "authorization"}}
			url := caddytest.Site(t, "verify never\nwrite_etag off\n"+tt.options, b) + "/doc"
			tag := caddytest.Send(t, "GET", url+tt.readQuery, "", tt.read...).Expect(t, 200).Tag(t)
			b.asked = 0
			caddytest.Send(t, "PUT", url, "x", append(tt.written, "If-Match", tag)...).Expect(t, tt.status)
			if b.asked != tt.asked {
				t.Errorf("the origin was asked %d times, want %d", b.asked, tt.asked)
			}
			// The write changed every representation.
			caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, 204)
			caddytest.Send(t, "PUT", url, "x", append(tt.written, "If-Match", tag)...).Expect(t, 412)
		})
	}
}

// The backend compresses every response itself and adds the usual suffix to its tags.
// Conditions still work, also with Caddy's encode in front.
func TestOwnCoding(t *testing.T) {
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(z, "the content")
	_ = z.Close()
	backend := caddytest.Page(compressed.String(), "Content-Encoding", "gzip", "ETag", `"v1-gzip"`, "Content-Type", "text/plain", "Vary", "Accept-Encoding")
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\nencode gzip zstd\npreconditions\nreverse_proxy %s\n}\n", address, caddytest.Serve(t, backend)))
	url := "http://" + address + "/page"
	accept := []string{"Accept-Encoding", "gzip"}

	a := caddytest.Send(t, "GET", url, "", accept...).Expect(t, 200)
	if tag := a.Tag(t); tag != `"v1-gzip"` || a.Header.Get("Content-Encoding") != "gzip" || a.Content != compressed.String() {
		t.Errorf("%v", a.Header)
	}
	for _, field := range []string{`"v1-gzip"`, `W/"v1-gzip"`, `"x", "v1-gzip"`} {
		if got := caddytest.Send(t, "GET", url, "", append(accept, "If-None-Match", field)...).Expect(t, 304).Tag(t); got != `"v1-gzip"` {
			t.Errorf("If-None-Match: %s: the tag is %s", field, got)
		}
	}
	caddytest.Send(t, "GET", url, "", append(accept, "If-None-Match", `"v2-gzip"`)...).Expect(t, 200)
	caddytest.Send(t, "PUT", url, "x", append(accept, "If-Match", `"v2-gzip"`)...).Expect(t, 412)
	caddytest.Send(t, "PUT", url, "x", append(accept, "If-Match", `"v1-gzip"`)...).Expect(t, 204)
	if got := backend.Last(t, "PUT").Header["If-Match"]; len(got) != 1 || got[0] != `"v1-gzip"` {
		t.Errorf("the backend got If-Match: %q", got)
	}
}

// Two URLs that a rewrite maps to one resource share its tags: a tag read under either
// URL is valid for a write under the other.
func TestTwoNamesOfOneResource(t *testing.T) {
	for _, options := range []string{"", "verify never", "etag version"} {
		t.Run(options, func(t *testing.T) {
			url := caddytest.OneNodeAt(t, "rewrite /plan /docs/7\n"+caddytest.Guarded(options, caddytest.Serve(t, legacydocs.New(legacydocs.Options{})))).First()
			caddytest.Send(t, "PUT", url+"/plan", "draft").ExpectSuccess(t)
			tag := caddytest.Send(t, "GET", url+"/plan", "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url+"/docs/7", "Ann's", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", url+"/plan", "Bob's", "If-Match", tag).Expect(t, 412)
			tag = caddytest.Send(t, "GET", url+"/docs/7", "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url+"/plan", "Bob's", "If-Match", tag).Expect(t, 204)
		})
	}
}

// Two resources can share a key, and even the path that reaches the handler. State
// stored for one must never count for the other.
func TestOneKeyForTwoBackends(t *testing.T) {
	for _, options := range []string{"", "verify never", "verify never\netag version"} {
		t.Run(options, func(t *testing.T) {
			one, other := caddytest.Serve(t, legacydocs.New(legacydocs.Options{})), caddytest.Serve(t, legacydocs.New(legacydocs.Options{}))
			address := caddytest.Address(t)
			caddytest.Start(t, fmt.Sprintf("http://%s {\nhandle_path /one/* {\n%s\n}\nhandle_path /other/* {\n%s\n}\n}\n",
				address, caddytest.Guarded(options, one), caddytest.Guarded(options, other)))
			doc, elsewhere := "http://"+address+"/one/docs/plan", "http://"+address+"/other/docs/plan"
			caddytest.Send(t, "PUT", doc, "draft").ExpectSuccess(t)
			caddytest.Send(t, "PUT", elsewhere, "draft").ExpectSuccess(t)
			tag := caddytest.Send(t, "GET", doc, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", doc, "Ann's", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "GET", elsewhere, "").Expect(t, 200)
			caddytest.Send(t, "PUT", doc, "Bob's", "If-Match", tag).Expect(t, 412)

			// And a current tag isn't refused.
			tag = caddytest.Send(t, "GET", doc, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "GET", elsewhere, "").Expect(t, 200)
			caddytest.Send(t, "PUT", doc, "Cid's", "If-Match", tag).Expect(t, 204)
		})
	}
}
