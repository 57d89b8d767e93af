package preconditions_test

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
)

// davSite is a server of collections that people really have, behind nodes.
type davSite struct {
	nodes
	direct string        // of the server itself
	reads  *atomic.Int64 // that it was asked for by the nodes
}

// onEveryDAV runs a test in front of every server of collections, with every
// store.
func onEveryDAV(t *testing.T, test func(t *testing.T, s davSite)) {
	t.Helper()
	for _, name := range []string{"nginx", "Apache httpd", "rclone"} {
		t.Run(name, func(t *testing.T) {
			b := backendNamed(t, name)
			b.orSkip(t)
			onEveryStore(t, func(t *testing.T, deploy deployment) {
				direct := &url.URL{Scheme: "http", Host: startBackends(t, *b)[name]}
				proxy, reads := httputil.NewSingleHostReverseProxy(direct), new(atomic.Int64)
				counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" {
						reads.Add(1)
					}
					proxy.ServeHTTP(w, r)
				})
				options := b.options[0] + "\nwait 1m\nlease 1m\nretention 2m\nverify never\nwrite_etag off\naffects / /**"
				test(t, davSite{deploy(t, options, counted), direct.String(), reads})
			})
		})
	}
}

// create makes a collection with two documents, one of them further below.
func (s davSite) create(t *testing.T, name string) {
	t.Helper()
	for _, path := range []string{"/", "/sub/"} {
		send(t, "MKCOL", s.random()+name+path, "").expect(t, 201)
	}
	for _, path := range members {
		send(t, "PUT", s.random()+name+path, "of "+name, "If-None-Match", "*").expectSuccess(t)
	}
}

var members = []string{"/1.json", "/sub/2.json"}

// stored returns what the server itself has, or "".
func (s davSite) stored(t *testing.T, path string) string {
	t.Helper()
	if a := send(t, "GET", s.direct+path, ""); a.StatusCode != 404 {
		return a.expect(t, 200).Content
	}
	return ""
}

// TestTreesBackends: when a collection is deleted, moved or copied, it is known of
// its members, and of those of what it replaces, and of nothing else.
func TestTreesBackends(t *testing.T) {
	onEveryDAV(t, func(t *testing.T, s davSite) {
		for _, tt := range []struct {
			method      string
			destination bool // whether there is one
			replaces    bool // whether there is something already
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
						tags[path] = send(t, "GET", s.first()+path, "").Header.Get("ETag")
					}
				}
				fields := []string{"Destination", s.other() + to + "/", "Overwrite", "T"}
				if !tt.destination {
					fields = nil
				}
				send(t, tt.method, s.other()+from+"/", "", fields...).expectSuccess(t)

				put := func(path, content string, fields ...string) answer {
					return send(t, "PUT", s.first()+path, content, fields...)
				}
				believed := func(path string, fields ...string) {
					t.Helper()
					before := s.reads.Load()
					put(path, "new", fields...).expectSuccess(t)
					if n := s.reads.Load() - before; n != 0 {
						t.Errorf("%d reads of %s, of which enough is known", n, path)
					}
				}
				for _, member := range members {
					if tt.destination {
						put(to+member, "stale", "If-None-Match", "*").expect(t, 412)
						if tt.replaces {
							put(to+member, "stale", "If-Match", tags[to+member]).expect(t, 412)
						}
						if got := s.stored(t, to+member); got != "of "+from {
							t.Errorf("%s has %q", to+member, got)
						}
						put(to+member, "new", "If-Match", send(t, "GET", s.first()+to+member, "").tag(t)).expectSuccess(t)
					}
					if tt.method == "COPY" {
						believed(from+member, "If-Match", tags[from+member])
					} else {
						put(from+member, "stale", "If-Match", tags[from+member]).expect(t, 412)
						if got := s.stored(t, from+member); got != "" {
							t.Errorf("%s is there, with %q", from+member, got)
						}
					}
					believed(else_+member, "If-Match", tags[else_+member])
				}
				believed(else_+"/absent.json", "If-None-Match", "*")
			})
		}
	})
}

// TestTreesBackendsContest: no edit that was confirmed is undone, while the
// collection is moved to and fro.
func TestTreesBackendsContest(t *testing.T) {
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
			case <-read: // so that the edit and the move meet
				node, way := s.random(), ways[moves%2]
				send(t, "MOVE", node+way[0]+"/", "", "Destination", node+way[1]+"/").expectSuccess(t)
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
				t.Errorf("of %d edits of %s there are %d", edits, member, strings.Count(got, "."))
			}
		}
	})
}

// edit adds to a document, wherever it is found, until it was told so often that
// this was made. It tells when it has read the document, if anybody cares.
func (s davSite) edit(t *testing.T, member string, edits int, read chan<- struct{}) {
	for made := 0; made < edits; {
		for _, dir := range []string{"/a", "/z"} {
			a, err := try(context.Background(), "GET", s.random()+dir+member, "")
			if err != nil || a.StatusCode != 200 || made == edits {
				continue
			}
			select {
			case read <- struct{}{}:
			default:
			}
			a, err = try(context.Background(), "PUT", s.random()+dir+member, a.Content+".", "If-Match", a.Header.Get("ETag"))
			switch {
			case err != nil || a.StatusCode/100 != 2 && a.StatusCode != 412:
				t.Errorf("%v %v", a.Response, err)
				return
			case a.StatusCode != 412:
				made++
			}
		}
	}
}
