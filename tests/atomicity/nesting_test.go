package atomicity

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// signed marks a backend's responses with the request's method. This tells the
// responses to the handler's own GETs apart.
func signed(backend http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "by="+r.Method)
		w.Header().Set("X-By", r.Method)
		backend.ServeHTTP(w, r)
	})
}

// expectUnmixed fails the test if the response contains anything from a different
// one.
func expectUnmixed(t testing.TB, a caddytest.Answer, fromBackend bool) caddytest.Answer {
	t.Helper()
	var cookies, by []string
	via := 0
	if fromBackend {
		cookies, by, via = []string{"by=" + a.Request.Method}, []string{a.Request.Method}, 1
	}
	if got := a.Header.Values("Set-Cookie"); !slices.Equal(got, cookies) {
		t.Errorf("%s: Set-Cookie: %v, want %v", a.Request.Method, got, cookies)
	}
	if got := a.Header.Values("X-By"); !slices.Equal(got, by) {
		t.Errorf("%s: X-By: %v, want %v", a.Request.Method, got, by)
	}
	if got := a.Header.Values("Via"); len(got) != via {
		t.Errorf("%s: Via: %v, want %d", a.Request.Method, got, via)
	}
	if got := a.Header.Values("ETag"); len(got) > 1 {
		t.Errorf("%s: ETag: %v", a.Request.Method, got)
	}
	return a
}

// Ann's password is "secret".
const (
	basicAuth   = "basic_auth {\nann HASH\n}\n"
	annsHash    = "$2a$04$L0ON/kUXQDWcvy.gVmd/HOP90rbhKk/lwqxBNuzmMYNtRBL6TVZ7K"
	annsRequest = "Basic YW5uOnNlY3JldA=="
)

// The handler works among Caddy's other directives: the right upstream gets the
// write, and the probe leaves no trace.
func TestNesting(t *testing.T) {
	tests := []struct {
		name       string
		directives string // DOCS and OTHER are proxies, P is the handler
		path       string // of the document, as the client sees it
		fields     []string
	}{
		{"alone", "P\nDOCS", "/docs/a", nil},
		{"around sibling handle blocks, before a final respond", `
			P
			handle /other/* {
				OTHER
			}
			handle /docs/* {
				DOCS
			}
			handle /docs/a/* {
				OTHER
			}
			handle {
				respond "nobody" 200
			}
			respond "nothing" 200`, "/docs/a", nil},
		{"in one of several handle blocks", `
			handle /other/* {
				OTHER
			}
			handle /docs/* {
				P
				DOCS
			}
			handle {
				OTHER
			}`, "/docs/a", nil},
		{"around nested handle blocks", `
			P
			handle /docs/* {
				handle /docs/b {
					OTHER
				}
				handle /docs/a {
					DOCS
				}
			}
			handle {
				OTHER
			}`, "/docs/a", nil},
		{"around handle_path", `
			P
			handle_path /other/* {
				OTHER
			}
			handle_path /api/* {
				DOCS
			}`, "/api/docs/a", nil},
		{"in handle_path", `
			handle_path /other/* {
				OTHER
			}
			handle_path /api/* {
				P
				DOCS
			}`, "/api/docs/a", nil},
		{"around route", `
			P
			route /docs/* {
				DOCS
			}
			route {
				OTHER
			}`, "/docs/a", nil},
		{"in route, in literal order", `
			route {
				request_header X-Tenant acme
				P
				uri strip_prefix /api
				handle /docs/* {
					DOCS
				}
				handle {
					OTHER
				}
			}`, "/api/docs/a", nil},
		{"with rewrite", "rewrite /alias /docs/a\nP\nDOCS", "/alias", nil},
		{"with uri", "uri strip_prefix /api\nP\nDOCS", "/api/docs/a", nil},
		{"with rewrite inside", `
			P
			handle /alias {
				rewrite * /docs/a
				DOCS
			}
			handle {
				OTHER
			}`, "/alias", nil},
		{"with encode", "encode\nP\nDOCS", "/docs/a", []string{"Accept-Encoding", "gzip, zstd"}},
		{"with basic_auth", basicAuth + "P\nDOCS", "/docs/a", []string{"Authorization", annsRequest}},
		{"with templates", "templates\nP\nDOCS", "/docs/a", nil},
		{"with request_header and vars", "request_header X-Tenant acme\nvars tenant acme\nP\nDOCS", "/docs/a", nil},
		{"with intercept", "intercept {\n@gone status 410\nreplace_status @gone 404\n}\nP\nDOCS", "/docs/a", nil},
		{"with request_body", "request_body {\nmax_size 1MB\n}\nP\nDOCS", "/docs/a", nil},
		{"with a matcher", "@docs path /docs/*\nP @docs\nDOCS", "/docs/a", nil},
	}
	for _, tt := range tests {
		for _, anyHost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, any host: %t", tt.name, anyHost), func(t *testing.T) {
				docs, seen := caddytest.Watched(legacydocs.Options{})
				others := caddytest.Page("other")
				proxy := fmt.Sprintf(`reverse_proxy %s {
					header_up X-Method {http.request.method}
					header_up X-Original {http.request.orig_uri.path}
					header_up X-Vars {http.vars.tenant}
				}`, caddytest.Serve(t, signed(docs)))
				directives := strings.NewReplacer(
					"DOCS", proxy, "OTHER", "reverse_proxy "+caddytest.Serve(t, others), "P", "preconditions", "HASH", annsHash,
				).Replace(tt.directives)
				site := func(t testing.TB, directives string) string { return caddytest.OneNodeAt(t, directives).First() }
				if anyHost {
					site = caddytest.AnyHost
				}
				url := site(t, "header >X-Outcome {http.preconditions.outcome}\n"+directives) + tt.path
				do := func(method, content string, fields ...string) caddytest.Answer {
					t.Helper()
					return caddytest.Send(t, method, url, content, append(fields, tt.fields...)...)
				}

				expectUnmixed(t, do("PUT", "first", "If-None-Match", "*").Expect(t, 201).ExpectOutcome(t, "passed"), true)
				expectUnmixed(t, do("PUT", "second", "If-None-Match", "*").Expect(t, 412).ExpectOutcome(t, "failed"), false)
				a := expectUnmixed(t, do("GET", "").Expect(t, 200), true)
				if a.Content != "first" {
					t.Fatalf("got %q", a.Content)
				}
				tag := a.Tag(t)
				expectUnmixed(t, do("PUT", "second", "If-Match", tag).Expect(t, 204).ExpectOutcome(t, "passed"), true)
				expectUnmixed(t, do("PUT", "third", "If-Match", tag).Expect(t, 412).ExpectOutcome(t, "failed"), false)
				expectUnmixed(t, do("DELETE", "", "If-Match", do("GET", "").Tag(t)).Expect(t, 204).ExpectOutcome(t, "passed"), true)

				var writes []string
				for _, w := range docs.Writes() {
					writes = append(writes, w.Method+" "+w.Path)
				}
				if want := []string{"PUT /docs/a", "PUT /docs/a", "DELETE /docs/a"}; !slices.Equal(writes, want) {
					t.Errorf("the backend applied %v, want %v", writes, want)
				}
				if heard := others.All(); len(heard) > 0 {
					t.Errorf("the other upstream got %s %s", heard[0].Method, heard[0].URL)
				}
				if len(seen.All("GET")) < 5 {
					t.Errorf("there were %d GETs, too few for a probe", len(seen.All("GET")))
				}
				for _, h := range seen.All() {
					if h.Header.Get("X-Method") != h.Method || h.Header.Get("X-Original") != tt.path {
						t.Errorf("in a %s, placeholders say %s %s", h.Method, h.Header.Get("X-Method"), h.Header.Get("X-Original"))
					}
					if strings.Contains(tt.directives, "X-Tenant") && h.Header.Get("X-Tenant") != "acme" {
						t.Errorf("a %s lacks a field that a directive added", h.Method)
					}
					if strings.Contains(tt.directives, "vars tenant") && h.Header.Get("X-Vars") != "acme" {
						t.Errorf("a %s lacks a variable: %s", h.Method, h.Header.Get("X-Vars"))
					}
				}
			})
		}
	}
}

// Clients of a site with encode see the tag with the coding's suffix. It is valid
// for reads and for writes.
func TestNestedInEncode(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{})
			address := caddytest.Address(t)
			caddytest.Start(t, fmt.Sprintf("http://%s {\nencode %s\npreconditions\nreverse_proxy %s\n}\n", address, coding, caddytest.Serve(t, docs)))
			url := "http://" + address + "/docs/a"
			ask := []string{"Accept-Encoding", coding}
			long := strings.Repeat("text ", 1000)
			caddytest.Send(t, "PUT", url, long, "If-None-Match", "*", "Content-Type", "text/plain").Expect(t, 201)

			a := caddytest.Send(t, "GET", url, "", ask...).Expect(t, 200)
			tag := a.Tag(t)
			if !strings.HasSuffix(tag, "-"+coding+`"`) || a.Header.Get("Content-Encoding") != coding {
				t.Fatalf("encode did not encode: %s", tag)
			}
			plain := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)

			for _, listed := range []string{tag, plain, `"x", ` + tag, "W/" + tag} {
				a := caddytest.Send(t, "GET", url, "", append(ask, "If-None-Match", listed)...).Expect(t, 304)
				if a.Content != "" {
					t.Errorf("a 304 has content %q", a.Content)
				}
			}
			caddytest.Send(t, "PUT", url, long+"!", "If-None-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", url, long+"!", "If-Match", "W/"+tag).Expect(t, 412)
			caddytest.Send(t, "PUT", url, long+"!", append(ask, "If-Match", tag, "Content-Type", "text/plain")...).Expect(t, 204)
			caddytest.Send(t, "PUT", url, long+"?", "If-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", url, long+"?", "If-Match", plain).Expect(t, 412)
		})
	}
}

// TestCurlCompressed: a backend that could compress is asked not to, and encode in front of the
// handler compresses in its place. What curl then sends back is good for reads and writes.
func TestCurlCompressed(t *testing.T) {
	caddytest.Needs(t, "curl")
	var mu sync.Mutex
	content := strings.Repeat("text ", 1000)
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != "GET" {
			sent, _ := io.ReadAll(r.Body)
			content = string(sent)
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(w)
			defer zip.Close()
			_, _ = io.WriteString(zip, content)
			return
		}
		_, _ = io.WriteString(w, content)
	})
	for _, site := range []struct {
		directives string
		coding     string
	}{
		{"encode\npreconditions {\nrequire\nlag 0s\nwrite_etag answer\n}", "gzip"},
		{"encode gzip\npreconditions {\nrequire\nlag 0s\n}", "gzip"},
		{"preconditions {\nrequire\nlag 0s\n}", ""}, // nobody compresses then
	} {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf("http://%s {\n%s\nreverse_proxy %s\n}\n", address, site.directives, caddytest.Serve(t, backend)))
		curl := func(format string, args ...string) string {
			t.Helper()
			args = append([]string{"-sS", "--compressed", "-H", "Accept-Encoding: gzip", "-o", "/dev/null", "-w", format, "http://" + address + "/page"}, args...)
			out, err := exec.CommandContext(t.Context(), "curl", args...).Output()
			if err != nil {
				t.Fatalf("curl %q: %v", args, err)
			}
			return string(out)
		}
		write := func(text, tag string) string {
			return curl("%{http_code} %header{etag}", "-X", "PUT", "-H", "Content-Type: text/plain", "-H", "If-Match: "+tag, "-d", strings.Repeat(text, 1000))
		}
		coding, tag, _ := strings.Cut(curl("%header{content-encoding} %header{etag}"), " ")
		if coding != site.coding || strings.HasSuffix(tag, `-gzip"`) != (site.coding != "") {
			t.Fatalf("%s: a GET got %q with the tag %s", site.directives, coding, tag)
		}
		if got := curl("%{http_code}", "-H", "If-None-Match: "+tag); got != "304" {
			t.Errorf("%s: a second GET got %s", site.directives, got)
		}
		status, next, _ := strings.Cut(write("one ", tag), " ")
		if status != "200" || next == "" {
			t.Errorf("%s: a PUT with %s got %s and the tag %q", site.directives, tag, status, next)
		}
		if got := write("lost ", tag); !strings.HasPrefix(got, "412") {
			t.Errorf("%s: a second PUT with the same tag got %s", site.directives, got)
		}
		if got := write("two ", next); !strings.HasPrefix(got, "200") {
			t.Errorf("%s: a PUT with the tag in the answer, %s, got %s", site.directives, next, got)
		}
	}
}

// Authentication runs first, and the probe has the user's credentials.
func TestNestedInAuthentication(t *testing.T) {
	for name, directives := range map[string]string{
		"site":   basicAuth + "preconditions {\nverify all\n}\nPROXY",
		"handle": "handle /docs/* {\n" + basicAuth + "preconditions {\nverify all\n}\nPROXY\n}",
		"route":  "route {\n" + basicAuth + "preconditions {\nverify all\n}\nPROXY\n}",
	} {
		t.Run(name, func(t *testing.T) {
			docs, seen := caddytest.Watched(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			before := len(seen.All())
			proxy := "reverse_proxy " + caddytest.Serve(t, docs) + " {\nheader_up X-User {http.auth.user.id}\n}"
			url := caddytest.OneNodeAt(t, strings.NewReplacer("PROXY", proxy, "HASH", annsHash).Replace(directives)).First() + "/docs/a"

			for _, fields := range [][]string{
				{"If-Match", `"stale"`},
				{"If-Match", `"stale"`, "Authorization", "Basic YW5uOndyb25n"},
				{"If-None-Match", "*"},
			} {
				if a := caddytest.Send(t, "PUT", url, "b", fields...).Expect(t, 401); a.Header.Get("ETag") != "" {
					t.Errorf("an unauthenticated client gets the ETag %s", a.Header.Get("ETag"))
				}
			}
			caddytest.Send(t, "GET", url, "").Expect(t, 401)
			if got := len(seen.All()) - before; got != 0 {
				t.Fatalf("the backend got %d unauthenticated requests", got)
			}

			ann := []string{"Authorization", annsRequest}
			tag := caddytest.Send(t, "GET", url, "", ann...).Expect(t, 200).Tag(t)
			asked := seen.Asks(func() {
				caddytest.Send(t, "PUT", url, "b", append(ann, "If-Match", tag)...).Expect(t, 204)
				caddytest.Send(t, "PUT", url, "c", append(ann, "If-Match", tag)...).Expect(t, 412)
			})
			if asked != 3 { // before and after the write that passes, and for the one that is refused
				t.Errorf("the origin was asked %d times, want 3", asked)
			}
			for _, h := range seen.All()[before:] {
				if h.Header.Get("X-User") != "ann" || h.Header.Get("Authorization") != annsRequest {
					t.Errorf("a %s has the user %q and Authorization %q", h.Method, h.Header.Get("X-User"), h.Header.Get("Authorization"))
				}
			}
		})
	}
}

// Templates make a different representation of the files they execute, and remove
// its tag. Other files keep their tags.
func TestNestedInTemplates(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	url := caddytest.OneNodeAt(t, "templates\n"+caddytest.Guarded("", caddytest.Serve(t, docs))).First()
	caddytest.Send(t, "PUT", url+"/docs/page", "{{1 | add 1}}", "If-None-Match", "*", "Content-Type", "text/html").Expect(t, 201)
	caddytest.Send(t, "PUT", url+"/docs/data", "{{1 | add 1}}", "If-None-Match", "*", "Content-Type", "application/json").Expect(t, 201)

	if a := caddytest.Send(t, "GET", url+"/docs/page", "").Expect(t, 200); a.Content != "2" || a.Header.Get("ETag") != "" {
		t.Errorf("got %q with the ETag %s", a.Content, a.Header.Get("ETag"))
	}
	a := caddytest.Send(t, "GET", url+"/docs/data", "").Expect(t, 200)
	if a.Content != "{{1 | add 1}}" {
		t.Errorf("got %q", a.Content)
	}
	caddytest.Send(t, "PUT", url+"/docs/data", "{}", "If-Match", a.Tag(t)).Expect(t, 204)
}

// The probe leaves nothing behind in placeholders or in the access log.
func TestProbeLeavesNoTrace(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	backend := caddytest.Serve(t, signed(docs))
	log := filepath.Join(t.TempDir(), "access.log")
	url := caddytest.OneNodeAt(t, fmt.Sprintf(`
		log {
			output file %s
			format json
		}
		header >X-Upstream "[{http.reverse_proxy.upstream.hostport}{http.reverse_proxy.header.X-By}{http.reverse_proxy.status_code}]"
		header >X-Var "[{http.vars.seen}]"
		preconditions {
			verify all
		}
		route {
			vars seen {http.request.method}
			log_append method {http.request.method}
			reverse_proxy %s
		}`, log, backend)).First() + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)

	a := expectUnmixed(t, caddytest.Send(t, "PUT", url, "b", "If-Match", `"stale"`).Expect(t, 412), false)
	if got := a.Header.Get("X-Upstream"); strings.Contains(got, backend) || strings.Contains(got, "GET") || strings.Contains(got, "200") {
		t.Errorf("placeholders of the proxy after a refusal: %s", got)
	}
	if got := a.Header.Get("X-Var"); strings.Contains(got, "GET") {
		t.Errorf("variable after a refusal: %s", got)
	}
	a = expectUnmixed(t, caddytest.Send(t, "PUT", url, "b", "If-Match", tag).Expect(t, 204), true)
	if got := a.Header.Get("X-Var"); got != "[PUT]" {
		t.Errorf("variable after a write: %s", got)
	}

	// The log is written only after the response was sent.
	lines := waitForLines(t, log, 3)
	type record struct {
		Method        string `json:"method"`
		Status        int    `json:"status"`
		Preconditions string `json:"preconditions"`
		Reason        string `json:"preconditions_reason"`
	}
	want := []record{
		{"GET", 200, "read", ""},
		{"", 412, "failed", "If-Match: no match"},
		{"PUT", 204, "passed", ""},
	}
	for i, line := range lines {
		var got record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if i >= len(want) || got.Method != want[i].Method || got.Status != want[i].Status || got.Preconditions != want[i].Preconditions ||
			(got.Reason == "") != (want[i].Reason == "") {
			t.Errorf("record %d is %+v in %s", i, got, line)
		}
		if n := bytes.Count(line, []byte(`"method":`)); n != 1+min(1, len(got.Method)) {
			t.Errorf("record %d has %d methods: %s", i, n, line)
		}
	}
}

// waitForLines waits until a file has n lines, and returns its lines.
func waitForLines(t testing.TB, file string, n int) [][]byte {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		data, _ := os.ReadFile(file)
		if bytes.Count(data, []byte("\n")) >= n {
			return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s has only:\n%s", file, data)
		}
	}
}

// If the backend is down, handle_errors answers, and only once.
func TestNestedWithDeadBackend(t *testing.T) {
	url := caddytest.OneNodeAt(t, caddytest.Guarded("", caddytest.Address(t))+`
		handle_errors {
			header X-Handled {err.status_code}
			header X-Outcome {http.preconditions.outcome}
			respond "handled {err.status_code}"
		}`).First()
	for _, tt := range []struct {
		method  string
		fields  []string
		status  int
		handled bool
		outcome string
	}{
		{"GET", nil, 502, true, ""},
		{"PUT", nil, 502, true, "unconditional"},
		{"PUT", []string{"If-Match", `"a"`}, 503, false, "unavailable"},
		{"PUT", []string{"If-None-Match", "*"}, 503, false, "unavailable"},
	} {
		a := caddytest.Send(t, tt.method, url, "", tt.fields...).Expect(t, tt.status)
		if got := a.Content == fmt.Sprintf("handled %d", tt.status); got != tt.handled {
			t.Errorf("%s %v: got %q", tt.method, tt.fields, a.Content)
		}
		if got := a.Header.Get("X-Outcome"); tt.outcome != "" && got != tt.outcome {
			t.Errorf("%s %v: outcome %s, want %s", tt.method, tt.fields, got, tt.outcome)
		}
		if n := len(a.Header.Values("X-Handled")); n > 1 || tt.handled != (n == 1) {
			t.Errorf("%s %v: handled %d times", tt.method, tt.fields, n)
		}
	}
	// A write that couldn't be sent doesn't block later ones.
	caddytest.Send(t, "PUT", url, "").Expect(t, 502)
}

// file_server's own tags and dates are used as they are.
func TestNestedAroundFileServer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "a.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	url := caddytest.OneNodeAt(t, "header >X-Outcome {http.preconditions.outcome}\nroot "+dir+"\npreconditions\nfile_server").First()
	a := caddytest.Send(t, "GET", url+"/a.txt", "").Expect(t, 200).ExpectOutcome(t, "read")
	tag, date := a.Tag(t), a.Header.Get("Last-Modified")
	if a.Content != "0123456789" || date == "" {
		t.Fatalf("got %q with Last-Modified %q", a.Content, date)
	}
	for range 2 { // while the tag isn't stored yet, and once it is
		caddytest.Send(t, "GET", url+"/a.txt", "", "If-None-Match", tag).Expect(t, 304)
		caddytest.Send(t, "GET", url+"/a.txt", "", "If-Modified-Since", date).Expect(t, 304)
		caddytest.Send(t, "GET", url+"/a.txt", "", "If-Match", tag).Expect(t, 200)
		caddytest.Send(t, "GET", url+"/a.txt", "", "If-Match", `"stale"`).Expect(t, 412)
		if got := caddytest.Send(t, "HEAD", url+"/a.txt", "").Expect(t, 200).Tag(t); got != tag {
			t.Errorf("HEAD shows %s, GET %s", got, tag)
		}
		if a := caddytest.Send(t, "GET", url+"/a.txt", "", "Range", "bytes=2-4").Expect(t, 206); a.Content != "234" || a.Tag(t) != tag {
			t.Errorf("got the part %q with the tag %s", a.Content, a.Tag(t))
		}
		caddytest.Send(t, "GET", url+"/none.txt", "", "If-Match", tag).Expect(t, 404)
	}
	caddytest.Send(t, "PUT", url+"/a.txt", "x", "If-Match", `"stale"`).Expect(t, 412)
	caddytest.Send(t, "PUT", url+"/a.txt", "x", "If-Match", tag).Expect(t, 405)
	caddytest.Send(t, "PUT", url+"/none.txt", "x", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "DELETE", url+"/none.txt", "", "If-Match", tag).Expect(t, 404)
}

// A request that has claimed a resource doesn't wait for its own claim in an inner
// handler, however many handlers are in between.
func TestNestedInEachOther(t *testing.T) {
	for _, keys := range []string{"aa", "ab", "aba", "abcb"} {
		t.Run(keys, func(t *testing.T) {
			directives := "reverse_proxy " + caddytest.Serve(t, legacydocs.New(legacydocs.Options{}))
			for _, key := range slices.Backward([]rune(keys)) {
				directives = fmt.Sprintf("route {\npreconditions {\nkey %c{path}\nwait 1s\n}\n%s\n}", key, directives)
			}
			url := caddytest.OneNodeAt(t, directives).First() + "/docs/a"
			caddytest.Send(t, "PUT", url, "old", "If-None-Match", "*").Expect(t, 201)
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url, "new", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", url, "lost", "If-Match", tag).Expect(t, 412)
		})
	}
}

// A refusal of an inner handler is the end of the write for the outer one: nothing was
// forwarded. The client doesn't see how they tell each other.
func TestNestedRefusalIsTheEnd(t *testing.T) {
	t.Parallel()
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" && r.Header.Get("X-Goes-On") != "" {
			w.WriteHeader(503)
		}
	}))
	handler := func(key string) string {
		return fmt.Sprintf("preconditions {\nkey refusal-%s{path}\nlease 1h\nretention 2h\nwait 1ms\nlag 0s\n}\n", key)
	}
	site := func(handlers string) string {
		return caddytest.OneNodeAt(t, "header >X-Outcome {http.preconditions.outcome}\nroute {\n"+handlers+"reverse_proxy "+backend+"\n}").First() + "/a"
	}
	outer, inner, both := site(handler("outer")), site(handler("inner")), site(handler("outer")+handler("inner"))
	caddytest.Send(t, "PUT", inner, "x", "If-Match", "*", "X-Goes-On", "yes").Expect(t, 503).ExpectOutcome(t, "passed")
	for _, fields := range [][]string{{"If-Match", "*"}, nil} {
		a := caddytest.Send(t, "PUT", both, "x", fields...).Expect(t, 503)
		if !strings.Contains(a.Content, "Another write") || a.Header.Get("Preconditions-Settled") != "" {
			t.Errorf("got %v: %s", a.Header, a.Content)
		}
		caddytest.Send(t, "PUT", outer, "x", "If-Match", "*").Expect(t, 200).ExpectOutcome(t, "passed")
	}
}
