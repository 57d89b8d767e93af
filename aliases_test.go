package preconditions_test

import (
	"fmt"
	"net/http/httputil"
	"path"
	"strings"
	"testing"
)

// alias is one resource of a real backend by two names, with somebody in between
// who holds requests.
type alias struct {
	stand
	gate *gate
	site string // by any host name
}

// aliasBefore stands in front of a backend, whatever the Host, and skips the test
// where something is missing for that.
func aliasBefore(t testing.TB, b backend, options string) alias {
	t.Helper()
	b.orSkip(t)
	at := startBackends(t, b)[b.name]
	g := newGate()
	between := serve(t, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			g.pass(r.In)
			r.Out.URL.Scheme, r.Out.URL.Host = "http", at
		},
	})
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	load(t, fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nheader >X-Resource {http.preconditions.resource}\n%s\n}\n",
		port, guarded("wait 1ms\n"+options, between+" {\n"+b.proxy+"}")))
	return alias{stand{backend: &b, direct: "http://" + at, url: "http://" + address}, g, "http://" + address}
}

// contest has one writer at each name, with the tag of what the first name shows:
// the second has to wait for the first, and then has lost.
func (a alias) contest(t *testing.T, method1, path1, method2, path2 string, fields2 ...string) {
	t.Helper()
	tag := send(t, "GET", a.site+path1, "").expect(t, 200).tag(t)
	content, mark := draft()
	fields := []string{"If-Match", tag, "Content-Type", "application/json"}
	first := a.gate.send(t.Context(), t, method1, a.site+path1, content, fields...)
	other := contentFor(method2)
	refused := send(t, method2, a.site+path2, other, append(fields2, fields...)...)
	a.gate.open()
	refused.expect(t, 503).expectOutcome(t, "conflict")
	(<-first).expectSuccess(t)
	send(t, method2, a.site+path2, other, append(fields2, fields...)...).expect(t, 412)
	if got := send(t, "GET", a.direct+path1, "").expect(t, 200); !strings.Contains(got.Content, mark) {
		t.Errorf("%s has %q, want %s", path1, got.Content, mark)
	}
}

// spellings are of one path, for some backends.
func spellings(p string) []string {
	dir, name := path.Split(p)
	return []string{
		"/" + p,
		"//" + p,
		dir + "./" + name,
		dir + "elsewhere/../" + name,
		dir + "elsewhere//../" + name,
		dir + "index.html/../" + name,
		dir + ";a=b/../" + name,
		dir + "%20/../" + name,
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

// TestAliasesShareAClaim: where two spellings of a path or of a host reach one
// document, a writer at the one waits for a writer at the other, and has lost then.
func TestAliasesShareAClaim(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reach int // how many spellings do, at least
	}{
		{"nginx", 12},
		{"Apache httpd", 12},
		{"rclone", 10},
		{"PHP", 9},
		{"json-server", 9},
		{"Express", 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := aliasBefore(t, *backendNamed(t, tt.name), "etag body")
			if a.alone.collections {
				a.path = "/docs/%s~1.json"
				send(t, "MKCOL", a.direct+"/docs/", "").expect(t, 201)
			}
			d := a.document(t)
			shared := 0
			for _, spelling := range append(spellings(d.path), d.path) {
				mark := d.bypass(t)
				if got := send(t, "GET", a.site+spelling, ""); got.StatusCode != 200 || !strings.Contains(got.Content, mark) {
					continue
				}
				shared++
				a.contest(t, "PUT", d.path, "PUT", spelling)
				a.passesAtBoth(t, d, spelling)
			}
			if shared < tt.reach {
				t.Errorf("only %d spellings reach the document", shared)
			}
			for _, host := range []string{"127.0.0.1", "127.0.0.1.", "127.0.0.1:80", "127.0.0.1.:80"} {
				a.contest(t, "PUT", d.path, "PUT", d.path, "Host", host)
			}
			for _, host := range []string{"example.com", "EXAMPLE.com", "example.com.", "example.com:80", "example.com.:80", "example.com:8080", "example.com:"} {
				d.bypass(t)
				resource := send(t, "GET", a.site+d.path, "", "Host", host).Header.Get("X-Resource")
				if want := "example.com" + d.path; resource != want {
					t.Errorf("with the Host %s, it is %s, want %s", host, resource, want)
				}
			}
		})
	}
}

// passesAtBoth: a tag that one spelling showed is good for a write at the other,
// for which the origin is asked, and the other way round.
func (a alias) passesAtBoth(t *testing.T, d document, spelling string) {
	t.Helper()
	tag := send(t, "GET", a.site+d.path, "").expect(t, 200).tag(t)
	content, mark := draft()
	written := send(t, "PUT", a.site+spelling, content, "If-Match", tag, "Content-Type", "application/json")
	if written.StatusCode/100 != 2 {
		if refused := send(t, "PUT", a.direct+spelling, content, "Content-Type", "application/json"); refused.StatusCode != written.StatusCode {
			t.Errorf("PUT %s: %s, and at the backend itself %s", spelling, written.Status, refused.Status)
		}
		return
	}
	d.expectStored(t, mark)
	tag = send(t, "GET", a.site+spelling, "").expect(t, 200).tag(t)
	content, mark = draft()
	send(t, "PUT", a.site+d.path, content, "If-Match", tag, "Content-Type", "application/json").expectSuccess(t)
	d.expectStored(t, mark)
}

// TestAliasesOfADirectory: a directory shows its index, and is written by the
// name of the index.
func TestAliasesOfADirectory(t *testing.T) {
	apache := *backendNamed(t, "Apache httpd")
	apache.name += " with indexes"
	apache.start = startApache("LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so")
	for _, b := range []backend{*backendNamed(t, "nginx"), apache} {
		t.Run(b.name, func(t *testing.T) {
			a := aliasBefore(t, b, "etag body")
			send(t, "MKCOL", a.direct+"/docs/", "").expect(t, 201)
			content, mark := draft()
			send(t, "PUT", a.direct+"/docs/index.html", content).expectSuccess(t)
			shown := send(t, "GET", a.site+"/docs/", "").expect(t, 200)
			if !strings.Contains(shown.Content, mark) {
				t.Fatalf("/docs/ shows %q", shown.Content)
			}
			content, mark = draft()
			send(t, "PUT", a.site+"/docs/index.html", content, "If-Match", shown.tag(t)).expectSuccess(t)
			if shown = send(t, "GET", a.site+"/docs/", "").expect(t, 200); !strings.Contains(shown.Content, mark) {
				t.Fatalf("/docs/ shows %q", shown.Content)
			}
			a.contest(t, "PUT", "/docs/index.html", "DELETE", "/docs/")
		})
	}
}

// TestTargetWithoutAPath: a target such as x:http://host/path has no path by which to
// know the resource, but sent on it leads to one. It is no http URL.
func TestTargetWithoutAPath(t *testing.T) {
	for _, tt := range []struct {
		options, target string
		status          int
	}{
		{"", "x:http://h/docs/plan", 400},
		{"", "http:h/docs/plan", 400},
		{"", "http://h/docs/plan", 204},
		{"mode report", "x:http://h/docs/plan", 204},
	} {
		c := dialWire(t, site(t, tt.options, page("content")))
		host := c.RemoteAddr().String()
		c.send("PUT "+strings.Replace(tt.target, "//h/", "//"+host+"/", 1)+" HTTP/1.1", "Host: "+host, "Content-Length: 0", "If-Match: *", "")
		if got := c.answer("PUT"); got.StatusCode != tt.status {
			t.Errorf("%s: %s: got %s, want %d", tt.options, tt.target, got.Status, tt.status)
		}
	}
}
