package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// purgeable is a site with its admin API. The test can change the site's documents
// without going through the handler.
type purgeable struct {
	url, admin string
	docs       *caddytest.Witness
}

func loadPurgeable(t testing.TB, options string) *purgeable {
	t.Helper()
	docs := anywhere()
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(options, caddytest.Serve(t, docs))))
	return &purgeable{"http://" + address, admin, docs}
}

// anywhere is a backend that stores any content at any path.
func anywhere() *caddytest.Witness {
	var contents sync.Map
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			contents.Store(r.URL.Path, rand.Text())
			w.WriteHeader(http.StatusNoContent)
		default:
			content, ok := contents.Load(r.URL.Path)
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			_, _ = io.WriteString(w, content.(string))
		}
	}}
}

// known creates a document, reads it through the handler and returns its tag.
func (p *purgeable) known(t testing.TB, path string) (tag string) {
	t.Helper()
	caddytest.Bypass(t, p.docs, "PUT", path, "one")
	return caddytest.Send(t, "GET", p.url+path, "").Expect(t, 200).Tag(t)
}

// believed reports whether a write with this tag passes without a probe. It returns
// false if the handler asked the origin and refused the write.
func (p *purgeable) believed(t testing.TB, path, tag string) bool {
	t.Helper()
	var a caddytest.Answer
	asked := p.docs.Asks(func() { a = caddytest.Send(t, "PUT", p.url+path, "two", "If-Match", tag) })
	switch {
	case a.StatusCode == 204 && asked == 0:
		return true
	case a.StatusCode == 412 && asked == 1:
		return false
	}
	t.Fatalf("%s: %s, and the origin was asked %d times", path, a.Status, asked)
	return false
}

// After a purge, the handler asks the origin about the resources that the purge named,
// and about no others.
func TestPurge(t *testing.T) {
	p := loadPurgeable(t, "verify never\nwrite_etag off")
	host := caddytest.Host(t)
	paths := []string{"/docs/plan", "/docs/plan2", "/docs/a/plan", "/docs/a/b/plan", "/other/plan"}
	for _, tt := range []struct {
		content string
		marked  []string
	}{
		{`{"urls": ["%s/docs/plan"]}`, paths[:1]},
		{`{"urls": ["%s/Docs/%%70lan/?x=1#y"]}`, paths[:1]},
		{`{"urls": ["%s/docs/plan", "%s/other/plan"]}`, []string{"/docs/plan", "/other/plan"}},
		{`{"urls": ["https://` + host + `:8443/docs/plan"]}`, paths[:1]},
		{`{"urls": ["%s/docs/*"]}`, paths[:2]},
		{`{"urls": ["%s/docs/plan*"]}`, paths[:2]},
		{`{"urls": ["%s/*/plan"]}`, []string{"/docs/plan", "/other/plan"}},
		{`{"urls": ["%s/docs/*/plan"]}`, paths[2:3]},
		{`{"urls": ["%s/docs/**"]}`, paths[:4]},
		{`{"urls": ["%s/docs/a/plan/**"]}`, paths[2:3]},
		{`{"urls": ["%s/**"]}`, paths},
		{`{"urls": ["https://*/docs/a/**"]}`, paths[2:4]},
		{`{"urls": ["http://127.*/docs/a/**"]}`, paths[2:4]},
		{`{"urls": ["http://other.example/**"]}`, nil},
		{`{"keys": ["` + host + `/docs/plan"]}`, paths[:1]},
		{`{"keys": ["` + host + `/docs/plan", "` + host + `/other/*"]}`, []string{"/docs/plan", "/other/plan"}},
		{`{"keys": ["` + host + `/DOCS/plan"]}`, nil}, // keys are taken literally
		{`{"keys": ["**"]}`, paths},
		{`{"all": true}`, paths},
	} {
		content := strings.ReplaceAll(tt.content, "%s", p.url)
		content = strings.ReplaceAll(content, "%%", "%")
		t.Run(content, func(t *testing.T) {
			tags := map[string]string{}
			for _, path := range paths {
				tags[path] = p.known(t, path)
				caddytest.Bypass(t, p.docs, "PUT", path, "changed")
			}
			caddytest.Purge(t, p.admin, content).Expect(t, 200)
			marked := strings.Join(tt.marked, " ") + " "
			for _, path := range paths {
				if got, want := !p.believed(t, path, tags[path]), strings.Contains(marked, path+" "); got != want {
					t.Errorf("%s: marked as changed: %v, want %v", path, got, want)
				}
			}
		})
	}
}

// A purge reaches a resource by any of its names, and by a pattern that matches one.
func TestPurgeOfAliases(t *testing.T) {
	p := loadPurgeable(t, "verify never\nwrite_etag off")
	for _, path := range []string{"/docs/index.html", "/docs/", "/docs;a=b"} {
		for _, name := range []string{"/docs", "/docs/", "/docs/index.html", "/index.php/docs", "/docs/*", "/docs/*.html", "/docs/index.*", "/docs/**", "/d*"} {
			tag := p.known(t, path)
			caddytest.Bypass(t, p.docs, "PUT", path, "changed")
			caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+name+`"]}`).Expect(t, 200)
			if p.believed(t, path, tag) {
				t.Errorf("%s: not marked by %s", path, name)
			}
		}
	}
}

// The same holds for a resource whose key is shortened. The admin API also shows it
// under each of these names.
func TestPurgeOfLongNames(t *testing.T) {
	p := loadPurgeable(t, "verify never\nwrite_etag off")
	dir := "/docs/" + strings.Repeat("x", 600)
	path := dir + "/plan"
	whole := caddytest.Host(t) + path
	sum := sha256.Sum256([]byte(whole))
	logged := whole[:512] + "#" + hex.EncodeToString(sum[:])
	for _, names := range []string{
		`"urls": ["%s` + path + `"]`, `"urls": ["%s` + dir + `/*"]`, `"urls": ["%s` + dir + `/**"]`, `"urls": ["%s` + dir + `*/plan"]`,
		`"keys": ["` + whole + `"]`, `"keys": ["` + logged + `"]`,
	} {
		tag := p.known(t, path)
		caddytest.Bypass(t, p.docs, "PUT", path, "changed")
		caddytest.Purge(t, p.admin, "{"+strings.ReplaceAll(names, "%s", p.url)+"}").Expect(t, 200)
		if p.believed(t, path, tag) {
			t.Errorf("not marked by %s", names)
		}
	}
	tag, _ := json.Marshal(p.known(t, path))
	for _, query := range []string{"url=" + url.QueryEscape(p.url+path), "key=" + whole, "key=" + url.QueryEscape(logged)} {
		a := caddytest.Send(t, "GET", p.admin+"/preconditions/resource?"+query, "").Expect(t, 200)
		if !strings.Contains(a.Content, string(tag)) {
			t.Errorf("%s: got %s", query, a.Content)
		}
	}
}

// The answer says what was done in each store.
func TestPurgeAnswer(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	one, two := caddytest.Address(t), caddytest.Address(t)
	backend := caddytest.Serve(t, docs)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\n%s\n}\n",
		one, caddytest.Guarded("", backend), two, caddytest.Guarded("store test answer", backend)))
	for _, url := range []string{one, one, two} {
		path := fmt.Sprintf("/docs/%d", len(caddytest.Opened(t, "answer").Terms()))
		caddytest.Bypass(t, docs, "PUT", path, "x")
		caddytest.Send(t, "GET", "http://"+url+path, "").Expect(t, 200)
	}
	for content, want := range map[string]string{
		`{"urls": ["http://` + caddytest.Host(t) + `/docs/0"]}`: `{"stores":[{"store":"memory","resources":1,"known":1},{"store":"test","resources":1,"known":1}]}`,
		`{"keys": ["**"]}`: ``,
		`{"all": true}`:    `{"stores":[{"store":"memory","resources":0,"all":true},{"store":"test","resources":0,"all":true}]}`,
	} {
		a := caddytest.Purge(t, admin, content).Expect(t, 200)
		if got := strings.TrimSpace(a.Content); want != "" && got != want {
			t.Errorf("%s: got %s, want %s", content, got, want)
		}
		if got := a.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %s", got)
		}
	}
}

// A purge maps a URL to keys with the key option of each handler. If the key can't be
// computed from the URL, the error names that handler's key.
func TestPurgeWithOtherKeys(t *testing.T) {
	t.Run("the key is made of the URL", func(t *testing.T) {
		p := loadPurgeable(t, "verify never\nwrite_etag off\nkey docs/{http.request.hostport}{http.request.uri}")
		tag := p.known(t, "/docs/a")
		caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "changed")
		caddytest.Purge(t, p.admin, `{"urls": ["http://`+caddytest.Host(t)+`/docs/a"]}`).Expect(t, 200) // at another port
		if !p.believed(t, "/docs/a", tag) {
			t.Error("another resource was marked")
		}
		for _, content := range []string{`{"urls": ["%s/docs/a"]}`, `{"urls": ["%s/docs/**"]}`, `{"urls": ["%s/docs/*"]}`} {
			tag := p.known(t, "/docs/a")
			caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "changed")
			caddytest.Purge(t, p.admin, strings.ReplaceAll(content, "%s", p.url)).Expect(t, 200)
			if p.believed(t, "/docs/a", tag) {
				t.Errorf("%s: not marked", content)
			}
		}
	})
	for _, key := range []string{
		"{http.request.host}{http.request.uri.path}?{http.request.uri.query}",
		"{http.request.host}{http.request.uri}",
		"{http.request.uri.path}@{http.request.host}",
		"{http.request.uri.path}?{http.request.uri.query.page}",
	} {
		t.Run("the key continues after the path: "+key, func(t *testing.T) {
			p := loadPurgeable(t, "verify never\nwrite_etag off\nkey "+key)
			for _, pattern := range []string{"/docs/**", "/docs/**/", "/docs/**?*"} {
				for _, path := range []string{"/docs", "/docs/", "/docs/index.html", "/docs?page=2", "/docs/a/b?page=2"} {
					tag := p.known(t, path)
					caddytest.Bypass(t, p.docs, "PUT", path, "changed")
					caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+pattern+`"]}`).Expect(t, 200)
					if p.believed(t, path, tag) {
						t.Errorf("%s: not marked by %s", path, pattern)
					}
				}
				tag := p.known(t, "/docs2")
				caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+pattern+`"]}`).Expect(t, 200)
				if !p.believed(t, "/docs2", tag) {
					t.Errorf("%s: another resource was marked", pattern)
				}
			}
		})
	}
	t.Run("the key begins with a part of the query", func(t *testing.T) {
		p := loadPurgeable(t, "verify never\nwrite_etag off\nkey {http.request.uri.query.tenant}{http.request.uri.path}")
		for _, path := range []string{"/docs?tenant=1", "/docs/a?tenant=1", "/docs/a"} {
			tag := p.known(t, path)
			caddytest.Bypass(t, p.docs, "PUT", path, "changed")
			caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+`/docs/**"]}`).Expect(t, 200)
			if p.believed(t, path, tag) {
				t.Errorf("%s: not marked", path)
			}
		}
	})
	t.Run("the key has a segment of the path", func(t *testing.T) {
		p := loadPurgeable(t, "verify never\nwrite_etag off\nkey docs/{http.request.uri.path.1}")
		tag := p.known(t, "/docs/a")
		a := caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+`/**"]}`).Expect(t, 400)
		if !strings.Contains(a.Content, "give the key of") {
			t.Errorf("got %s", a.Content)
		}
		caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "changed")
		caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+`/docs/*"]}`).Expect(t, 200)
		if p.believed(t, "/docs/a", tag) {
			t.Error("not marked")
		}
	})
	t.Run("the key has more than the URL", func(t *testing.T) {
		p := loadPurgeable(t, "verify never\nwrite_etag off\nkey {http.request.header.X-Tenant}{http.request.local.port}{http.request.uri.path}")
		tag := p.known(t, "/docs/a")
		caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "changed")
		a := caddytest.Purge(t, p.admin, `{"all": false, "urls": ["`+p.url+`/docs/a"]}`).Expect(t, 400)
		if !strings.Contains(a.Content, "give the key of") {
			t.Errorf("got %s", a.Content)
		}
		_, port, _ := strings.Cut(strings.TrimPrefix(p.url, "http://"), ":")
		caddytest.Purge(t, p.admin, `{"keys": ["`+port+`/docs/a"]}`).Expect(t, 200)
		if p.believed(t, "/docs/a", tag) {
			t.Error("not marked")
		}
	})
}

// A purge changes the version. With the source version, nothing else would show that a
// document was changed past the handler.
func TestPurgeMovesTheVersion(t *testing.T) {
	p := loadPurgeable(t, "etag version")
	tag := p.known(t, "/docs/a")
	caddytest.Purge(t, p.admin, `{"urls": ["`+p.url+`/docs/a"]}`).Expect(t, 200)
	caddytest.Send(t, "PUT", p.url+"/docs/a", "two", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", p.url+"/docs/a", "two", "If-Match", caddytest.Send(t, "GET", p.url+"/docs/a", "").Tag(t)).Expect(t, 204)
}

// A write in flight during a purge continues and still blocks other writes. Its result
// isn't trusted, as either the write or the purged change may have come last.
func TestPurgeDuringWrite(t *testing.T) {
	for _, content := range []string{`{"urls": ["%s/docs/a"]}`, `{"urls": ["%s/docs/**"]}`, `{"all": true}`} {
		t.Run(content, func(t *testing.T) {
			g := caddytest.NewGate()
			docs, seen := caddytest.Watched(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			address := caddytest.Address(t)
			admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded("verify never\nwait 1ms", caddytest.Serve(t, docs))))
			url := "http://" + address
			tag := caddytest.Send(t, "GET", url+"/docs/a", "").Tag(t)
			first := g.Send(t.Context(), t, "PUT", url+"/docs/a", "b", "If-Match", tag)
			caddytest.Purge(t, admin, strings.ReplaceAll(content, "%s", url)).Expect(t, 200)
			caddytest.Send(t, "PUT", url+"/docs/a", "c", "If-Match", tag).Expect(t, 503)
			g.Open()
			caddytest.ExpectResult(t, first, 204).ExpectOutcome(t, "passed")
			if asked := seen.Asks(func() { caddytest.Send(t, "PUT", url+"/docs/a", "c", "If-Match", tag).Expect(t, 412) }); asked != 1 {
				t.Errorf("the origin was asked %d times", asked)
			}
		})
	}
}

// With reads store, the origin is asked after a change was reported.
func TestPurgeAndReadsStore(t *testing.T) {
	docs, seen := caddytest.Watched(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded("verify never\nreads store", caddytest.Serve(t, docs))))
	url := "http://" + address + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "b")
	read := func(status, want int) {
		t.Helper()
		if asked := seen.Asks(func() { caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, status) }); asked != want {
			t.Errorf("the origin was asked %d times", asked)
		}
	}
	read(304, 0)
	caddytest.Purge(t, admin, `{"urls": ["`+url+`"]}`).Expect(t, 200)
	read(200, 1)
}

// A request with any invalid part is refused as a whole.
func TestPurgeRefuses(t *testing.T) {
	p := loadPurgeable(t, "verify never\nwrite_etag off")
	tag := p.known(t, "/docs/a")
	url := `"` + p.url + `/docs/a"`
	const purge, resource, asJSON = "/preconditions/purge", "/preconditions/resource", "application/json"
	for _, tt := range []struct {
		name, method, path, media, content string
		status                             int
		says                               string
	}{
		{"a wrong method", "GET", purge, "", "", 405, "must be POST"},
		{"a wrong method that also sends content", "PUT", purge, asJSON, `{"urls": [` + url + `]}`, 405, "must be POST"},
		{"a wrong method", "POST", resource, asJSON, "{}", 405, "must be GET"},
		{"an unknown path", "POST", "/preconditions/all", asJSON, `{"all": true}`, 404, ""},
		{"a content type that a form can send", "POST", purge, "text/plain", `{"urls": [` + url + `]}`, 415, "application/json"},
		{"invalid JSON", "POST", purge, asJSON, `{"urls": [` + url, 400, "reading the content"},
		{"two values", "POST", purge, asJSON, `{"urls": [` + url + `]} {}`, 400, "one JSON object"},
		{"a member of the wrong type", "POST", purge, asJSON, `{"urls": ` + url + `}`, 400, "reading the content"},
		{"no URLs, keys or groups", "POST", purge, asJSON, `{}`, 400, "give urls"},
		{"an unknown member", "POST", purge, asJSON, `{"urls": [` + url + `], "url": "x"}`, 400, "unknown field"},
		{"an empty key", "POST", purge, asJSON, `{"urls": [` + url + `], "keys": [""]}`, 400, "a key is empty"},
		{"a group without names", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1"}]}`, 400, "give the names of the groups of"},
		{"a group without an origin", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"names": ["cars"]}]}`, 400, "must begin with http"},
		{"an unknown member of a group", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1", "name": "cars"}]}`, 400, "unknown field"},
		{"an empty name", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1", "names": ["cars", ""]}]}`, 400, "is empty"},
		{"a name that is too long", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1", "names": ["` + strings.Repeat("x", 257) + `"]}]}`, 400, "257 bytes"},
		{"a name that no field can have", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1", "names": ["ä"]}]}`, 400, "printable ASCII"},
		{"an origin with a path", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1/docs/a", "names": ["cars"]}]}`, 400, "such as http://127.0.0.1:"},
		{"an origin with a query", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://127.0.0.1?a", "names": ["cars"]}]}`, 400, "must be an origin"},
		{"an origin with a user", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://a@127.0.0.1", "names": ["cars"]}]}`, 400, "must be an origin"},
		{"a pattern of origins", "POST", purge, asJSON, `{"urls": [` + url + `], "groups": [{"origin": "http://*", "names": ["cars"]}]}`, 400, "without an asterisk"},
		{"only a path", "POST", purge, asJSON, `{"urls": [` + url + `, "/docs/a"]}`, 400, "must begin with http"},
		{"no scheme", "POST", purge, asJSON, `{"urls": [` + url + `, "example.com/docs/a"]}`, 400, "must begin with http"},
		{"no host", "POST", purge, asJSON, `{"urls": [` + url + `, "http:///docs/a"]}`, 400, "must begin with http"},
		{"an unsupported scheme", "POST", purge, asJSON, `{"urls": [` + url + `, "ftp://example.com/"]}`, 400, "must begin with http"},
		{"an invalid escape", "POST", purge, asJSON, `{"urls": [` + url + `, "http://example.com/%zz"]}`, 400, "invalid URL escape"},
		{"a host that no request can have", "POST", purge, asJSON, `{"urls": [` + url + `, "http://exämple.com/"]}`, 400, "ASCII"},
		{"too much content", "POST", purge, asJSON, `{"urls": [` + url + `, "` + strings.Repeat("x", 1<<20) + `"]}`, 413, "too large"},
		{"neither URL nor key", "GET", resource, "", "", 400, "either url or key"},
		{"both URL and key", "GET", resource + "?url=http://a/&key=a", "", "", 400, "either url or key"},
		{"an invalid URL", "GET", resource + "?url=a", "", "", 400, "must begin with http"},
	} {
		a := caddytest.Send(t, tt.method, p.admin+tt.path, tt.content, "Content-Type", tt.media)
		if a.StatusCode != tt.status || !strings.Contains(a.Content, tt.says) {
			t.Errorf("%s: %s\n%s", tt.name, a.Status, a.Content)
		}
		if allow := a.Header.Get("Allow"); (allow != "") != (tt.status == 405) {
			t.Errorf("%s: Allow: %s", tt.name, allow)
		}
	}
	if !p.believed(t, "/docs/a", tag) {
		t.Error("something was invalidated")
	}
	admin := caddytest.LoadWithAdmin(t, "http://"+caddytest.Address(t)+" {\nrespond content\n}\n")
	caddytest.Send(t, "POST", admin+purge, `{"all": true}`, "Content-Type", asJSON).Expect(t, 404)
}

// A purge of a group invalidates its members at the given origin, as far as the keys of
// the handler distinguish origins. Other resources stay valid.
func TestPurgeOfGroups(t *testing.T) {
	redis := "store redis redis://" + caddytest.UsedRedis(t).Addr + " {\ntimeout 5s\n}\n"
	b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars", "red"`, "/vans/1": `"vans"`})
	backend := caddytest.Serve(t, b)
	for _, tt := range []struct {
		key, host   string
		reach, miss []string // origins
	}{
		{
			"{http.request.host}{http.request.uri.path}", "Docs.example.com.:8080",
			[]string{"http://docs.example.com", "https://DOCS.example.com:8443/", "http://docs.example.com."},
			[]string{"http://example.com", "http://docs.example.com.cars"},
		}, {
			"{http.request.hostport}{http.request.uri.path}", "docs.example.com:80",
			[]string{"http://docs.example.com", "http://docs.example.com:80"},
			[]string{"http://docs.example.com:8080", "https://docs.example.com:80"},
		}, {
			"{http.request.hostport}{http.request.uri.path}", "[::1]:8080",
			[]string{"http://[::1]:8080"},
			[]string{"http://[::1]"},
		}, {
			"{http.request.scheme}://{http.request.host}:{http.request.port}{http.request.uri.path}", "docs.example.com:8080",
			[]string{"http://docs.example.com:8080"},
			[]string{"https://docs.example.com:8080", "http://docs.example.com"},
		}, {
			"docs{http.request.uri.path}", "docs.example.com",
			[]string{"http://docs.example.com", "https://elsewhere.example"},
			nil,
		}, {
			"{http.request.header.X-Tenant} {http.request.host}{http.request.uri.path}", "docs.example.com",
			[]string{"http://docs.example.com"},
			[]string{"http://example.com"},
		},
	} {
		for _, store := range []string{"", redis} {
			t.Run(tt.key+" of "+tt.host+" "+strings.TrimSpace(store[:min(len(store), 11)]), func(t *testing.T) {
				address := caddytest.Address(t)
				host, port, _ := strings.Cut(address, ":")
				admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://:%s {\nbind %s\n%s\n}\n", port, host, caddytest.Guarded(store+caddytest.Trusting+"key \""+tt.key+"\"", backend)))
				expect := func(content, path string, marked bool) {
					t.Helper()
					url := "http://" + address + path
					caddytest.Send(t, "GET", url, "", "Host", tt.host).Expect(t, 200)
					tag := caddytest.Send(t, "GET", url, "", "Host", tt.host).Expect(t, 200).Tag(t)
					caddytest.Purge(t, admin, content).Expect(t, 200)
					asked := b.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", tag, "Host", tt.host).Expect(t, 200) })
					if (asked == 1) != marked || asked > 1 {
						t.Errorf("%s: the origin was asked %d times about %s", content, asked, path)
					}
				}
				for _, origin := range tt.reach {
					expect(`{"groups": [{"origin": "`+origin+`", "names": ["cars"]}]}`, "/cars/1", true)
					expect(`{"groups": [{"origin": "`+origin+`", "names": ["blue", "red"]}]}`, "/cars/1", true)
					expect(`{"groups": [{"origin": "`+origin+`", "names": ["cars"]}]}`, "/vans/1", false)
					expect(`{"groups": [{"origin": "`+origin+`", "names": ["car", "cars ", "CARS", "*", "c**"]}]}`, "/cars/1", false)
				}
				for _, origin := range tt.miss {
					expect(`{"groups": [{"origin": "`+origin+`", "names": ["cars"]}]}`, "/cars/1", false)
				}
			})
		}
	}
}

// A group name applies to every handler and is taken literally. An unknown group is not
// an error.
func TestPurgeOfGroupsByName(t *testing.T) {
	odd, long := `a \"*\" %2A=;~`, strings.Repeat("x", 256)
	b, _ := caddytest.Grouped(map[string]string{"/docs/odd": `"` + odd + `"`, "/docs/long": `"` + long + `"`, "/docs/star": `"*"`})
	backend := caddytest.Serve(t, b)
	one, two := caddytest.Address(t), caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\n%s\n}\n", one, caddytest.Guarded(caddytest.Trusting, backend),
		two, caddytest.Guarded(caddytest.Trusting+"key {http.request.hostport}{http.request.uri.path}", backend)))
	paths := map[string]string{"/docs/odd": odd, "/docs/long": long, "/docs/star": "*", "/docs/none": "nothing"}
	for named, name := range paths {
		tags := map[string]string{}
		for _, site := range []string{one, two} {
			for path := range paths {
				tags[site+path] = caddytest.ReadTwice(t, "http://"+site+path)
			}
		}
		a := caddytest.Purge(t, admin, `{"groups": [{"origin": "http://`+two+`", "names": ["`+name+`", "`+name+`"]}], "keys": ["x"]}`).Expect(t, 200)
		known := map[bool]int{true: 2, false: 0}[name != "nothing"]
		if want := fmt.Sprintf(`{"stores":[{"store":"memory","resources":1,"groups":2,"known":%d}]}`, known); strings.TrimSpace(a.Content) != want {
			t.Errorf("%s: got %s, want %s", name, a.Content, want)
		}
		for at, tag := range tags {
			caddytest.ExpectInvalidated(t, b, "http://"+at, tag, strings.HasSuffix(at, named) && name != "nothing")
		}
	}
}

// A group purged at one node is invalidated at all nodes that share its store.
func TestPurgeOfGroupsAtTwoNodes(t *testing.T) {
	b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars"`, "/vans/1": `"vans"`, "/red": `"red"`})
	directives := caddytest.Guarded(caddytest.Trusting+"store redis redis://"+caddytest.UsedRedis(t).Addr+" {\ntimeout 5s\n}", caddytest.Serve(t, b))
	nodes := caddytest.StartNodes(t, 2, directives)
	one, two := nodes[0], nodes[1]
	car, van, red := caddytest.ReadTwice(t, two.URL+"/cars/1"), caddytest.ReadTwice(t, two.URL+"/vans/1"), caddytest.ReadTwice(t, two.URL+"/red")
	out, status := runPurge(t, "--group", "cars", "--group", "vans", "http://"+caddytest.Host(t), "--address", "unix/"+one.Socket())
	if want := "redis: marked as changed: 2 (2 of 2 were known)\n"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d\n%s", status, out)
	}
	caddytest.ExpectInvalidated(t, b, two.URL+"/cars/1", car, true)
	caddytest.ExpectInvalidated(t, b, two.URL+"/vans/1", van, true)
	caddytest.ExpectInvalidated(t, b, two.URL+"/red", red, false)
}

// If a store can't be reached, the purge still covers the others, and the answer names
// the one that failed.
func TestPurgeWithAStoreAway(t *testing.T) {
	docs, seen := caddytest.Watched(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	backend := caddytest.Serve(t, docs)
	one, two := caddytest.Address(t), caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\n%s\n}\n",
		one, caddytest.Guarded("verify never\nwrite_etag off", backend), two, caddytest.Guarded("store redis redis://:secret@"+caddytest.Address(t), backend)))
	host := caddytest.Host(t)
	for _, content := range []string{`{"urls": ["http://` + host + `/docs/a"]}`, `{"urls": ["http://` + host + `/**"]}`, `{"all": true}`} {
		tag := caddytest.Send(t, "GET", "http://"+one+"/docs/a", "").Tag(t)
		a := caddytest.Purge(t, admin, content).Expect(t, 503)
		if !strings.Contains(a.Content, "redis: the store is unavailable") || strings.Contains(a.Content, "secret") || strings.Contains(a.Content, "memory") {
			t.Errorf("got %s", a.Content)
		}
		if got := seen.Asks(func() { caddytest.Send(t, "PUT", "http://"+one+"/docs/a", "b", "If-Match", tag).Expect(t, 204) }); got != 1 {
			t.Errorf("%s: the origin was asked %d times", content, got)
		}
	}
	caddytest.Send(t, "GET", admin+"/preconditions/resource?key=a", "").Expect(t, 503)
}

// The admin API shows what is stored about a resource, without changing it.
func TestShowResource(t *testing.T) {
	p := loadPurgeable(t, "")
	tag := p.known(t, "/docs/a")
	key := caddytest.Host(t) + "/docs/a"
	for _, query := range []string{"url=" + p.url + "/docs/a", "key=" + key} {
		a := caddytest.Send(t, "GET", p.admin+"/preconditions/resource?"+query, "").Expect(t, 200)
		var shown struct {
			Resources []struct {
				Store, Key, Epoch string
				Variants          []struct{ State, ETag string }
			}
		}
		if err := json.Unmarshal([]byte(a.Content), &shown); err != nil {
			t.Fatal(err)
		}
		if len(shown.Resources) != 1 || len(shown.Resources[0].Variants) != 1 {
			t.Fatalf("got %s", a.Content)
		}
		r := shown.Resources[0]
		if r.Store != "memory" || r.Key != key || r.Epoch == "" || r.Variants[0].State != "present" || r.Variants[0].ETag != tag {
			t.Errorf("got %s", a.Content)
		}
	}
	if p.docs.Asks(func() { caddytest.Send(t, "PUT", p.url+"/docs/a", "x", "If-Match", `"stale"`).Expect(t, 412) }) != 0 {
		t.Error("what was known is forgotten")
	}
}

// runPurge runs caddy preconditions purge in a process of its own.
func runPurge(t testing.TB, args ...string) (out string, status int) {
	t.Helper()
	return runCommand(t, append([]string{"purge"}, args...)...)
}

// runCommand runs a subcommand of caddy preconditions in a process of its own.
func runCommand(t testing.TB, args ...string) (out string, status int) {
	t.Helper()
	return runCaddy(t, append([]string{"preconditions"}, args...)...)
}

// runCaddy runs a command of caddy in a process of its own.
func runCaddy(t testing.TB, args ...string) (out string, status int) {
	t.Helper()
	cmd := caddytest.Command(t, t.TempDir(), args...)
	written, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(written), cmd.ProcessState.ExitCode()
}

// The command does the same as the API. Its exit code says whether the purge succeeded.
func TestPurgeCommand(t *testing.T) {
	p := loadPurgeable(t, "verify never\nwrite_etag off")
	address := strings.TrimPrefix(p.admin, "http://")
	for _, tt := range []struct {
		args   []string
		status int
		marked bool
		says   string
	}{
		{[]string{"--address", address, p.url + "/docs/a"}, 0, true, "memory: marked as changed: 1 (1 of 1 were known)\n"},
		{[]string{p.url + "/docs/b", p.url + "/docs/**", "--address", address}, 0, true, "memory: marked as changed: 2 (1 of 2 were known)\n"},
		{[]string{"--address", address, "--key", caddytest.Host(t) + "/docs/a"}, 0, true, "memory: marked as changed: 1 (1 of 1 were known)\n"},
		{[]string{"--address", address, "--all"}, 0, true, "memory: marked everything as changed\n"},
		{[]string{"--address", address, "--config", "none", p.url + "/docs/a"}, 0, true, "memory"},
		{[]string{"--address", address, p.url + "/docs/b"}, 0, false, "memory: marked as changed: 1 (0 of 1 were known)\n"},
		{[]string{"--address", address, "--group", "cars", "--group", "a, b", p.url}, 0, false, "memory: marked as changed: 2 (0 of 2 were known)\n"},
		{[]string{"--address", address}, 1, false, "give URLs"},
		{[]string{"--address", address, "--group", "cars"}, 1, false, "give the origins"},
		{[]string{"--address", address, "--group", "cars", "--key", p.url}, 1, false, "can't be combined"},
		{[]string{"--address", address, "--group", "cars", "--all"}, 1, false, "--all can't be combined"},
		{[]string{"--address", address, "--group", "", p.url}, 1, false, "give the names of the groups"},
		{[]string{"--address", address, "--group", "", "--group", "cars", p.url}, 1, false, "the name of a group is empty"},
		{[]string{"--address", address, "--group", "cars", p.url + "/docs/a"}, 1, false, "must be an origin"},
		{[]string{"--address", address, "--all", p.url + "/docs/a"}, 1, false, "--all can't be combined"},
		{[]string{"--address", address, "/docs/a"}, 1, false, "must begin with http"},
		{[]string{"--address", caddytest.Address(t), p.url + "/docs/a"}, 1, false, "connection refused"},
		{[]string{"--config", "none", p.url + "/docs/a"}, 1, false, "no such file"},
		{[]string{"--unknown"}, 1, false, "unknown flag"},
		{[]string{"--help"}, 0, false, "any text without a slash"},
	} {
		tag := p.known(t, "/docs/a")
		caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "changed")
		out, status := runPurge(t, tt.args...)
		if status != tt.status || !strings.Contains(out, tt.says) {
			t.Errorf("%v: exit code %d\n%s", tt.args, status, out)
		}
		if marked := !p.believed(t, "/docs/a", tag); marked != tt.marked {
			t.Errorf("%v: marked: %v\n%s", tt.args, marked, out)
		}
	}
}

// A misspelled command fails, so nobody believes that it did anything.
func TestNoPurgeCommand(t *testing.T) {
	for _, args := range [][]string{{"prge", "https://example.com/docs/a"}, {"https://example.com/docs/a"}} {
		cmd := caddytest.Command(t, t.TempDir(), append([]string{"preconditions"}, args...)...)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(string(out), "unknown command") {
			t.Errorf("%v: exit code %d\n%s", args, status, out)
		}
	}
}

// A resource purged at one node is invalidated at all nodes that share its store.
func TestPurgeAtTwoNodes(t *testing.T) {
	docs, seen := caddytest.Watched(legacydocs.Options{})
	directives := caddytest.Guarded("verify never\nwrite_etag off\nstore redis redis://"+caddytest.UsedRedis(t).Addr+" {\ntimeout 5s\n}", caddytest.Serve(t, docs))
	nodes := caddytest.StartNodes(t, 2, directives)
	a, b := nodes[0], nodes[1]
	host := caddytest.Host(t)
	for _, tt := range [][]string{
		{"http://" + host + "/docs/a"},
		{"http://" + host + "/docs/*"},
		{"http://" + host + "/**"},
		{"--key", host + "/docs/a"},
		{"--all"},
	} {
		path := "/docs/a"
		caddytest.Bypass(t, docs, "PUT", path, "one")
		tag := caddytest.Send(t, "GET", b.URL+path, "").Tag(t)
		caddytest.Bypass(t, docs, "PUT", path, "changed")
		if asked := seen.Asks(func() { caddytest.Send(t, "PUT", b.URL+path, "two", "If-Match", tag).Expect(t, 204) }); asked != 0 {
			t.Fatalf("the origin was asked %d times", asked)
		}
		tag = caddytest.Send(t, "GET", b.URL+path, "").Tag(t)
		caddytest.Bypass(t, docs, "PUT", path, "changed")
		out, status := runPurge(t, append(tt, "--address", "unix/"+a.Socket())...)
		if status != 0 {
			t.Fatalf("%v: exit code %d\n%s", tt, status, out)
		}
		if asked := seen.Asks(func() { caddytest.Send(t, "PUT", b.URL+path, "two", "If-Match", tag).Expect(t, 412) }); asked != 1 {
			t.Errorf("%v: the origin was asked %d times", tt, asked)
		}
	}
}

// If a map turns the path into the key, the key can't be computed from a URL, so a purge
// by URL is refused. Otherwise it would invalidate the wrong resource and report success.
func TestPurgeMappedKey(t *testing.T) {
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\nmap {path} {thing} {\n/products/blue-mug /products/17\ndefault {path}\n}\n"+
		"preconditions {\nkey {http.request.host}{thing}\n}\nreverse_proxy %s\n}\n", address, caddytest.Serve(t, anywhere())))
	caddytest.Purge(t, admin, `{"urls": ["http://`+address+`/products/17"]}`).Expect(t, 400)
}
