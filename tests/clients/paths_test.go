package clients

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// literal is a backend that takes each spelling of a path for a resource of its own.
func literal() *caddytest.Witness {
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" || r.Method == "HEAD" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"at": %q, "items": [{"id": 1, "at": "/docs/1"}]}`, r.URL.EscapedPath())
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}}
}

// unclearPaths are paths that servers take for different resources.
var unclearPaths = []string{
	"/docs//../plan", "/docs/a/;/../plan", "/docs%2Fq/%2e%2e/docs/plan", "//any/docs/plan", "/docs/x/%252e%252e/plan",
	"/docs/plan;a%2Fb", "/docs/a%00/../plan", "/docs/%C0%AE%C0%AE/plan",
}

// A write is refused if servers disagree about where its path leads. Two clients could
// write one resource under two keys otherwise.
func TestUnclearPaths(t *testing.T) {
	t.Parallel()
	backend := literal()
	url := caddytest.Site(t, "", backend)
	for _, path := range unclearPaths {
		for _, fields := range [][]string{nil, {"If-Match", "*"}, {"If-None-Match", "*"}, {"X-HTTP-Method-Override", "PUT"}} {
			for _, method := range []string{"PUT", "PATCH", "DELETE", "POST", "COPY"} {
				a := caddytest.Send(t, method, url+path, "x", fields...).Expect(t, 400)
				if detail, _ := problemOf(t, a)["detail"].(string); !strings.Contains(detail, "path") || !strings.Contains(detail, ". Send ") {
					t.Errorf("%s: %s", path, a.Content)
				}
			}
		}
	}
	if n := len(backend.All()); n > 0 {
		t.Errorf("the backend heard %d requests", n)
	}
	caddytest.Send(t, "PROPFIND", url+unclearPaths[0], "").Expect(t, 204)
	for _, path := range []string{
		"/docs/plan", "/docs//plan", "/docs/plan//", "/docs/./plan", "/docs/x/../plan", "/docs/%2e/plan", "/docs/plan;jsessionid=1", "/docs;a=b/plan",
		"/docs/a%2Fb", "/docs/a%252Fb", "/docs/100%25", "/docs/a%20b", "/docs/a%3Fb", "/docs/plan%00", "/docs/.well-known/a..b", "/docs/%E4",
	} {
		caddytest.Send(t, "PUT", url+path, "x", "If-Match", "*").Expect(t, 204)
	}
}

// A read of an unclear path is labelled and evaluated, but nothing is stored of it: the
// store might take it for a different resource.
func TestUnclearReads(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "etag version", "items /items /docs/{id}\netag json /at"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			t.Parallel()
			for _, path := range unclearPaths {
				backend := literal()
				url := caddytest.Site(t, options+"\nverify never", backend)
				if a := caddytest.Send(t, "GET", url+"/docs", ""); strings.Contains(options, "items") && !strings.Contains(a.Content, "etag") {
					t.Errorf("the items of a clear path have no tags: %s", a.Content)
				}
				first := caddytest.Send(t, "GET", url+path, "").Expect(t, 200)
				if first.Content != caddytest.Send(t, "GET", url+path, "").Content || strings.Contains(first.Content, "etag") {
					t.Errorf("%s: %s", path, first.Content)
				}
				if options == "etag version" {
					if got := first.Header.Get("ETag"); got != "" {
						t.Errorf("%s: the tag is %s", path, got)
					}
					continue
				}
				tag := first.Tag(t)
				caddytest.Send(t, "GET", url+path, "", "If-None-Match", tag).Expect(t, 304)
				caddytest.Send(t, "GET", url+path, "", "If-Match", `"x"`).Expect(t, 412)
				caddytest.Send(t, "HEAD", url+path, "", "If-None-Match", `"x"`).Expect(t, 200)
				for _, clear := range []string{"/plan", "/docs/plan", "/docs/a/plan", "/any/docs/plan", "/docs/docs/plan", "/docs/plan/b"} {
					// With verify never, a write of what is stored wouldn't be confirmed.
					caddytest.Send(t, "PUT", url+clear, "x", "If-Match", tag).Expect(t, 412)
				}
				backend.Unwritten(t)
			}
		})
	}
}

// With unclear_paths forward, paths are what the keys make of them. In mode report,
// everything is forwarded, and what would be refused is reported.
func TestOptionUnclearPaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ options, outcome string }{
		{"unclear_paths forward", "passed"},
		{"mode report", "unverifiable"},
		{"mode report\nunclear_paths forward", "passed"},
	} {
		t.Run(caddytest.Title(tt.options), func(t *testing.T) {
			t.Parallel()
			backend := literal()
			url := caddytest.AnyHost(t, caddytest.Guarded(tt.options, caddytest.Serve(t, backend)))
			for _, path := range unclearPaths {
				tag := caddytest.Send(t, "GET", url+path, "").Tag(t)
				caddytest.Send(t, "PUT", url+path, "x", "If-Match", tag).Expect(t, 204).ExpectOutcome(t, tt.outcome)
			}
		})
	}
}

// If the key is made from the path that the client sent, that path counts, too. A rewrite
// before the handler can make an unclear path clear.
func TestUnclearRewritten(t *testing.T) {
	t.Parallel()
	for options, status := range map[string]int{
		"": 204,
		"key {http.request.host}{http.request.orig_uri.path}": 400,
	} {
		url := caddytest.AnyHost(t, "route {\nrewrite * /index.php\n"+caddytest.Guarded(options, caddytest.Serve(t, literal()))+"\n}")
		caddytest.Send(t, "PUT", url+"/docs//../plan", "x", "If-Match", "*").Expect(t, status)
	}
}

// Some backends take the path from a field of the request. They don't get that field.
func TestPathOverride(t *testing.T) {
	t.Parallel()
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		for _, name := range pathOverrides {
			if value := r.Header.Get(name); value != "" {
				path = value
			}
		}
		_, _ = io.WriteString(w, path)
	}}
	url := caddytest.Site(t, "", backend) + "/docs/a"
	for _, name := range pathOverrides {
		a := caddytest.Send(t, "GET", url, "", name, "/docs/b").Expect(t, 200)
		if a.Content != "/docs/a" {
			t.Errorf("%s: the backend read %s", name, a.Content)
		}
		caddytest.Send(t, "PUT", url, "x", name, "/docs/b", "If-Match", a.Tag(t)).Expect(t, 200)
		caddytest.Send(t, "POST", url, "x", name, "/docs/b").Expect(t, 200)
		caddytest.Send(t, "PROPFIND", url, "x", name, "/docs/b").Expect(t, 200)
	}
	for _, heard := range backend.All() {
		for name := range heard.Header {
			if strings.Contains(strings.ToLower(name), "url") {
				t.Errorf("%s with %s", heard.Method, name)
			}
		}
	}
}

var pathOverrides = []string{"X-Original-URL", "X-Rewrite-URL", "x_original_url", "X-Rewrite_Url"}

// A signed request is forwarded with all its fields. So a write that names a path in one is
// refused, and nothing is stored of a read.
func TestSignedPathOverride(t *testing.T) {
	t.Parallel()
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Rewrite-Url"))
	}}
	url := caddytest.Site(t, "signed rfc9421\nverify never", backend) + "/docs/a"
	signature := signatures["rfc9421"]
	fields := append([]string{"X-Rewrite-URL", "/docs/b"}, signature...)
	tag := caddytest.Send(t, "GET", url, "", fields...).Expect(t, 200).Tag(t)
	if got := backend.Last(t, "GET").Header.Get("X-Rewrite-Url"); got != "/docs/b" {
		t.Errorf("the backend got %q", got)
	}
	caddytest.Send(t, "PUT", url, "x", append(fields, "If-Match", tag)...).Expect(t, 400)
	caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, 400)
	caddytest.Send(t, "PUT", url, "x", append(signature, "If-Match", tag)...).Expect(t, 412) // nothing is stored
	backend.Unwritten(t)
}

// Mode report leaves such a field, and learns nothing from what comes back.
func TestReportedPathOverride(t *testing.T) {
	t.Parallel()
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Original-Url"))
	}}
	url := caddytest.AnyHost(t, caddytest.Guarded("mode report\nverify never", caddytest.Serve(t, backend))) + "/docs/a"
	a := caddytest.Send(t, "GET", url, "", "X-Original-URL", "/docs/b").Expect(t, 200)
	if a.Content != "/docs/b" {
		t.Errorf("the backend read %q", a.Content)
	}
	caddytest.Send(t, "PUT", url, "x", "If-Match", a.Tag(t)).Expect(t, 200).ExpectOutcome(t, "failed")
}
