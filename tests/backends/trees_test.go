package backends

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// davSite is a WebDAV server that people use in practice, behind some nodes.
type davSite struct {
	caddytest.Nodes
	direct string        // of the server itself
	reads  *atomic.Int64 // how many reads the nodes sent to it
}

// onEveryDAV runs a test in front of every WebDAV server, with every store.
func onEveryDAV(t *testing.T, test func(t *testing.T, s davSite)) {
	t.Helper()
	for _, name := range []string{"nginx", "Apache httpd", "rclone", "Tomcat"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := caddytest.BackendNamed(t, name)
			b.OrSkip(t)
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				direct := &url.URL{Scheme: "http", Host: caddytest.StartBackends(t, *b)[name]}
				proxy, reads := httputil.NewSingleHostReverseProxy(direct), new(atomic.Int64)
				counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" {
						reads.Add(1)
					}
					proxy.ServeHTTP(w, r)
				})
				options := b.Options[0] + "\nwait 1m\nlease 1m\nretention 2m\nverify never\nwrite_etag off\naffects / /**"
				test(t, davSite{deploy(t, options, counted), direct.String(), reads})
			})
		})
	}
}

// create makes a collection with two documents, one of them in a subcollection.
func (s davSite) create(t *testing.T, name string) {
	t.Helper()
	for _, path := range []string{"/", "/sub/"} {
		caddytest.Send(t, "MKCOL", s.Random()+name+path, "").Expect(t, 201)
	}
	for _, path := range members {
		caddytest.Send(t, "PUT", s.Random()+name+path, "of "+name, "If-None-Match", "*").ExpectSuccess(t)
	}
}

var members = []string{"/1.json", "/sub/2.json"}

// stored returns the content that the server itself has, or "".
func (s davSite) stored(t *testing.T, path string) string {
	t.Helper()
	if a := caddytest.Send(t, "GET", s.direct+path, ""); a.StatusCode != 404 {
		return a.Expect(t, 200).Content
	}
	return ""
}

// When a collection is deleted, moved or copied, the handler knows which documents
// that changes: members that are gone, new or replaced, and nothing else.
func TestTreesBackends(t *testing.T) {
	t.Parallel()
	onEveryDAV(t, func(t *testing.T, s davSite) {
		for _, tt := range []struct {
			method      string
			destination bool // whether the request has one
			replaces    bool // whether something exists there already
		}{
			{"DELETE", false, false},
			{"MOVE", true, false},
			{"COPY", true, false},
			{"MOVE", true, true},
			{"COPY", true, true},
		} {
			name := tt.method
			if tt.replaces {
				name += " over another"
			}
			t.Run(name, func(t *testing.T) {
				suffix := strings.ReplaceAll(name, " ", "")
				from, to, else_ := "/from"+suffix, "/to"+suffix, "/else"+suffix
				s.create(t, from)
				s.create(t, else_)
				if tt.replaces {
					s.create(t, to)
				}
				tags := make(map[string]string)
				for _, dir := range []string{from, to, else_} {
					for _, member := range append(slices.Clone(members), "/absent.json") {
						path := dir + member
						tags[path] = caddytest.Send(t, "GET", s.First()+path, "").Header.Get("ETag")
					}
				}
				fields := []string{"Destination", s.Other() + to + "/", "Overwrite", "T"}
				if !tt.destination {
					fields = nil
				}
				caddytest.Send(t, tt.method, s.Other()+from+"/", "", fields...).ExpectSuccess(t)

				put := func(path, content string, fields ...string) caddytest.Answer {
					return caddytest.Send(t, "PUT", s.First()+path, content, fields...)
				}
				believed := func(path string, fields ...string) {
					t.Helper()
					before := s.reads.Load()
					put(path, "new", fields...).ExpectSuccess(t)
					if n := s.reads.Load() - before; n != 0 {
						t.Errorf("%d reads of %s, want none: its state is known", n, path)
					}
				}
				for _, member := range members {
					if tt.destination {
						put(to+member, "stale", "If-None-Match", "*").Expect(t, 412)
						if tt.replaces {
							put(to+member, "stale", "If-Match", tags[to+member]).Expect(t, 412)
						}
						if got := s.stored(t, to+member); got != "of "+from {
							t.Errorf("%s has %q", to+member, got)
						}
						put(to+member, "new", "If-Match", caddytest.Send(t, "GET", s.First()+to+member, "").Tag(t)).ExpectSuccess(t)
					}
					if tt.method == "COPY" {
						believed(from+member, "If-Match", tags[from+member])
					} else {
						put(from+member, "stale", "If-Match", tags[from+member]).Expect(t, 412)
						if got := s.stored(t, from+member); got != "" {
							t.Errorf("%s still exists, with %q", from+member, got)
						}
					}
					believed(else_+member, "If-Match", tags[else_+member])
				}
				believed(else_+"/absent.json", "If-None-Match", "*")
			})
		}
	})
}

// No confirmed edit is undone while the collection is moved back and forth.
func TestTreesBackendsContest(t *testing.T) {
	t.Parallel()
	const edits = 10
	onEveryDAV(t, func(t *testing.T, s davSite) {
		s.create(t, "/a")
		read, done := make(chan struct{}), make(chan struct{})
		var editors sync.WaitGroup
		for _, member := range members {
			editors.Go(func() { s.edit(t, member, edits, read) })
		}
		go func() {
			editors.Wait()
			close(done)
		}()
		ways, moves := [][2]string{{"/a", "/z"}, {"/z", "/a"}}, 0
		for editing := true; editing; {
			select {
			case <-read: // makes the edit and the move overlap
				node, way := s.Random(), ways[moves%2]
				caddytest.Send(t, "MOVE", node+way[0]+"/", "", "Destination", node+way[1]+"/").ExpectSuccess(t)
				moves++
			case <-done:
				editing = false
			}
		}
		if moves == 0 {
			t.Error("nothing was moved")
		}
		for _, member := range members {
			if got, want := s.stored(t, ways[moves%2][0]+member), "of /a"+strings.Repeat(".", edits); got != want {
				t.Errorf("of %d confirmed edits of %s, %d are left", edits, member, strings.Count(got, "."))
			}
		}
	})
}

// edit appends to a document, wherever it finds it, until the given number of edits
// was confirmed. It signals on read whenever it has read the document, if anybody
// is listening.
func (s davSite) edit(t *testing.T, member string, edits int, read chan<- struct{}) {
	for made := 0; made < edits; {
		for _, dir := range []string{"/a", "/z"} {
			a, err := caddytest.Try(context.Background(), "GET", s.Random()+dir+member, "")
			if err != nil || a.StatusCode != 200 || made == edits {
				continue
			}
			select {
			case read <- struct{}{}:
			default:
			}
			a, err = caddytest.Try(context.Background(), "PUT", s.Random()+dir+member, a.Content+".", "If-Match", a.Header.Get("ETag"))
			switch {
			case err == nil && a.StatusCode/100 == 2:
				made++
			case err != nil || a.StatusCode != 412 && a.StatusCode != 403: // 403: Apache's, while it moves the collection
				t.Errorf("%v %v", a.Response, err)
				return
			}
		}
	}
}
