package backends

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"path"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// alias is a resource of a real backend that has two names. A gate in front of the
// backend can hold requests.
type alias struct {
	stand
	gate *caddytest.Gate
	site string // reachable under any host name
}

// aliasBefore puts the handler in front of a backend, for every Host. It skips the
// test if the machine lacks something that this needs.
func aliasBefore(t testing.TB, b caddytest.Backend, options string) alias {
	t.Helper()
	b.OrSkip(t)
	at := caddytest.StartBackends(t, b)[b.Name]
	g := caddytest.NewGate()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", at
	}}
	between := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Pass(r)
		proxy.ServeHTTP(w, r)
	}))
	url := caddytest.AnyHost(t, fmt.Sprintf("header >X-Resource {http.preconditions.resource}\n%s",
		caddytest.Guarded("wait 1ms\n"+options, between+" {\n"+b.Proxy+"}")))
	return alias{stand{Backend: &b, direct: "http://" + at, url: url}, g, url}
}

// contest sends one write to each name, both with the tag that the first name
// shows. The second write must wait for the first and then fail.
func (a alias) contest(t *testing.T, method1, path1, method2, path2 string, fields2 ...string) {
	t.Helper()
	tag := caddytest.Send(t, "GET", a.site+path1, "").Expect(t, 200).Tag(t)
	content, mark := draft()
	fields := []string{"If-Match", tag, "Content-Type", "application/json"}
	first := a.gate.Send(t.Context(), t, method1, a.site+path1, content, fields...)
	other := contentFor(method2)
	refused := caddytest.Send(t, method2, a.site+path2, other, append(fields2, fields...)...)
	a.gate.Open()
	refused.Expect(t, 503).ExpectOutcome(t, "conflict")
	(<-first).ExpectSuccess(t)
	caddytest.Send(t, method2, a.site+path2, other, append(fields2, fields...)...).Expect(t, 412)
	if got := caddytest.Send(t, "GET", a.direct+path1, "").Expect(t, 200); !strings.Contains(got.Content, mark) {
		t.Errorf("%s has %q, want %s", path1, got.Content, mark)
	}
}

// spellings returns spellings that some backends treat as the same path.
func spellings(p string) []string {
	dir, name := path.Split(p)
	return []string{
		dir + "./" + name,
		dir + "/" + name,
		dir + "elsewhere/../" + name,
		dir + "index.html/../" + name,
		dir + "x%5C../" + name,
		dir + "x%5C..%5C" + name,
		"/.." + p,
		dir + "%2e/" + name,
		dir + "x/%2E%2E/" + name,
		dir + "x/%2e./" + name,
		dir + "x/..%2F" + name,
		dir + "%2F" + name,
		"/" + strings.ReplaceAll(p[1:], "/", "%2F"),
		dir + name[:1] + fmt.Sprintf("%%%x", name[1]) + name[2:],
		dir + name[:1] + fmt.Sprintf("%%%X", name[1]) + name[2:],
		strings.ReplaceAll(p, ".", "%2E"),
		strings.ReplaceAll(p, "~", "%7e"),
		p + "/",
		p + "/.",
		p + "?",
		p + "?a=b",
		p + ";a=b",
		p + "%3Ba=b",
		p + ".",
		p + "%20",
		p + "%0A",
		p + "%00",
		p + "%00.html",
		p + "/index.html",
		p + "/index.php",
		"/index.php" + p,
		dir + "%5C" + name,
		"/(S(lit3py55t21z5v55vlm25s55))" + p,
		strings.ToUpper(p),
		strings.ToUpper(dir) + name,
	}
}

// unclearSpellings returns spellings that only some backends treat as the same path, and
// others as a different one.
func unclearSpellings(p string) []string {
	dir, name := path.Split(p)
	return []string{
		"/" + p,
		"//" + p,
		"//any" + p,
		"//any.example:80" + p,
		"/.//any" + p,
		dir + "/../" + name,
		dir + "elsewhere//../" + name,
		dir + "elsewhere/;/../" + name,
		dir + ";a=b/../" + name,
		dir + "elsewhere/..;/" + name,
		dir + "elsewhere/..;/../" + name,
		dir + "%20/../" + name,
		dir + "%5C/../" + name,
		"/q%2Fr/%2e%2e" + p,
		"/q%2Fr/.." + p,
		"/q%5Cr/.." + p,
		"/q;r%2Fs/.." + p,
		dir + "x/%252e%252e/" + name,
		dir + "x/%C0%AE%C0%AE/" + name,
		dir + "%2e/../" + name,
		dir + "%3F/../" + name,
		p + "%00/../x",
		p + "%3F/../x",
		p + ";a%2Fb",
		p + ";a%5Cb",
	}
}

// A write through a spelling that isn't clear is refused. So however a backend reads the
// spelling, no two writers win.
func TestUnclearSpellings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		backend *caddytest.Backend
		reach   int // how many of the refused spellings reach the document, at least
	}{
		{caddytest.BackendNamed(t, "nginx"), 3},
		{caddytest.BackendNamed(t, "Apache httpd"), 3},
		{caddytest.BackendNamed(t, "rclone"), 1},
		{caddytest.BackendNamed(t, "Tomcat"), 5},
		{caddytest.BackendNamed(t, "PHP"), 1},
		{&caddytest.Hono, 3},
		{&caddytest.NodeURL, 5},
	} {
		t.Run(tt.backend.Name, func(t *testing.T) {
			t.Parallel()
			a := aliasBefore(t, *tt.backend, "etag body")
			if a.Alone.Collections {
				a.Path = "/docs/%s~1.json"
				caddytest.Send(t, "MKCOL", a.direct+"/docs/", "").Expect(t, 201)
			}
			d := a.document(t)
			var reached []string
			for _, spelling := range unclearSpellings(d.path) {
				mark := d.bypass(t)
				if got := caddytest.Send(t, "GET", a.site+spelling, ""); got.StatusCode != 200 || !strings.Contains(got.Content, mark) {
					continue
				}
				if a.contestUnclear(t, d.path, spelling) {
					reached = append(reached, spelling)
				}
			}
			t.Logf("%d refused spellings reach the document: %s", len(reached), reached)
			if len(reached) < tt.reach {
				t.Errorf("only %d refused spellings reach the document", len(reached))
			}
		})
	}
}

// contestUnclear does the same as contest for a spelling that may be refused. It reports
// whether it was.
func (a alias) contestUnclear(t *testing.T, path, spelling string) (refused bool) {
	t.Helper()
	tag := caddytest.Send(t, "GET", a.site+path, "").Expect(t, 200).Tag(t)
	content, mark := draft()
	fields := []string{"If-Match", tag, "Content-Type", "application/json"}
	first := a.gate.Send(t.Context(), t, "PUT", a.site+path, content, fields...)
	during := caddytest.Send(t, "PUT", a.site+spelling, contentFor("PUT"), fields...)
	a.gate.Open()
	(<-first).ExpectSuccess(t)
	after := caddytest.Send(t, "PUT", a.site+spelling, contentFor("PUT"), fields...)
	unconditional := caddytest.Send(t, "PUT", a.site+spelling, contentFor("PUT"), "Content-Type", "application/json")
	switch {
	case during.StatusCode == 503 && after.StatusCode == 412: // the spelling is clear in this place
		return false
	case during.StatusCode != 400 || after.StatusCode != 400 || unconditional.StatusCode != 400:
		t.Errorf("%s: %d, %d, and %d without a condition", spelling, during.StatusCode, after.StatusCode, unconditional.StatusCode)
	}
	if got := caddytest.Send(t, "GET", a.direct+path, "").Expect(t, 200); !strings.Contains(got.Content, mark) {
		t.Errorf("%s was overwritten through %s", path, spelling)
	}
	return true
}

// If two spellings of a path or a host reach the same document, a write through
// one waits for a write through the other, and then fails.
func TestAliasesShareAClaim(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		backend *caddytest.Backend
		reach   int // how many spellings reach the document, at least
	}{
		{caddytest.BackendNamed(t, "nginx"), 12},
		{caddytest.BackendNamed(t, "Apache httpd"), 12},
		{caddytest.BackendNamed(t, "rclone"), 10},
		{caddytest.BackendNamed(t, "Tomcat"), 12},
		{caddytest.BackendNamed(t, "PHP"), 9},
		{caddytest.BackendNamed(t, "json-server"), 9},
		{caddytest.BackendNamed(t, "Express"), 9},
		{&caddytest.Hono, 9},
		{&caddytest.NodeURL, 9},
	} {
		t.Run(tt.backend.Name, func(t *testing.T) {
			t.Parallel()
			a := aliasBefore(t, *tt.backend, "etag body")
			if a.Alone.Collections {
				a.Path = "/docs/%s~1.json"
				caddytest.Send(t, "MKCOL", a.direct+"/docs/", "").Expect(t, 201)
			}
			d := a.document(t)
			shared := 0
			for _, spelling := range append(spellings(d.path), d.path) {
				mark := d.bypass(t)
				if got := caddytest.Send(t, "GET", a.site+spelling, ""); got.StatusCode != 200 || !strings.Contains(got.Content, mark) {
					continue
				}
				shared++
				a.contest(t, "PUT", d.path, "PUT", spelling)
				a.passesAtBoth(t, d, spelling)
			}
			if shared < tt.reach {
				t.Errorf("only %d spellings reach the document", shared)
			}
			own := caddytest.Host(t)
			for _, host := range []string{own, own + ".", own + ":80", own + ".:80"} {
				a.contest(t, "PUT", d.path, "PUT", d.path, "Host", host)
			}
			for _, host := range []string{"example.com", "EXAMPLE.com", "example.com.", "example.com:80", "example.com.:80", "example.com:8080", "example.com:"} {
				d.bypass(t)
				resource := caddytest.Send(t, "GET", a.site+d.path, "", "Host", host).Header.Get("X-Resource")
				if want := "example.com" + d.path; resource != want {
					t.Errorf("with the Host %s, the resource is %s, want %s", host, resource, want)
				}
			}
		})
	}
}

// passesAtBoth checks that a tag read through one spelling is valid for a write
// through the other, after the handler has asked the origin, and vice versa.
func (a alias) passesAtBoth(t *testing.T, d document, spelling string) {
	t.Helper()
	tag := caddytest.Send(t, "GET", a.site+d.path, "").Expect(t, 200).Tag(t)
	content, mark := draft()
	written := caddytest.Send(t, "PUT", a.site+spelling, content, "If-Match", tag, "Content-Type", "application/json")
	if written.StatusCode/100 != 2 {
		if refused := caddytest.Send(t, "PUT", a.direct+spelling, content, "Content-Type", "application/json"); refused.StatusCode != written.StatusCode {
			t.Errorf("PUT %s: %s, but the backend itself answers %s", spelling, written.Status, refused.Status)
		}
		return
	}
	d.expectStored(t, mark)
	tag = caddytest.Send(t, "GET", a.site+spelling, "").Expect(t, 200).Tag(t)
	content, mark = draft()
	caddytest.Send(t, "PUT", a.site+d.path, content, "If-Match", tag, "Content-Type", "application/json").ExpectSuccess(t)
	d.expectStored(t, mark)
}

// A directory shows its index, which is written under the index's own name.
func TestAliasesOfADirectory(t *testing.T) {
	apache := *caddytest.BackendNamed(t, "Apache httpd")
	apache.Name += " with indexes"
	apache.Start = caddytest.StartApache("LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so")
	for _, b := range []caddytest.Backend{*caddytest.BackendNamed(t, "nginx"), apache} {
		t.Run(b.Name, func(t *testing.T) {
			a := aliasBefore(t, b, "etag body")
			caddytest.Send(t, "MKCOL", a.direct+"/docs/", "").Expect(t, 201)
			content, mark := draft()
			caddytest.Send(t, "PUT", a.direct+"/docs/index.html", content).ExpectSuccess(t)
			shown := caddytest.Send(t, "GET", a.site+"/docs/", "").Expect(t, 200)
			if !strings.Contains(shown.Content, mark) {
				t.Fatalf("/docs/ shows %q", shown.Content)
			}
			content, mark = draft()
			caddytest.Send(t, "PUT", a.site+"/docs/index.html", content, "If-Match", shown.Tag(t)).ExpectSuccess(t)
			if shown = caddytest.Send(t, "GET", a.site+"/docs/", "").Expect(t, 200); !strings.Contains(shown.Content, mark) {
				t.Fatalf("/docs/ shows %q", shown.Content)
			}
			a.contest(t, "PUT", "/docs/index.html", "DELETE", "/docs/")
		})
	}
}
