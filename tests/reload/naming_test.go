package reload

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// renaming is a reload after which one write claims something else than before.
type renaming struct {
	name          string
	before, after string // options
	method, path  string // of a write before the reload
	contested     string // path of a write afterwards, on which the first has a bearing
	status        int    // of that write, once the first has ended
}

// renamings are reloads of every kind. In the old config, no write sees the other.
var renamings = []renaming{
	{"the key", "", "key site{http.request.uri.path}", "PUT", "/docs/a", "/docs/a", 412},
	{"affects", "", "affects /docs/a /docs/b", "PUT", "/docs/a", "/docs/b", 204},
	{"affects is dropped", "affects /docs/a /docs/b", "affects /docs/a /docs/c", "PUT", "/docs/c", "/docs/a", 204},
	{"a tree", "", "affects /import /docs/**", "DELETE", "/docs/d", "/docs/a", 204},
	{"guards", "", "guards /docs/b /docs/a", "PUT", "/docs/b", "/docs/a", 204},
}

// started is a site with documents, and a write in flight that a gate holds.
type started struct {
	*reloadable
	gate  *caddytest.Gate
	docs  *legacydocs.Service
	tag   string // of what is contested
	first <-chan caddytest.Result
}

func (n renaming) start(t *testing.T, options string) *started {
	t.Helper()
	g := caddytest.NewGate()
	s := &started{gate: g, docs: legacydocs.New(legacydocs.Options{Before: g.Pass})}
	for _, path := range []string{"/docs/a", "/docs/b", "/docs/c", "/docs/d"} {
		caddytest.Bypass(t, s.docs, "PUT", path, "old")
	}
	s.reloadable = loadReloadable(t, n.before+"\n"+options, caddytest.Serve(t, s.docs))
	s.tag = caddytest.Send(t, "GET", s.URL+n.contested, "").Tag(t)
	condition := caddytest.Send(t, "GET", s.URL+n.path, "").Tag(t)
	s.first = g.Send(t.Context(), t, n.method, s.URL+n.path, "first", "If-Match", condition)
	return s
}

// A write under names that a reload has brought waits for those in flight under names
// that it has removed. With one tag, only one of them succeeds.
func TestRenamedWritesExcludeEachOther(t *testing.T) {
	for _, n := range renamings {
		for _, trust := range []string{"verify passing", "verify never"} {
			t.Run(n.name+", "+trust, func(t *testing.T) {
				t.Run("in vain", func(t *testing.T) {
					s := n.start(t, trust)
					s.reload(t, n.after+"\nwait 1ms\n"+trust)
					for _, fields := range [][]string{{"If-Match", s.tag}, nil} {
						a := caddytest.Send(t, "PUT", s.URL+n.contested, "second", fields...).Expect(t, 503).ExpectOutcome(t, "conflict")
						if a.Header.Get("Retry-After") == "" {
							t.Error("no Retry-After")
						}
					}
					s.gate.Open()
					caddytest.ExpectResult(t, s.first, 204).ExpectOutcome(t, "passed")
				})
				t.Run("until it ends", func(t *testing.T) {
					s := n.start(t, trust)
					s.reload(t, n.after+"\nwait 1m\n"+trust)
					// What is read now is known under the new names. It must not be believed after
					// the first write.
					caddytest.Send(t, "GET", s.URL+n.contested, "").Expect(t, 200)
					before := len(s.docs.Writes())
					second := caddytest.Go(t.Context(), "PUT", s.URL+n.contested, "second", "If-Match", s.tag)
					s.gate.Open()
					caddytest.ExpectResult(t, s.first, 204).ExpectOutcome(t, "passed")
					caddytest.ExpectResult(t, second, n.status)
					writes := s.docs.Writes()[before:]
					if len(writes) == 0 || writes[0].Path != n.path {
						t.Errorf("writes %v: the first one should come first", writes)
					}
				})
			})
		}
	}
}

// A request that the old config still has when the new one has begun to let writes
// through is refused. Before that, it succeeds, and the new config waits for it.
func TestLateWriteUnderRemovedNames(t *testing.T) {
	for _, n := range renamings {
		t.Run(n.name, func(t *testing.T) {
			g := caddytest.NewGate()
			auth := caddytest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { g.Pass(r) }))
			docs := legacydocs.New(legacydocs.Options{})
			for _, path := range []string{"/docs/a", "/docs/b", "/docs/c", "/docs/d"} {
				caddytest.Bypass(t, docs, "PUT", path, "old")
			}
			r := loadReloadable(t, n.before, caddytest.Serve(t, docs)+"\nforward_auth "+auth+" {\nuri /\n"+caddytest.DialsFirst+"}")
			late := func(content string) <-chan caddytest.Result {
				t.Helper()
				tag := caddytest.Send(t, "GET", r.URL+n.path, "").Tag(t)
				return g.SendHolding(t.Context(), t, "GET", n.method, r.URL+n.path, content, "If-Match", tag)
			}
			one := late("one")
			two := late("two")
			r.reload(t, n.after)
			tag := caddytest.Send(t, "GET", r.URL+n.contested, "").Tag(t)
			caddytest.Send(t, "PUT", r.URL+n.contested, "new", "If-Match", tag).Expect(t, 204)
			g.Open()
			for _, refused := range []<-chan caddytest.Result{one, two} {
				a := caddytest.ExpectResult(t, refused, 503).ExpectOutcome(t, "conflict")
				if a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			for _, w := range docs.Writes() {
				if w.Body == legacydocs.Digest([]byte("one")) || w.Body == legacydocs.Digest([]byte("two")) || w.Method == "DELETE" {
					t.Errorf("written: %v", w)
				}
			}
		})
	}
}

// A config that fails to load changes nothing, whatever names it brings.
func TestFailedReloadRenamesNothing(t *testing.T) {
	for _, n := range renamings {
		t.Run(n.name, func(t *testing.T) {
			s := n.start(t, "verify never")
			url := s.URL
			for range 2 {
				broken := s.with(t, n.after) + "http://127.0.0.1:1 {\nroute {\npreconditions {\nstore redis {env.NO_SUCH_VARIABLE}\n}\n}\n}\n"
				if err := caddytest.Reload(t, broken); err == nil {
					t.Fatal("no error")
				}
			}
			s.URL = url
			// A write that is independent of the first succeeds beside it.
			other := caddytest.Send(t, "GET", s.URL+"/docs/d", "").Tag(t)
			if n.path != "/docs/d" {
				caddytest.Send(t, "PUT", s.URL+"/docs/d", "beside", "If-Match", other).Expect(t, 204)
			}
			s.gate.Open()
			caddytest.ExpectResult(t, s.first, 204)
			if n.path == n.contested {
				caddytest.Send(t, "PUT", s.URL+n.contested, "late", "If-Match", s.tag).Expect(t, 412)
			}
		})
	}
}

// Hosts whose names stay wait for nobody, and their late requests are served.
func TestKeptNamesAreNotAffected(t *testing.T) {
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	for _, path := range []string{"/docs/a", "/docs/b"} {
		caddytest.Bypass(t, docs, "PUT", path, "old")
	}
	backend := caddytest.Serve(t, docs)
	kept := named{"kept.example", "key kept{http.request.uri.path}"}
	send := func(url, path, host, content, tag string) caddytest.Answer {
		t.Helper()
		return caddytest.Send(t, "PUT", url+path, content, "If-Match", tag, "Host", host)
	}
	url := loadNamed(t, backend, kept, named{"renamed.example", "key one{http.request.uri.path}"})
	a := caddytest.Send(t, "GET", url+"/docs/a", "", "Host", "kept.example").Tag(t)
	b := caddytest.Send(t, "GET", url+"/docs/b", "", "Host", "renamed.example").Tag(t)
	first := g.Send(t.Context(), t, "PUT", url+"/docs/b", "first", "If-Match", b, "Host", "renamed.example")
	url = reloadNamed(t, backend, kept, named{"renamed.example", "key two{http.request.uri.path}"})
	send(url, "/docs/b", "renamed.example", "second", b).Expect(t, 503)
	send(url, "/docs/a", "kept.example", "x", a).Expect(t, 204)
	g.Open()
	caddytest.ExpectResult(t, first, 204)
	send(url, "/docs/b", "renamed.example", "second", b).Expect(t, 412)
}

// A write that the backend hasn't answered can land until its lease is over. Until
// then, it excludes writes under new names.
func TestUnansweredWriteUnderRemovedNames(t *testing.T) {
	for _, n := range renamings[:2] {
		t.Run(n.name, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{})
			for _, path := range []string{"/docs/a", "/docs/b", "/docs/c", "/docs/d"} {
				caddytest.Bypass(t, docs, "PUT", path, "old")
			}
			backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Hold") == r.Method {
					g.Pass(r)
					panic(http.ErrAbortHandler) // without an answer
				}
				docs.ServeHTTP(w, r)
			})
			const lease = "lease 2s\nretention 1h\n"
			r := loadReloadable(t, n.before+"\n"+lease, caddytest.Serve(t, backend))
			tag := caddytest.Send(t, "GET", r.URL+n.contested, "").Tag(t)
			condition := caddytest.Send(t, "GET", r.URL+n.path, "").Tag(t)
			first := g.Send(t.Context(), t, n.method, r.URL+n.path, "first", "If-Match", condition)
			r.reload(t, n.after+"\nwait 1ms\n"+lease)
			g.Open()
			caddytest.ExpectResult(t, first, 502)
			caddytest.Send(t, "PUT", r.URL+n.contested, "second", "If-Match", tag).Expect(t, 503).ExpectOutcome(t, "conflict")
			r.reload(t, n.after+"\nwait 1m\n"+lease)
			caddytest.Send(t, "PUT", r.URL+n.contested, "second", "If-Match", tag).Expect(t, 204)
		})
	}
}

// So does a write that goes on without the store, and that only the journal knows.
func TestWriteWithoutStoreUnderRemovedNames(t *testing.T) {
	m := caddytest.UsedMiniredis(t)
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
	redis := "store redis redis://" + m.Addr() + " {\ntimeout 5s\n}\nverify never\n"
	r := loadReloadable(t, redis, caddytest.Serve(t, docs))
	tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
	back := caddytest.TakeAway(t, m)
	first := g.Send(t.Context(), t, "PUT", r.URL+"/docs/a", "first")
	back()
	r.reload(t, redis+"wait 1s\nkey new{http.request.uri.path}")
	caddytest.Send(t, "GET", r.URL+"/docs/a", "").Expect(t, 200)
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "second", "If-Match", tag).Expect(t, 503).ExpectOutcome(t, "conflict")
	g.Open()
	caddytest.ExpectResult(t, first, 204)
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "second", "If-Match", tag).Expect(t, 412)
}

// Several reloads in a row, back and forth, let no two writers through with one tag,
// even where nobody asks the origin.
func TestNamesThatComeBack(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
	one, two := "verify never\nkey one{http.request.uri.path}", "verify never\nkey two{http.request.uri.path}"
	r := loadReloadable(t, one, caddytest.Serve(t, docs))
	tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
	r.reload(t, two)
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "new", "If-Match", tag).Expect(t, 204)
	r.reload(t, one)
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "lost update", "If-Match", tag).Expect(t, 412)
}

// With a store that other nodes may share, the operator is told that these don't know
// the new names, and where the steps are that keep writes apart.
func TestRenamingASharedStoreIsLogged(t *testing.T) {
	m := miniredis.RunT(t)
	redis := "\nstore redis redis://" + m.Addr()
	for _, tt := range []struct {
		name, before, after string
		logged              bool
	}{
		{"another key in redis", redis, "key x{http.request.uri.path}" + redis, true},
		{"another option in redis", redis, "wait 1s" + redis, false},
		{"another timeout", redis, redis + " {\ntimeout 1s\n}", false},
		{"another key in memory", "", "key x{http.request.uri.path}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			load := func(options string) {
				t.Helper()
				global := strings.Replace(caddytest.GlobalOptions, "level ERROR", "level WARN\noutput file "+file, 1)
				caddytest.LoadCaddyfile(t, global+fmt.Sprintf("http://%s {\npreconditions {\n%s\n}\n}\n", caddytest.Address(t), options))
			}
			load(tt.before)
			load(tt.after)
			logs, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if got := strings.Contains(string(logs), `see \"On several nodes\" in docs/operations.md`); got != tt.logged {
				t.Errorf("logged: %v, want %v\n%s", got, tt.logged, logs)
			}
		})
	}
}
