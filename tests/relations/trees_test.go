package relations

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// folders is a backend that stores documents by path. It can delete, move and
// copy everything below a path as a whole.
type folders struct {
	mu     sync.Mutex
	docs   map[string]string
	reads  int
	before func(r *http.Request)
}

func newFolders(paths ...string) *folders {
	f := &folders{docs: make(map[string]string)}
	for _, path := range paths {
		f.docs[path] = "of " + path
	}
	return f
}

func (f *folders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if f.before != nil {
		f.before(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Method {
	case "GET":
		f.reads++
		doc, ok := f.docs[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, doc)
	case "PUT":
		f.docs[r.URL.Path] = string(content)
	default: // DELETE, MOVE, COPY, and an import that empties everything
		to, _ := url.Parse(r.Header.Get("Destination"))
		from := r.URL.Path
		if r.Method == "POST" {
			from = ""
		}
		for path, doc := range maps.Clone(f.docs) {
			if below, ok := strings.CutPrefix(path, from); ok && (below == "" || below[0] == '/') {
				if r.Method != "COPY" {
					delete(f.docs, path)
				}
				if to.Path != "" {
					f.docs[to.Path+below] = doc
				}
			}
		}
	}
}

// asked returns the number of reads since its last call.
func (f *folders) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.reads
	f.reads = 0
	return n
}

// A change of a whole tree invalidates everything in it, and nothing else.
func TestTrees(t *testing.T) {
	paths := []string{"/dav/a/1", "/dav/a/b/2", "/dav/c/3", "/dav/4", "/dav", "/else/a/1", "/dave/1"}
	for _, tt := range []struct {
		rule        string
		method      string
		path        string
		destination string
		changed     []string
	}{
		{"/dav /dav/**", "DELETE", "/dav/a", "", []string{"/dav/a/1", "/dav/a/b/2"}},
		{"/dav /dav/**", "DELETE", "/DAV//a/", "", []string{"/dav/a/1", "/dav/a/b/2"}},
		{"/dav /dav/**", "DELETE", "/dav/a/b/2", "", []string{"/dav/a/b/2"}},
		{"/dav /dav/**", "MOVE", "/dav/a", "/dav/c", []string{"/dav/a/1", "/dav/a/b/2", "/dav/c/3"}},
		{"/dav /dav/**", "COPY", "/dav/a", "/dav/c", []string{"/dav/c/3"}},
		{"/dav /dav/**", "COPY", "/else/a", "/dav", []string{"/dav", "/dav/a/1", "/dav/a/b/2", "/dav/c/3", "/dav/4"}},
		{"/dav /dav/**", "COPY", "/dav/a", "/else", nil},
		{"/import /**", "POST", "/import", "", paths},
		{"/import /dav/a/** /dav/4", "POST", "/import", "", []string{"/dav/a/1", "/dav/a/b/2", "/dav/4"}},
		{"/archive/* /dav/*/**", "POST", "/archive/c", "", []string{"/dav/c/3"}},
		{"/archive/* /dav/*/**", "POST", "/archive/x", "", nil},
		{"/import /** /dav/**", "DELETE", "/else", "", []string{"/else/a/1"}},
		{"/import /**\naffects /dav /dav/**", "POST", "/import", "", paths}, // the largest tree decides
		{"/import /else/** /dav/a/**", "POST", "/import", "", []string{"/else/a/1", "/dav/a/1", "/dav/a/b/2"}},
		{"/import /dav/a/**", "DELETE", "/dav", "", []string{"/dav"}}, // no tree is declared here
	} {
		t.Run(tt.method+" "+tt.path+" with "+tt.rule, func(t *testing.T) {
			f := newFolders(paths...)
			url := caddytest.Site(t, caddytest.Trusting+"affects "+tt.rule, f)
			tags := make(map[string]string)
			for _, path := range paths {
				tags[path] = caddytest.Send(t, "GET", url+path, "").Expect(t, 200).Tag(t)
			}
			var fields []string
			if tt.destination != "" {
				fields = []string{"Destination", url + tt.destination}
			}
			caddytest.Send(t, tt.method, url+tt.path, "", fields...).Expect(t, 200)
			f.asked()
			for _, path := range slices.Backward(slices.Sorted(maps.Keys(tags))) { // /dav last: writing it changes everything below
				caddytest.Send(t, "PUT", url+path, "x", "If-Match", tags[path])
				if believed := f.asked() == 0; believed == slices.Contains(tt.changed, path) {
					t.Errorf("the stored tag of %s is trusted: %v", path, believed)
				}
			}
		})
	}
}

// A change of a tree invalidates the resources below, however either path is
// spelled, even if the key distinguishes spellings and queries.
func TestTreesSpellings(t *testing.T) {
	for _, key := range []string{
		"{http.request.host}{http.request.uri.path}",
		"{http.request.uri}",
		"{http.request.uri.path}?{http.request.uri.query}",
		"{http.request.header.Tenant}{http.request.orig_uri}",
		"{http.request.host}",
	} {
		for _, target := range []string{"/dav/a", "/dav/a/", "/dav/a?all", "/dav//a", "/else/../dav/a", "/DAV/%61", "/dav/a/index.html"} {
			t.Run(key+" "+target, func(t *testing.T) {
				f := newFolders("/dav/a/1")
				url := caddytest.Site(t, "key "+key+"\n"+caddytest.Trusting+"affects /dav /dav/**", f)
				tag := caddytest.Send(t, "GET", url+"/dav/a/1?part", "").Tag(t)
				caddytest.Send(t, "DELETE", url+target, "").Expect(t, 200)
				f.asked()
				caddytest.Send(t, "PUT", url+"/dav/a/1?part", "x", "If-Match", tag)
				if f.asked() == 0 {
					t.Error("the stored tag is still trusted")
				}
			})
		}
	}
}

// The number of store calls is bounded however deep a path is. A change of any
// tree above it, even of a deep one, is still noticed.
func TestTreesDepth(t *testing.T) {
	t.Parallel()
	path := func(depth int) string { return "/dav" + strings.Repeat("/a", depth) }
	server := caddytest.UsedRedis(t)
	for _, tt := range []struct {
		depth, deleted int
		counts         bool
	}{
		{31, 1, false},
		{32, 31, false},
		{32, 32, false}, // itself
		{31, 32, true},
		{33, 32, false},
		{60, 31, false},
		{60, 59, false},
		{1000, 31, false},
		{1000, 999, false},
		{30, 1000, true},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.deleted, tt.depth), func(t *testing.T) {
			f := newFolders(path(tt.depth))
			url := caddytest.SiteOfRedis(t, server, "store redis redis://"+server.Addr+" {\ntimeout 5s\n}\n"+caddytest.Trusting+"affects /dav /dav/**", f)
			for range 2 { // until the server has each script
				caddytest.Send(t, "GET", url+path(tt.depth), "").Expect(t, 200)
			}
			tag := caddytest.Send(t, "GET", url+path(tt.depth), "").Expect(t, 200).Tag(t)
			before := caddytest.StoreCalls(t, server.Client())
			caddytest.Send(t, "GET", url+path(tt.depth), "").Expect(t, 200)
			if got := caddytest.StoreCalls(t, server.Client()) - before; got > 1+32 {
				t.Errorf("a read took %d calls of the store", got)
			}
			caddytest.Send(t, "DELETE", url+path(tt.deleted), "").Expect(t, 200)
			f.asked()
			caddytest.Send(t, "PUT", url+path(tt.depth), "x", "If-Match", tag)
			if counts := f.asked() == 0; counts != tt.counts {
				t.Errorf("the stored tag is trusted: %v", counts)
			}
		})
	}
}

// However a destination on this host is written, the handler knows what changes
// there.
func TestTreesDestinations(t *testing.T) {
	for _, destination := range []string{
		"http://{host}:{port}/dav/a", "https://{host}:{port}/dav/a/", "HTTP://{host}.:{port}/DAV/%61?x#y",
		"http://{host}/dav/a", "http://{host}:80/dav/a", "http://ann@{host}:{port}/dav/a", // nginx takes any port
		"/dav/a", "//dav/a", "dav/a",
		"http://{host}:{port}/files/dav/a", "/files/dav/a", // as the client sees it
		"https://dav.example/files/dav/a",
	} {
		t.Run(destination, func(t *testing.T) {
			f := newFolders("/dav/a/1", "/x")
			address := caddytest.Address(t)
			url := "http://" + address
			caddytest.StartWith(t, "trusted_proxies static private_ranges",
				url+" {\nhandle_path /files/* {\n"+caddytest.Guarded(caddytest.Trusting+"affects /dav /dav/**", caddytest.Serve(t, f))+"\n}\n}\n")
			tag := caddytest.Send(t, "GET", url+"/files/dav/a/1", "").Tag(t)
			host, port, _ := strings.Cut(address, ":")
			to := strings.NewReplacer("{host}", host, "{port}", port).Replace(destination)
			caddytest.Send(t, "COPY", url+"/files/x", "", "Destination", to, "X-Forwarded-Host", "dav.example")
			f.asked()
			caddytest.Send(t, "PUT", url+"/files/dav/a/1", "x", "If-Match", tag)
			if f.asked() == 0 {
				t.Error("the stored tag is still trusted")
			}
		})
	}
}

// If several fields override the method, the backend may go by any of them.
func TestTreesOverrides(t *testing.T) {
	for _, fields := range [][]string{
		{"X-Method-Override", "delete"},
		{"X-HTTP-Method-Override", "PUT", "X-Method-Override", "DELETE"},
		{"X-HTTP-Method-Override", "POST", "X-HTTP-Method-Override", "DELETE"},
		{"X-HTTP-Method-Override", "DELETE,"},
		{"X-HTTP-Method-Override", "post , Delete"},
	} {
		f := newFolders("/a/1")
		url := caddytest.Site(t, caddytest.Trusting+"affects / /**\nrequire DELETE", f)
		caddytest.Send(t, "POST", url+"/a", "", fields...).Expect(t, 428)
		tag := caddytest.Send(t, "GET", url+"/a/1", "").Tag(t)
		caddytest.Send(t, "PUT", url+"/a", "").Expect(t, 200)
		caddytest.Send(t, "POST", url+"/a", "", append(fields, "If-Match", "*")...).Expect(t, 200)
		f.asked()
		caddytest.Send(t, "PUT", url+"/a/1", "x", "If-Match", tag)
		if f.asked() == 0 {
			t.Errorf("the stored tag is still trusted after %v", fields)
		}
	}
}

// What is read after a change of a tree is trusted; what was read while the
// change was in flight isn't.
func TestTreesKnownAgain(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		f := newFolders("/a/b/1")
		g := caddytest.NewGate()
		f.before = func(r *http.Request) { g.Pass(r) }
		n := deploy(t, caddytest.Trusting+"affects / /**", f)
		url := n.First() + "/a/b/1"
		deletion := g.Send(context.Background(), t, "DELETE", n.Other()+"/a", "")
		old := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		g.Open()
		caddytest.ExpectResult(t, deletion, 200)
		caddytest.Send(t, "PUT", url, "x", "If-Match", old).Expect(t, 412)
		caddytest.Send(t, "PUT", url, "x", "If-None-Match", "*").Expect(t, 200)
		caddytest.Send(t, "DELETE", n.Other()+"/a/c", "").Expect(t, 200)
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		f.asked()
		caddytest.Send(t, "DELETE", n.Other()+"/a/c", "").Expect(t, 200)
		caddytest.Send(t, "PUT", n.Other()+"/a/b/1", "y", "If-Match", tag).Expect(t, 200)
		if got := f.asked(); got != 0 {
			t.Errorf("the origin was asked %d times, want 0", got)
		}
	})
}

// While a change of a tree is in flight, a conditional write below waits, and
// the other way round. Other writes don't wait.
func TestTreesWhileInFlight(t *testing.T) {
	t.Parallel()
	change := []string{"DELETE", "/dav/a", ""}
	edit := func(path string) []string { return []string{"PUT", path, "*"} }
	for _, tt := range []struct {
		held, other []string
		waits       bool
	}{
		{change, edit("/dav/a/1"), true},
		{change, edit("/dav/a/b/2"), true},
		{change, edit("/dav/a"), true},
		{change, edit("/dav/c/3"), false},
		{change, edit("/dav"), false},
		{change, []string{"PUT", "/dav/a/1", ""}, false}, // it has no condition that could be broken
		{change, []string{"DELETE", "/dav/a/b", ""}, false},
		{change, []string{"DELETE", "/dav/a/b", "*"}, true},
		{change, []string{"DELETE", "/dav/c", "*"}, false},
		{edit("/dav/a/1"), change, true},
		{edit("/dav/a/b/2"), change, true},
		{edit("/dav/a"), change, true},
		{edit("/dav/c/3"), change, false},
		{[]string{"PUT", "/dav/a/1", ""}, change, false},
		{[]string{"POST", "/dav/guard/a/1", "*"}, change, true},        // its condition applies to /dav/a/1
		{[]string{"POST", "/dav/import", "*"}, edit("/dav/c/3"), true}, // it is in the tree that it changes
		{edit("/dav/c/3"), []string{"POST", "/dav/import", "*"}, true},
	} {
		t.Run(strings.Join(tt.held, " ")+", "+strings.Join(tt.other, " "), func(t *testing.T) {
			f := newFolders("/dav/a/1", "/dav/a/b/2", "/dav/c/3", "/dav", "/dav/a", "/dav/c", "/dav/a/b", "/dav/import")
			g := caddytest.NewGate()
			f.before = func(r *http.Request) { g.Pass(r) }
			url := caddytest.Site(t, caddytest.Trusting+"affects /dav /dav/**\naffects /dav/import /dav/**\nguards /dav/guard/*/* /dav/*/*", f)
			fields := func(request []string) []string {
				if request[2] == "" {
					return nil
				}
				return []string{"If-Match", request[2]}
			}
			first := g.Send(context.Background(), t, tt.held[0], url+tt.held[1], "1", fields(tt.held)...)
			second := caddytest.Go(context.Background(), tt.other[0], url+tt.other[1], "2", fields(tt.other)...)
			if !tt.waits {
				caddytest.ExpectResult(t, second, 200)
			} else {
				select {
				case r := <-second:
					t.Fatalf("the second write did not wait: %v %v", r.Response, r.Err)
				case <-time.After(100 * time.Millisecond): // long enough to call it waiting
				}
			}
			g.Open()
			caddytest.ExpectResult(t, first, 200)
			if tt.waits {
				if r := <-second; r.Err != nil || r.StatusCode == 503 {
					t.Errorf("%v %v", r.Response, r.Err)
				}
			}
		})
	}
}

// A change of a tree invalidates everything below even if it waits for nobody,
// or if the store learns of it only once it is back.
func TestTreesForwarded(t *testing.T) {
	for _, options := range []string{"unconditional forward\n", ""} {
		m := caddytest.UsedMiniredis(t)
		f := newFolders("/dav/a/1", "/dav/c/3")
		url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", m.Addr())+caddytest.Trusting+options+"affects /dav /dav/**", f)
		caddytest.Send(t, "PUT", url+"/x", "").Expect(t, 200) // returns once the grace period is over
		below, beside := caddytest.Send(t, "GET", url+"/dav/a/1", "").Tag(t), caddytest.Send(t, "GET", url+"/dav/c/3", "").Tag(t)
		back := func() {}
		if options == "" {
			back = caddytest.TakeAway(t, m)
		}
		caddytest.Send(t, "DELETE", url+"/dav/a", "").Expect(t, 200)
		back()
		caddytest.Send(t, "PUT", url+"/dav/a/1", "x", "If-Match", below).Expect(t, 412)
		f.asked()
		caddytest.Send(t, "PUT", url+"/dav/c/3", "x", "If-Match", beside).Expect(t, 200)
		if f.asked() != 0 {
			t.Errorf("with %q, the stored tag of a resource outside the tree isn't trusted", options)
		}
	}
}

// While a write is in flight that the store will learn of only once it is back,
// the write's own node knows which other writes it keeps out.
func TestTreesWhileForwarded(t *testing.T) {
	for _, tt := range []struct {
		method, path, tag string // of the forwarded write
		other             string
		status            int
	}{
		{"DELETE", "/dav/a", "", "/dav/a/1", 503},
		{"DELETE", "/dav/a", "", "/dav/c/3", 200},
		{"PUT", "/dav/a/1", "*", "/dav/a/2", 200},
	} {
		t.Run(tt.method+" "+tt.path+", PUT "+tt.other, func(t *testing.T) {
			m := caddytest.UsedMiniredis(t)
			f := newFolders("/dav/a/1", "/dav/a/2", "/dav/c/3")
			g := caddytest.NewGate()
			f.before = func(r *http.Request) { g.Pass(r) }
			url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nwait 1s\n"+
				"store_down {\nconditional forward\n}\n", m.Addr())+caddytest.Trusting+"affects /dav /dav/**", f)
			caddytest.Send(t, "PUT", url+"/x", "").Expect(t, 200) // returns once the grace period is over
			var fields []string
			if tt.tag != "" {
				fields = []string{"If-Match", tt.tag}
			}
			back := caddytest.TakeAway(t, m)
			first := g.Send(t.Context(), t, tt.method, url+tt.path, "1", fields...)
			back()
			caddytest.Send(t, "PUT", url+tt.other, "2", "If-Match", "*").Expect(t, tt.status)
			g.Open()
			caddytest.ExpectResult(t, first, 200)
		})
	}
}

// Of concurrent edits and moves of a tree to and fro, none undoes another: an
// edit that was reported as successful was applied at the path it named.
func TestTreesContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		f := newFolders("/a/1", "/a/b/2")
		n := deploy(t, "wait 1m\nlease 1m\nretention 2m\nverify never\naffects / /**", f)
		var wg sync.WaitGroup
		done := make(chan struct{})
		var made [2]int
		for i, doc := range []string{"/1", "/b/2"} {
			for _, root := range []string{"/a", "/z"} { // the document is alternately at one and at the other
				caddytest.Send(t, "GET", n.Random()+root+doc, "")
			}
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					for _, root := range []string{"/a", "/z"} {
						read, err := caddytest.Try(context.Background(), "GET", n.Random()+root+doc, "")
						if err != nil || read.StatusCode == 404 {
							continue
						}
						a, err := caddytest.Try(context.Background(), "PUT", n.Random()+root+doc, read.Content+".", "If-Match", read.Header.Get("ETag"))
						switch {
						case err != nil || a.StatusCode != 200 && a.StatusCode != 412:
							t.Errorf("%v %v", a.Response, err)
						case a.StatusCode == 200:
							made[i]++
						}
					}
				}
			})
		}
		for i := range 60 {
			from, to := "/a", "/z"
			if i%2 == 1 {
				from, to = to, from
			}
			caddytest.Send(t, "MOVE", n.Random()+from, "", "Destination", n.First()+to).Expect(t, 200)
		}
		close(done)
		wg.Wait()
		for i, doc := range []string{"/1", "/b/2"} {
			if got, want := f.docs["/a"+doc], "of /a"+doc+strings.Repeat(".", made[i]); got != want || len(f.docs) != 2 {
				t.Errorf("of %d successful edits of %s, %d are left; the documents are %v", made[i], doc, strings.Count(got, "."), slices.Sorted(maps.Keys(f.docs)))
			}
		}
	})
}

// The versions of resources in a tree change with the tree, even for clients
// that read again before they write.
func TestTreesWithVersion(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		n := deploy(t, "etag version\naffects / /**", newFolders("/a/1", "/b/1"))
		url := n.First() + "/b/1"
		seen := make(map[string]bool)
		for range 3 {
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			if seen[tag] {
				t.Errorf("the version %s was seen before", tag)
			}
			seen[tag] = true
			caddytest.Send(t, "COPY", n.Other()+"/a", "", "Destination", n.Other()+"/b").Expect(t, 200)
			caddytest.Send(t, "GET", url, "").Expect(t, 200)
			caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 412)
		}
	})
}

// Trees cost no store calls outside of them. Inside, they cost calls for each
// path above the resource.
func TestRoundTripsOfTrees(t *testing.T) {
	server := caddytest.UsedRedis(t)
	db := server.Client()
	f := newFolders("/else/1", "/dav/1", "/dav/a/b/2")
	base := caddytest.SiteOfRedis(t, server, "store redis redis://"+server.Addr+" {\ntimeout 5s\n}\n"+caddytest.Trusting+"affects /dav /dav/**", f)
	for range 2 { // until the server has each script
		caddytest.Send(t, "DELETE", base+"/dav/x", "").Expect(t, 200)
		caddytest.Send(t, "PUT", base+"/dav/a/b/2", "x", "If-Match", caddytest.Send(t, "GET", base+"/dav/a/b/2", "").Tag(t)).Expect(t, 200)
	}
	for _, tt := range []struct {
		method, path string
		conditional  bool
		want         int
	}{
		{"GET", "/else/1", false, 0},
		{"PUT", "/else/1", true, 2},
		{"GET", "/dav/1", false, 1 + 1},
		{"GET", "/dav/a/b/2", false, 1 + 3},
		{"PUT", "/dav/1", true, 2 + 2*1 + 2*1}, // epochs before and under the claim; locks taken and released
		{"PUT", "/dav/a/b/2", true, 2 + 2*3 + 2*3},
		{"PUT", "/dav/a/b/2", false, 2},
		{"DELETE", "/dav/a", false, 2 + 2 + 3}, // its epoch; its lock is read, too
	} {
		tag := caddytest.Send(t, "GET", base+tt.path, "").Header.Get("ETag")
		caddytest.Send(t, "GET", base+tt.path, "")
		caddytest.Send(t, "GET", base+tt.path, "")
		before := caddytest.StoreCalls(t, db)
		var fields []string
		if tt.conditional {
			fields = []string{"If-Match", tag}
		}
		caddytest.Send(t, tt.method, base+tt.path, fmt.Sprint("x of ", tt.path), fields...).Expect(t, 200)
		got := caddytest.StoreCalls(t, db) - before
		if tt.want == 0 && got == 1 {
			continue // more than a second has passed
		}
		if got != tt.want {
			t.Errorf("%s %s took %d calls, want %d", tt.method, tt.path, got, tt.want)
		}
	}
}

// A write that affects the tree around its own target still passes on the strength
// of what is stored. Only versions, and signed requests to an origin that shows nothing
// without a signature, depend on stored state alone, so only they can show it.
func TestTreesAround(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, tt := range []struct {
			options, authorization string
			status                 int // of a write whose tag no longer counts
		}{
			{"etag version\n", "", 412},
			{"etag version\nkey all\n", "", 412},
			{caddytest.Trusting + "signed cavage\n", "Signature x", 503},
		} {
			var backend http.Handler = newFolders("/a/1", "/a/2")
			if tt.authorization != "" {
				backend = caddytest.Hiding(backend)
			}
			n := deploy(t, tt.options+"affects /a/* /a/**", backend)
			tag := func(path string) string {
				return caddytest.Send(t, "GET", n.First()+path, "", "Authorization", tt.authorization).Expect(t, 200).Tag(t)
			}
			edit := func(path, tag string) caddytest.Answer {
				return caddytest.Send(t, "PUT", n.Other()+path, "x", "If-Match", tag, "Authorization", tt.authorization)
			}
			one, two := tag("/a/1"), tag("/a/2")
			edit("/a/1", one).Expect(t, 200)
			edit("/a/2", two).Expect(t, tt.status)
			edit("/a/2", tag("/a/2")).Expect(t, 200)
		}
	})
}
