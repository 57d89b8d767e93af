package reload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// reloads is how often the config is changed under load.
func reloads() int {
	if testing.Short() {
		return 10
	}
	return 50
}

// user is a client that reads and edits documents while the config is changed. A
// request may end without an answer: Caddy closes the old config's connections, even
// if a request is just arriving, and resets those that wait at its listener.
type user struct {
	name    string
	paths   []string // shared with other users; nil if each user edits its own documents
	renamed bool     // whether a late write may be refused, because the names have changed

	answered                     atomic.Int64 // writes that got an answer, whichever it is
	own                          int
	edits, written, failed, read int
	broken                       int      // requests without an answer
	unknown                      []string // digests of the contents of the broken writes
}

// path returns a document to work on.
func (u *user) path() string {
	if u.paths == nil {
		return fmt.Sprintf("/docs/%s-%d", u.name, u.own)
	}
	return u.paths[rand.IntN(len(u.paths))]
}

// work makes one change. It returns an error if an answer shows trouble inside Caddy.
func (u *user) work(base string) error {
	path := u.path()
	read, err := caddytest.Try(context.Background(), "GET", base+path, "")
	if err != nil {
		u.broken++
		return nil
	}
	content := fmt.Sprintf("edit %d by %s", u.edits, u.name)
	fields := []string{"If-None-Match", "*", "X-Based-On", ""}
	switch tag := read.Header.Get("ETag"); {
	case read.StatusCode == 404 && u.paths == nil:
	case read.StatusCode != 200 || tag == "":
		return fmt.Errorf("GET %s: %s, ETag %q, %s", path, read.Status, tag, read.Content)
	default:
		fields = []string{"If-Match", tag, "X-Based-On", legacydocs.Digest([]byte(read.Content))}
	}
	u.read++
	u.edits++
	a, err := caddytest.Try(context.Background(), "PUT", base+path, content, fields...)
	switch {
	case err != nil:
		u.broken++
		u.unknown = append(u.unknown, legacydocs.Digest([]byte(content)))
		u.own++ // the next write goes to a different document, whatever became of this one
	case a.StatusCode == 204, a.StatusCode == 201:
		u.written++
		u.answered.Add(1)
	case a.StatusCode == 412 && u.paths != nil, a.StatusCode == 503 && u.renamed && a.Header.Get("Retry-After") != "":
		u.failed++
		u.answered.Add(1)
	default:
		return fmt.Errorf("PUT %s: %s, %s", path, a.Status, a.Content)
	}
	return nil
}

// connectionsOf counts the connections of a Redis server except the one of c.
func connectionsOf(t testing.TB, c *redis.Client) int {
	t.Helper()
	list, err := c.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(list, "\n") - 1
}

// Clients that read and write at one address notice nothing of repeated reloads. No
// update is lost, and nothing of the old configs remains.
func TestReloadsUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	count := server.Client()
	// Each test has its own prefixes: entries that an earlier store left behind would be
	// stale. An unused prefix is like a store that has lost its data, so a write would have
	// to wait for the grace.
	for i := range reloads() + 1 {
		caddytest.EndGrace(t, server.Addr, fmt.Sprintf("other%d:", i), fmt.Sprintf("another%d:", i))
	}
	caddytest.EndGrace(t, server.Addr, "same0:", "failing0:", "turns0:", "renamed0:")
	at := func(test string, i int) string {
		return fmt.Sprintf("store redis redis://%s {\nprefix %s%d:\ntimeout 5s\n}", server.Addr, test, i)
	}
	const broken = "http://127.0.0.1:1 {\nroute {\npreconditions\npreconditions {\nstore redis {env.NO_SUCH_VARIABLE}\n}\n}\n}\n"
	for _, tt := range []struct {
		name    string
		options func(i int) string
		fails   bool // whether every second reload fails
		shared  bool // whether several edit one document
		renames bool
	}{
		{"the same memory", func(int) string { return "" }, false, true, false},
		{"the same memory, and reloads that fail", func(int) string { return "verify never" }, true, true, false},
		{"the same redis", func(int) string { return at("same", 0) }, false, true, false},
		{"the same redis, and reloads that fail", func(int) string { return at("failing", 0) + "\nverify never" }, true, true, false},
		{"another key each time", func(i int) string { return fmt.Sprintf("verify never\nkey %d{http.request.uri.path}", i) }, false, true, true},
		{"two keys in turn, and reloads that fail", func(i int) string { return fmt.Sprintf("verify never\nkey %d{http.request.uri.path}", i/2%2) }, true, true, true},
		{"two keys in turn, in redis", func(i int) string {
			return at("renamed", 0) + fmt.Sprintf("\nverify never\nkey %d{http.request.uri.path}", i%2)
		}, false, true, true},
		// Writes that began before a change of store don't see those that began after
		// it. The README says so.
		{"a different redis each time", func(i int) string { return at("other", i) }, false, false, false},
		{"a different redis each time, and reloads that fail", func(i int) string { return at("another", i) }, true, false, false},
		// A store that is used again has tags that are no longer current.
		{"redis and memory in turn", func(i int) string { return []string{"", at("turns", 0)}[i%2] + "\nverify all" }, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{Delay: 2 * time.Millisecond, MaxDocuments: 100_000})
			backend, address := caddytest.Serve(t, docs), caddytest.Address(t)
			base := "http://" + address
			// The proxy of an old config would keep its connections open for a while.
			site := func(i int) string {
				return fmt.Sprintf("http://%s {\n%s\n}\n", address,
					caddytest.Guarded(tt.options(i), backend+" {\ntransport http {\nkeepalive off\n}\n}"))
			}
			for _, path := range caddytest.SharedDocs {
				caddytest.Bypass(t, docs, "PUT", path, "new")
			}
			caddytest.Load(t, site(0))
			caddytest.Send(t, "GET", base+caddytest.SharedDocs[0], "").Expect(t, 200)
			goroutines := runtime.NumGoroutine()
			seeds := len(docs.Writes())

			var users []*user
			for i := range 6 {
				u := &user{name: fmt.Sprint("user", i), renamed: tt.renames}
				if tt.shared && i < 4 {
					u.paths = caddytest.SharedDocs
				}
				users = append(users, u)
			}
			var stop atomic.Bool
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop.Store(true)
			for _, u := range users {
				wg.Go(func() {
					for !stop.Load() {
						if err := u.work(base); err != nil {
							t.Errorf("%s: %v", u.name, err)
							return
						}
					}
				})
			}
			begun := time.Now()
			for i := range reloads() {
				config := site(i + 1)
				if tt.fails && i%2 == 0 {
					if err := caddytest.Reload(t, config+broken); err == nil {
						t.Error("a reload that should fail succeeds")
					}
				} else if err := caddytest.Reload(t, config); err != nil {
					t.Error(err)
				}
				if t.Failed() {
					break
				}
				var enough []int64
				for _, u := range users {
					enough = append(enough, u.answered.Load()+2)
				}
				for i, u := range users {
					caddytest.Eventually(t, u.name+" goes on", func() bool { return u.answered.Load() >= enough[i] || t.Failed() })
				}
			}
			took := time.Since(begun)
			stop.Store(true)
			wg.Wait()

			record := docs.Writes()[seeds:]
			applied := make(map[string]bool)
			for _, w := range record {
				applied[w.Body] = true
				if w.Previous != w.BasedOn {
					t.Errorf("an update was lost: %+v", w)
				}
			}
			var sum user
			landed := 0
			for _, u := range users {
				sum.read, sum.written, sum.failed, sum.broken = sum.read+u.read, sum.written+u.written, sum.failed+u.failed, sum.broken+u.broken
				for _, body := range u.unknown {
					if applied[body] {
						landed++
					}
				}
			}
			if len(record) != sum.written+landed {
				t.Errorf("the backend applied %d writes: %d were confirmed to a client, and %d got no answer", len(record), sum.written, landed)
			}
			if sum.written < 2*reloads() {
				t.Errorf("only %d writes were made", sum.written)
			}
			if sum.broken > 6*reloads() {
				t.Errorf("%d requests got no answer", sum.broken)
			}
			connections := 0
			caddytest.Eventually(t, "nothing is left of the old configs", func() bool {
				caddytest.Client.CloseIdleConnections()
				connections = connectionsOf(t, count)
				// A pool has no more than 10 connections for each CPU.
				return runtime.NumGoroutine() <= goroutines+20 && connections <= 5+10*runtime.GOMAXPROCS(0)
			})
			t.Logf("%d reloads in %v: %d read, %d written, %d refused, %d without an answer (%d of which written); %d goroutines before, %d after; %d connections at Redis",
				reloads(), took.Round(time.Millisecond), sum.read, sum.written, sum.failed, sum.broken, landed, goroutines, runtime.NumGoroutine(), connections)
		})
	}
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	caddytest.Eventually(t, "no connection is left", func() bool { return connectionsOf(t, count) <= 0 })
}

// If the config changes several times while the backend performs a write, the write
// is settled in the store in which it began, and its client gets the answer.
func TestWriteAcrossReloads(t *testing.T) {
	server := redistest.Start(t)
	for _, prefix := range []string{"conditional-one:", "conditional-two:", "unconditional-one:", "unconditional-two:"} {
		caddytest.EndGrace(t, server.Addr, prefix)
	}
	c := server.Client()
	at := func(prefix string) string {
		return fmt.Sprintf("store redis redis://%s {\nprefix %s:\ntimeout 5s\n}\nverify never\nlease 1s\nwait 4s", server.Addr, prefix)
	}
	for _, method := range []string{"conditional", "unconditional"} {
		t.Run(method, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			path := "/docs/" + method
			caddytest.Bypass(t, docs, "PUT", path, "old")
			one, two := method+"-one", method+"-two"
			r := loadReloadable(t, at(one), caddytest.Serve(t, docs))
			tag := caddytest.Send(t, "GET", r.URL+path, "").Tag(t)
			var fields []string
			if method == "conditional" {
				fields = []string{"If-Match", tag}
			}
			first := g.Send(t.Context(), t, "PUT", r.URL+path, "slow", fields...)
			begun := time.Now()
			for i, options := range []string{at(one) + "\nbuffer 5MiB", at(two), "", at(two), at(one)} {
				r.reload(t, options)
				other := fmt.Sprintf("%s/docs/%s-%d", r.URL, method, i)
				caddytest.Send(t, "PUT", other, "meanwhile", "If-None-Match", "*").Expect(t, 201)
			}
			t.Logf("five reloads took %v", time.Since(begun))

			// The last config uses the first store again. There the write still blocks
			// others, for longer than its lease.
			competitor := caddytest.Go(context.Background(), "PUT", r.URL+path, "lost", "If-Match", tag)
			for begun := time.Now(); time.Since(begun) < 3*time.Second/2; {
				caddytest.Send(t, "GET", r.URL+path, "").Expect(t, 200)
			}
			select {
			case r := <-competitor:
				t.Errorf("a competitor did not wait: %v, %v", r.Response, r.Err)
			default:
			}
			g.Open()
			caddytest.ExpectResult(t, first, 204)
			if !t.Failed() {
				caddytest.ExpectResult(t, competitor, 412)
			}

			a := caddytest.Send(t, "GET", r.URL+path, "").Expect(t, 200)
			if a.Content != "slow" {
				t.Errorf("the document is %q", a.Content)
			}
			caddytest.Send(t, "PUT", r.URL+path, "next", "If-Match", a.Tag(t)).Expect(t, 204)
			// In the end, no store has a claim or pass left.
			caddytest.Eventually(t, "nothing is held", func() bool {
				keys, err := c.Keys(t.Context(), "*").Result()
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range keys {
					members, err := c.HKeys(t.Context(), key).Result()
					if err != nil {
						t.Fatal(err)
					}
					for _, member := range members {
						if strings.HasPrefix(member, "c:") || strings.HasPrefix(member, "p:") {
							return false
						}
					}
				}
				return len(keys) > 0
			})
		})
	}
}
