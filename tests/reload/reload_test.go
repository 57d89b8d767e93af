package reload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// reloadable is a site whose options can be changed.
type reloadable struct {
	URL     string
	backend string
}

func loadReloadable(t testing.TB, options, backend string) *reloadable {
	t.Helper()
	r := &reloadable{backend: backend}
	caddytest.Load(t, r.with(t, options))
	return r
}

// with returns the site with different options and at a new address. At the same
// address, the old config's listener could still accept connections for a moment and
// then drop them. The keys of resources don't depend on the port.
func (r *reloadable) with(t testing.TB, options string) string {
	t.Helper()
	address := caddytest.Address(t)
	r.URL = "http://" + address
	return fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(options, r.backend))
}

func (r *reloadable) reload(t testing.TB, options string) {
	t.Helper()
	if err := caddytest.Reload(t, r.with(t, options)); err != nil {
		t.Fatal(err)
	}
}

// Stored tags and running writes survive a reload that changes any options except those
// that select the store.
func TestReloadKeepsState(t *testing.T) {
	redis := "store redis redis://" + caddytest.UsedMiniredis(t).Addr() + "\n"
	for _, tt := range []struct{ name, before, after string }{
		{"the same config", "verify never\nwrite_etag off", "verify never\nwrite_etag off"},
		{"other options", "verify never\nwrite_etag off", "verify never\nwrite_etag off\nbuffer 5MiB\nwait 1s\nerrors caddy\ndisclose off\nrequire"},
		{"the default store, by name", "verify never\nwrite_etag off", "store memory\nverify never\nwrite_etag off"},
		{"a different bound of the memory store", "verify never\nwrite_etag off", "store memory {\nmax_entries 10\n}\nverify never\nwrite_etag off"},
		{"a different size of the memory store", "verify never\nwrite_etag off", "store memory {\nmax_size 100KiB\n}\nbuffer_total 64MiB\nverify never\nwrite_etag off"},
		{"redis", redis + "verify never\nwrite_etag off", redis + "verify never\nwrite_etag off\nwait 1s"},
		{"a store from a different module", "store test kept\nverify never\nwrite_etag off", "store test kept\nverify never\nwrite_etag off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, seen := caddytest.Watched(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			r := loadReloadable(t, tt.before, caddytest.Serve(t, docs))
			caddytest.Send(t, "PUT", r.URL+"/docs/b", "b").Expect(t, 201) // once the grace is over
			tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
			asked := seen.Asks(func() {
				r.reload(t, tt.after)
				caddytest.Send(t, "PUT", r.URL+"/docs/a", "b", "If-Match", `"stale"`).Expect(t, 412)
				caddytest.Send(t, "PUT", r.URL+"/docs/a", "b", "If-Match", tag).Expect(t, 204)
			})
			if asked != 0 {
				t.Errorf("the origin was asked %d times, want 0", asked)
			}
		})
	}
}

// The memory store has the bound that the last config sets.
func TestReloadWithAnotherBound(t *testing.T) {
	backend := caddytest.Page("content")
	bound := func(n int) string {
		return fmt.Sprintf("store memory {\nmax_entries %d\n}\nverify never\nwrite_etag off", n)
	}
	r := loadReloadable(t, bound(10), caddytest.Serve(t, backend))
	asked := func() int {
		t.Helper()
		tag := caddytest.Send(t, "GET", r.URL+"/a", "").Tag(t)
		caddytest.Send(t, "GET", r.URL+"/b", "").Expect(t, 200)
		return backend.Asks(func() { caddytest.Send(t, "PUT", r.URL+"/a", "x", "If-Match", tag).Expect(t, 204) })
	}
	for _, tt := range []struct{ bound, asks int }{{10, 0}, {1, 1}, {10, 0}} {
		r.reload(t, bound(tt.bound))
		if got := asked(); got != tt.asks {
			t.Errorf("with %d entries, the origin was asked %d times, want %d", tt.bound, got, tt.asks)
		}
	}
}

// Tags from one source don't count after a reload with a different one.
func TestReloadWithOtherTags(t *testing.T) {
	backend := caddytest.Page("content", "ETag", `"own"`)
	r := loadReloadable(t, "verify never\netag upstream", caddytest.Serve(t, backend))
	caddytest.Send(t, "GET", r.URL, "").Expect(t, 200)
	r.reload(t, "verify never\netag body")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", `"own"`).Expect(t, 412)
	tag := caddytest.Send(t, "GET", r.URL, "").Tag(t)
	r.reload(t, "verify never\netag upstream")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", `"own"`).Expect(t, 204)
}

// If a config can't be loaded, the old one continues to serve with its state.
func TestFailedReload(t *testing.T) {
	occupied := caddytest.Listen(t)
	defer occupied.Close()
	address, broken := caddytest.Address(t), "http://127.0.0.1:1 {\nroute {\npreconditions\n}\n%s\n}\n"

	docs, seen := caddytest.Watched(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	backend := caddytest.Serve(t, docs)
	with := func(options string) string {
		return fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(options, backend))
	}
	caddytest.Load(t, with("store test failed\nverify never\nwrite_etag off"))
	url := "http://" + address + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	store := caddytest.Opened(t, "failed")
	for name, config := range map[string]string{
		"another handler can't be provisioned":    with("store test failed") + fmt.Sprintf(broken, "preconditions {\nstore redis {env.NO_SUCH_VARIABLE}\n}"),
		"another module can't be provisioned":     with("store test failed") + fmt.Sprintf(broken, "@unknown expression no_such_function()\nrespond @unknown 200"),
		"the store of this handler can't be used": with("store redis {env.NO_SUCH_VARIABLE}"),
		"an address is taken":                     with("store test failed") + fmt.Sprintf("http://%s {\npreconditions\n}\n", occupied.Addr()),
	} {
		t.Run(name, func(t *testing.T) {
			if err := caddytest.Reload(t, config); err == nil {
				t.Fatal("no error")
			}
			if closed, _ := store.IsClosed(); closed {
				t.Fatal("the store of the old config is closed")
			}
			if got := seen.Asks(func() {
				caddytest.Send(t, "PUT", url, "b", "If-Match", `"stale"`).Expect(t, 412)
			}); got != 0 {
				t.Error("what was known is forgotten")
			}
		})
	}
	if got := seen.Asks(func() { caddytest.Send(t, "PUT", url, "b", "If-Match", tag).Expect(t, 204) }); got != 0 {
		t.Error("what was known is forgotten")
	}
	// The failed reloads hold no reference to the store: it closes once the last config
	// that uses it is replaced.
	if err := caddytest.Reload(t, with("")); err != nil {
		t.Fatal(err)
	}
	if closed, late := store.IsClosed(); !closed || late > 0 {
		t.Errorf("closed: %v, used afterwards: %d times", closed, late)
	}
}

// A write that is in flight during a reload keeps its claim.
func TestReloadDuringWrite(t *testing.T) {
	for _, tt := range []struct {
		name, wait string
		status     int // of the competitor
	}{
		{"a competitor waits in vain", "1ms", 503},
		{"a competitor waits for the write to end", "1m", 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			r := loadReloadable(t, "verify never", caddytest.Serve(t, docs))
			tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
			first := g.Send(t.Context(), t, "PUT", r.URL+"/docs/a", "b", "If-Match", tag)
			r.reload(t, "verify never\nwait "+tt.wait)
			url := r.URL + "/docs/a"

			competitor := caddytest.Go(t.Context(), "PUT", url, "c", "If-Match", tag)
			if tt.status == 503 {
				caddytest.ExpectResult(t, competitor, 503)
			}
			g.Open()
			caddytest.ExpectResult(t, first, 204).ExpectOutcome(t, "passed")
			if tt.status != 503 {
				caddytest.ExpectResult(t, competitor, tt.status)
			}

			a := caddytest.Send(t, "GET", url, "").Expect(t, 200)
			if a.Content != "b" {
				t.Errorf("got %q", a.Content)
			}
			caddytest.Send(t, "PUT", url, "d", "If-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", url, "d", "If-Match", a.Tag(t)).Expect(t, 204) // no claim is left
		})
	}
}

// A store that the new config doesn't use stays open until the old config's requests
// have ended.
func TestReloadToAnotherStore(t *testing.T) {
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	r := loadReloadable(t, "store test old", caddytest.Serve(t, docs))
	url := r.URL + "/docs/a"
	old := caddytest.Opened(t, "old")
	first := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t))

	r.reload(t, "store test new")
	if closed, _ := old.IsClosed(); closed {
		t.Fatal("closed while a request uses it")
	}
	g.Open()
	caddytest.ExpectResult(t, first, 204)
	caddytest.Eventually(t, "the old store is closed", func() bool {
		closed, _ := old.IsClosed()
		return closed
	})
	if _, late := old.IsClosed(); late > 0 {
		t.Errorf("used %d times after it was closed", late)
	}
	if closed, _ := caddytest.Opened(t, "new").IsClosed(); closed {
		t.Error("the new store is closed, too")
	}
}

// The same holds for Redis, where a different prefix makes a different store.
func TestReloadToAnotherPrefix(t *testing.T) {
	m := miniredis.RunT(t)
	caddytest.EndGrace(t, m.Addr(), "one:", "two:")
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	store := func(prefix string) string {
		return fmt.Sprintf("store redis redis://%s {\nprefix %s\ntimeout 5s\n}\n", m.Addr(), prefix)
	}
	r := loadReloadable(t, store("one:"), caddytest.Serve(t, docs))
	url := r.URL + "/docs/a"
	first := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t))
	r.reload(t, store("two:"))
	held := m.Dump()
	g.Open()
	caddytest.ExpectResult(t, first, 204)
	if m.Dump() == held || strings.Contains(m.Dump(), "\n   c:") {
		t.Errorf("the claim was not settled:\n%s", m.Dump())
	}
	url = r.URL + "/docs/a"
	caddytest.Send(t, "PUT", url, "c", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 204)
	for _, prefix := range []string{"one:", "two:"} {
		if !strings.Contains(m.Dump(), "- "+prefix) {
			t.Errorf("no entry has the prefix %s", prefix)
		}
	}
}

// A slow handler in front, such as one that authenticates, can hold a request until the
// last handler of its store is cleaned up. The request still succeeds: it opens the
// store again.
func TestReloadBeforeEntry(t *testing.T) {
	for _, conditional := range []bool{true, false} {
		t.Run(fmt.Sprintf("conditional: %v", conditional), func(t *testing.T) {
			server := caddytest.UsedRedis(t)
			count := server.Client()
			g := caddytest.NewGate()
			auth := caddytest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { g.Pass(r) }))
			docs := legacydocs.New(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			redis := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n%s", server.Addr, caddytest.Trusting)
			r := loadReloadable(t, redis, caddytest.Serve(t, docs)+"\nforward_auth "+auth+" {\nuri /\n"+caddytest.DialsFirst+"}")
			caddytest.Send(t, "PUT", r.URL+"/docs/b", "b").Expect(t, 201) // once the grace is over
			tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
			closed := func() bool { return connectionsOf(t, count) == 0 }

			fields, outcome := []string{"If-Match", tag}, "passed"
			if !conditional {
				fields, outcome = nil, "unconditional"
			}
			late := g.SendHolding(t.Context(), t, "GET", "PUT", r.URL+"/docs/a", "b", fields...)
			r.reload(t, "store memory")
			caddytest.Eventually(t, "the store is closed", closed)
			g.Open()
			caddytest.ExpectResult(t, late, 204).ExpectOutcome(t, outcome)
			caddytest.Eventually(t, "the store is closed again", closed)
			r.reload(t, redis)
			caddytest.Send(t, "PUT", r.URL+"/docs/a", "c", "If-Match", tag).Expect(t, 412)
		})
	}
}

// Resources written while the store was unreachable are invalidated before the store
// is trusted again, even if a reload has changed the store's settings by then.
func TestReloadWhileStoreIsAway(t *testing.T) {
	server := caddytest.UsedRedis(t)
	db := server.Client()
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	with := func(timeout string) string {
		return fmt.Sprintf("store redis redis://%s {\ntimeout %s\n}\n%s", server.Addr, timeout, caddytest.Trusting)
	}
	r := loadReloadable(t, with("5s"), caddytest.Serve(t, docs))
	caddytest.Send(t, "PUT", r.URL+"/docs/b", "b").Expect(t, 201) // once the grace is over
	tag := caddytest.Send(t, "GET", r.URL+"/docs/a", "").Tag(t)
	permit := func(scripts string) {
		t.Helper()
		if err := db.Do(t.Context(), "ACL", "SETUSER", "default", scripts).Err(); err != nil {
			t.Fatal(err)
		}
	}
	permit("-@scripting") // of which every call to the store is one
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "b").Expect(t, 204)
	r.reload(t, with("6s"))
	permit("+@scripting")
	caddytest.Send(t, "PUT", r.URL+"/docs/a", "c", "If-Match", tag).Expect(t, 412)
}

// If a node writes while it can't reach the store, the other nodes learn of the writes
// soon after the store is back, even if that node gets no further request.
func TestOthersAreTold(t *testing.T) {
	server := caddytest.UsedRedis(t)
	db := server.Client()
	cutOff := func(rights string) {
		t.Helper()
		if err := db.Do(t.Context(), "ACL", "SETUSER", "one", "on", ">one", "~*", "&*", "+@all", rights).Err(); err != nil {
			t.Fatal(err)
		}
	}
	cutOff("+@scripting")
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	var urls []string
	var sites strings.Builder
	for _, user := range []string{"username one\npassword one\n", ""} {
		address := caddytest.Address(t)
		urls = append(urls, "http://"+address)
		fmt.Fprintf(&sites, "http://%s {\n%s\n}\n", address, caddytest.Guarded(fmt.Sprintf(
			"store redis redis://%s {\ntimeout 5s\n%s}\n%s", server.Addr, user, caddytest.Trusting), caddytest.Serve(t, docs)))
	}
	caddytest.Load(t, sites.String())
	one, two := urls[0], urls[1]
	for _, url := range urls {
		caddytest.Send(t, "PUT", url+"/docs/b", "b") // once the grace is over
	}
	tag := caddytest.Send(t, "GET", two+"/docs/a", "").Tag(t)
	entry := func() string {
		t.Helper()
		fields, err := db.HGetAll(t.Context(), "caddy:preconditions:"+caddytest.Host(t)+"/docs/a").Result()
		if err != nil || len(fields) == 0 {
			t.Fatal(fields, err)
		}
		return fmt.Sprint(fields)
	}
	before := entry()
	cutOff("-@scripting") // of which every call to the store is one
	caddytest.Send(t, "PUT", one+"/docs/a", "b").Expect(t, 204)
	cutOff("+@scripting")
	caddytest.Eventually(t, "the document is marked as changed", func() bool { return entry() != before })
	caddytest.Send(t, "PUT", two+"/docs/a", "c", "If-Match", tag).Expect(t, 412)
}

// Reloads leak no goroutines or connections.
func TestReloadsLeakNothing(t *testing.T) {
	m := caddytest.UsedMiniredis(t)
	for i := range 22 {
		caddytest.EndGrace(t, m.Addr(), fmt.Sprintf("p%d:", i))
	}
	for name, options := range map[string]func(i int) string{
		"memory": func(int) string { return "verify never" },
		"redis":  func(int) string { return "store redis redis://" + m.Addr() },
		"a different redis each time": func(i int) string {
			return fmt.Sprintf("store redis redis://%s {\nprefix p%d:\n}", m.Addr(), i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			site := func(i int) (sites, url string) {
				address := caddytest.Address(t)
				// No proxy, as Caddy's proxies keep connections open.
				return fmt.Sprintf("http://%s {\npreconditions {\n%s\nlag 0s\n}\nrespond content\n}\n", address, options(i)), "http://" + address
			}
			use := func(i int) {
				t.Helper()
				sites, url := site(i)
				if err := caddytest.Reload(t, sites); err != nil {
					t.Fatal(err)
				}
				caddytest.Send(t, "PUT", url, "x", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 200)
				caddytest.Client.CloseIdleConnections()
			}
			sites, _ := site(0)
			caddytest.Load(t, sites)
			use(1)
			const bound = 10 // some come and go
			goroutines, connections := runtime.NumGoroutine(), m.CurrentConnectionCount()
			for i := range 20 {
				use(i + 2)
			}
			caddytest.Eventually(t, fmt.Sprintf("there are hardly more than %d goroutines and %d connections", goroutines, connections), func() bool {
				return runtime.NumGoroutine() <= goroutines+bound && m.CurrentConnectionCount() <= connections+bound
			})
		})
	}
}

// The metrics count all handlers and configs together.
func TestMetricsOutliveReloads(t *testing.T) {
	backend := caddytest.Page("content")
	directives := caddytest.Guarded("", caddytest.Serve(t, backend))
	directives += "\nhandle /two {\n" + strings.SplitN(directives, "\n", 2)[1] + "\n}"
	sites, url, metrics := caddytest.WithMetrics(t, directives)
	caddytest.Load(t, sites)
	before := caddytest.Counted(t, metrics, "failed", "enforce")
	for i := range 3 {
		caddytest.Send(t, "PUT", url, "x", "If-None-Match", "*").Expect(t, 412)
		caddytest.Send(t, "PUT", url+"/two", "x", "If-None-Match", "*").Expect(t, 412)
		if got, want := caddytest.Counted(t, metrics, "failed", "enforce")-before, 2*(i+1); got != want {
			t.Fatalf("counted %d after %d reloads, want %d", got, i, want)
		}
		sites, url, metrics = caddytest.WithMetrics(t, directives)
		if err := caddytest.Reload(t, sites); err != nil {
			t.Fatal(err)
		}
	}
}

// Two handlers of one config share what they know if they use the same store.
func TestTwoHandlers(t *testing.T) {
	docs, seen := caddytest.Watched(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	backend := caddytest.Serve(t, docs)
	one, two, apart := caddytest.Address(t), caddytest.Address(t), caddytest.Address(t)
	caddytest.Load(t, fmt.Sprintf(`
		http://%s {
			preconditions {
				verify never
			}
			reverse_proxy %s
		}
		http://%s {
			preconditions {
				store memory
				verify never
				write_etag off
				disclose off
			}
			reverse_proxy %s
		}
		http://%s {
			preconditions {
				store test apart
				verify never
			}
			reverse_proxy %s
		}`, one, backend, two, backend, apart, backend))
	tag := caddytest.Send(t, "GET", "http://"+one+"/docs/a", "").Tag(t)
	if got := seen.Asks(func() { caddytest.Send(t, "PUT", "http://"+two+"/docs/a", "b", "If-Match", tag).Expect(t, 204) }); got != 0 {
		t.Errorf("the second handler asked the origin %d times", got)
	}
	if got := seen.Asks(func() { caddytest.Send(t, "PUT", "http://"+apart+"/docs/a", "c", "If-Match", tag).Expect(t, 412) }); got != 1 {
		t.Errorf("the handler with a store of its own asked the origin %d times", got)
	}
}

// Only requests wait for Redis. Validating and loading a config don't.
func TestRedisAwayAtStart(t *testing.T) {
	silent, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	site := "http://" + caddytest.Address(t) + " {\npreconditions {\nstore redis redis://%s\n}\nrespond content\n}\n"

	t.Run("validation doesn't use the network", func(t *testing.T) {
		var config caddy.Config
		if err := json.Unmarshal(caddytest.Adapt(t, caddytest.GlobalOptions+fmt.Sprintf(site, silent.Addr())), &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Fatal(err)
		}
		expectNobody(t, silent)
	})

	// Once the config is loaded, the handler contacts the store by itself.
	t.Run("loading doesn't wait for the network", func(t *testing.T) {
		const timeout = 10 * time.Second
		begun := time.Now()
		caddytest.Load(t, fmt.Sprintf(site, fmt.Sprintf("%s {\ntimeout %s\n}", silent.Addr(), timeout)))
		if took := time.Since(begun); took >= timeout {
			t.Errorf("it took %s: it waited for a store that never answers", took)
		}
	})

	t.Run("caddy validate", func(t *testing.T) {
		out, err := runValidate(t, caddytest.GlobalOptions+fmt.Sprintf(site, caddytest.Address(t)))
		if err != nil || !bytes.Contains(out, []byte("Valid configuration")) {
			t.Errorf("%v:\n%s", err, out)
		}
	})

	t.Run("caddy validate reports file and line", func(t *testing.T) {
		out, err := runValidate(t, ":80\npreconditions {\n\tverify sometimes\n}\n")
		if err == nil || !bytes.Contains(out, []byte(`verify: must be`)) || !bytes.Contains(out, []byte("Caddyfile:3")) {
			t.Errorf("%v:\n%s", err, out)
		}
	})

	t.Run("caddy run", func(t *testing.T) {
		n := caddytest.StartNode(t, caddytest.Guarded("store redis redis://"+caddytest.Address(t), caddytest.Serve(t, caddytest.Page("content"))))
		tag := caddytest.Send(t, "GET", n.URL, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "GET", n.URL, "", "If-None-Match", tag).Expect(t, 304)
		caddytest.Send(t, "PUT", n.URL, "x", "If-Match", tag).Expect(t, 503)
		caddytest.Send(t, "PUT", n.URL, "x").Expect(t, 204)
	})
}

// expectNobody fails the test if a client connects.
func expectNobody(t testing.TB, l *net.TCPListener) {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err == nil {
		c.Close()
		t.Error("a client connected to the store")
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

// runValidate runs caddy validate in a process of its own.
func runValidate(t testing.TB, config string) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return caddytest.Command(t, t.TempDir(), "validate", "--config", file, "--adapter", "caddyfile").CombinedOutput()
}
