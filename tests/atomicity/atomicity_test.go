package atomicity

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Of 32 writers that have seen the same state, exactly one is let through,
// whichever node it uses. Nothing from the others reaches the backend.
func TestAtomicContest(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"verify passing", "verify all", "verify never"} {
			t.Run(options, func(t *testing.T) {
				docs := legacydocs.New(legacydocs.Options{})
				n := deploy(t, options, docs)
				for _, c := range caddytest.Contests {
					for round := range caddytest.Rounds() {
						if winners := c.Hold(t, n, docs, fmt.Sprintf("/docs/%s-%d", c.Name, round)); winners != 1 {
							t.Errorf("%s, round %d: %d of %d writers won, want 1", c.Name, round, winners, caddytest.Writers)
						}
					}
				}
			})
		}
	})
}

// A proxy that checks and then forwards, without a claim, loses updates in the
// very same contests. This proves that the contests can detect a lost update.
func TestAtomicContestCanFail(t *testing.T) {
	for _, c := range caddytest.Contests[:2] { // not DELETE: the backend itself refuses the second one
		t.Run(c.Name, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{Delay: time.Millisecond})
			n := caddytest.Nodes{"http://" + caddytest.Serve(t, checkThenForward("http://"+caddytest.Serve(t, docs)))}
			lost := 0
			for round := range caddytest.Rounds() {
				if c.Hold(t, n, docs, fmt.Sprintf("/docs/%s-%d", c.Name, round)) > 1 {
					lost++
				}
			}
			t.Logf("updates were lost in %d of %d rounds", lost, caddytest.Rounds())
			if lost == 0 {
				t.Error("no update was lost")
			}
		})
	}
}

// checkThenForward returns the proxy that one would write without considering
// concurrent writers.
func checkThenForward(backend string) http.Handler {
	target, err := url.Parse(backend)
	if err != nil {
		panic(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		current, err := caddytest.Client.Get(backend + r.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer current.Body.Close()
		content, err := io.ReadAll(current.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		tag, exists := `"`+legacydocs.Digest(content)+`"`, current.StatusCode == http.StatusOK
		match, noneMatch := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("ETag", tag)
			w.WriteHeader(current.StatusCode)
			_, _ = w.Write(content)
		case match != "" && (!exists || match != tag), noneMatch == "*" && exists:
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			proxy.ServeHTTP(w, r)
		}
	})
}

// editor is a client that reads a document, changes it and writes it back,
// repeatedly.
type editor struct {
	name   string
	paths  []string
	leaves *departures // if set, the editor disconnects during its writes

	edits   int
	written int
	failed  int // answered with 412
	busy    int // answered with 503
	longest time.Duration
	left    []string // digests of the contents it sent without waiting for the response
}

// edit makes one change. No two contents are the same.
func (e *editor) edit(n caddytest.Nodes) error {
	path := e.paths[rand.IntN(len(e.paths))]
	read, err := caddytest.Try(context.Background(), "GET", n.Random()+path, "")
	if err != nil {
		return err
	}
	if read.StatusCode != 200 || read.Header.Get("ETag") == "" {
		return fmt.Errorf("GET %s: %s, ETag %q", path, read.Status, read.Header.Get("ETag"))
	}
	e.edits++
	content := fmt.Sprintf("edit %d by %s", e.edits, e.name)
	ctx, cancel := e.leaves.context(content, e.edits)
	defer cancel()
	begun := time.Now()
	a, err := caddytest.Try(ctx, "PUT", n.Random()+path, content,
		"If-Match", read.Header.Get("ETag"), "X-Based-On", legacydocs.Digest([]byte(read.Content)), "X-Edit", content)
	e.longest = max(e.longest, time.Since(begun))
	switch {
	case err != nil && ctx.Err() != nil:
		e.left = append(e.left, legacydocs.Digest([]byte(content)))
	case err != nil:
		return err
	case a.StatusCode == 204:
		e.written++
	case a.StatusCode == 412:
		e.failed++
	case a.StatusCode == 503 && a.Header.Get("X-Outcome") == "conflict" && a.Header.Get("Retry-After") != "":
		e.busy++
	default:
		return fmt.Errorf("PUT %s: %s, %s", path, a.Status, a.Content)
	}
	return nil
}

// departures makes clients leave during their writes: every second one as soon
// as the backend has applied the write, the others at a random moment.
type departures struct {
	onceApplied sync.Map // the name of the edit -> context.CancelFunc
}

// context returns the context of a write. A nil *departures never ends it.
func (d *departures) context(edit string, number int) (context.Context, context.CancelFunc) {
	switch {
	case d == nil:
		return context.Background(), func() {}
	case number%2 == 0:
		return context.WithTimeout(context.Background(), rand.N(20*time.Millisecond))
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.onceApplied.Store(edit, cancel)
	return ctx, cancel
}

// applied is a hook of legacydocs.
func (d *departures) applied(r *http.Request) int {
	if cancel, ok := d.onceApplied.Load(r.Header.Get("X-Edit")); ok && r.Method == http.MethodPut {
		cancel.(context.CancelFunc)()
	}
	return 0
}

// edit runs the editors concurrently and returns the writes that the backend
// applied.
func edit(t *testing.T, n caddytest.Nodes, docs *legacydocs.Service, editors []*editor) (record []legacydocs.Write) {
	t.Helper()
	for _, e := range editors {
		for _, path := range e.paths {
			caddytest.Bypass(t, docs, "PUT", path, "new")
		}
	}
	seeds := len(docs.Writes())
	ctx, cancel := context.WithTimeout(context.Background(), caddytest.DurationFromEnv(t, "PRECONDITIONS_FAULT_SECONDS", time.Second, 5*time.Second))
	defer cancel()
	var wg sync.WaitGroup
	for _, e := range editors {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := e.edit(n); err != nil {
					t.Errorf("%s: %v", e.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return docs.Writes()[seeds:]
}

// Every write replaces exactly the version that it is based on, every write is
// answered truthfully, and nobody is refused because of writers that don't
// exist. This holds whether the handler asks the origin again or trusts the
// store.
func TestAtomicEdits(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			docs := legacydocs.New(legacydocs.Options{Delay: 15 * time.Millisecond})
			n := caddytest.TwoNodes(t, options, docs)
			var editors, alone []*editor
			for i := range 8 {
				editors = append(editors, &editor{name: fmt.Sprint("editor ", i), paths: caddytest.SharedDocs})
			}
			for i := range 3 {
				alone = append(alone, &editor{name: fmt.Sprint("owner ", i), paths: []string{fmt.Sprint("/docs/own-", i)}})
			}
			all := append(editors, alone...)
			record := edit(t, n, docs, all)
			caddytest.ExpectNoneLost(t, record)

			written, failed := 0, 0
			for _, e := range all {
				written, failed = written+e.written, failed+e.failed
				if e.busy > 0 {
					t.Errorf("%s got 503 %d times", e.name, e.busy)
				}
			}
			t.Logf("%d edits were written, %d refused", written, failed)
			if len(record) != written {
				t.Errorf("the backend applied %d writes, but %d were reported as successful", len(record), written)
			}
			if written < 50 || failed < 20 {
				t.Error("there was too little contention")
			}
			for _, e := range alone {
				if e.failed > 0 || e.written < 10 {
					t.Errorf("%s, alone on its document: %d edits, %d refused", e.name, e.written, e.failed)
				}
			}
		})
	}
}

// A client that disconnects at any moment of its write causes no lost update.
func TestAtomicEditsOfClientsThatLeave(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		t.Parallel()
		leave := new(departures)
		docs := legacydocs.New(legacydocs.Options{Delay: 15 * time.Millisecond, After: leave.applied})
		n := deploy(t, fmt.Sprintf("lease %s", lease), docs)
		var editors []*editor
		for i := range 8 {
			e := &editor{name: fmt.Sprint("editor ", i), paths: caddytest.SharedDocs}
			if i%4 == 0 {
				e.leaves = leave
			}
			editors = append(editors, e)
		}
		record := edit(t, n, docs, editors)
		caddytest.ExpectNoneLost(t, record)

		applied := make(map[string]bool)
		for _, w := range record {
			applied[w.Body] = true
		}
		written, busy, left, landed := 0, 0, 0, 0
		for _, e := range editors {
			if e.longest > lease {
				t.Errorf("%s waited %v for a response", e.name, e.longest)
			}
			written, busy, left = written+e.written, busy+e.busy, left+len(e.left)
			for _, body := range e.left {
				if applied[body] {
					landed++
				}
			}
		}
		t.Logf("%d written, %d times 503, %d left, of which %d were written all the same", written, busy, left, landed)
		if len(record) != written+landed {
			t.Errorf("the backend applied %d writes; %d were reported as successful, and for %d the client had left", len(record), written, landed)
		}
		if written < 20 || landed == 0 || landed == left {
			t.Error("the clients did not leave both before and after their writes were applied")
		}
	})
}

// What a node remembers is no longer trusted after a write through a different
// node, even if nobody asks the origin.
func TestAtomicMemoryOfNode(t *testing.T) {
	t.Parallel()
	docs := legacydocs.New(legacydocs.Options{})
	n := caddytest.TwoNodes(t, "verify never", docs)
	for name, write := range map[string][]string{"conditional": {"If-Match", "*"}, "unconditional": nil} {
		t.Run(name, func(t *testing.T) {
			path := "/docs/" + name
			caddytest.Bypass(t, docs, "PUT", path, "old")
			tag := caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "GET", n.Other()+path, "").Expect(t, 200)
			caddytest.Send(t, "PUT", n.First()+path, "new", write...).Expect(t, 204)
			caddytest.Send(t, "PUT", n.Other()+path, "lost", "If-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", n.Other()+path, "created", "If-None-Match", "*").Expect(t, 412)
		})
	}
}

// A slow GET that read the old content doesn't bring the old tag back into the
// store, where it would be trusted.
func TestAtomicRefill(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := caddytest.NewGate()
		docs := legacydocs.New(legacydocs.Options{After: g.Pass})
		n := deploy(t, "verify never", docs)
		for _, tt := range []struct {
			name  string
			known bool // whether the old tag is known before the GET begins
			write []string
		}{
			{"known", true, []string{"If-Match", "*"}},
			{"unknown", false, []string{"If-Match", "*"}},
			{"known,unconditional", true, nil},
			{"unknown,unconditional", false, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				path := "/docs/" + tt.name
				caddytest.Bypass(t, docs, "PUT", path, "old")
				if tt.known {
					caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200)
				}
				slow := g.Send(context.Background(), t, "GET", n.First()+path, "")
				caddytest.Send(t, "PUT", n.Other()+path, "new", tt.write...).Expect(t, 204)
				g.Open()
				read := caddytest.ExpectResult(t, slow, 200)
				if read.Content != "old" {
					t.Fatalf("the slow GET read %q", read.Content)
				}

				failed := caddytest.Send(t, "PUT", n.First()+path, "lost", "If-Match", read.Tag(t)).Expect(t, 412)
				caddytest.Send(t, "PUT", n.Other()+path, "newer", "If-Match", failed.Tag(t)).Expect(t, 204)
				if got := caddytest.Bypass(t, docs, "GET", path, ""); got != "newer" {
					t.Errorf("the document is %q", got)
				}
			})
		}
	})
}

// A write that bypasses the handler is noticed if conditions are confirmed at
// the origin. If the user says that there are no such writes, it isn't noticed
// and an update is lost: that is what the option means.
func TestAtomicBypass(t *testing.T) {
	for _, tt := range []struct {
		options string
		status  int
	}{
		{"", 412},
		{"verify passing", 412},
		{"verify all", 412},
		{"verify 1ns", 412}, // the tag was stored longer ago than that
		{"verify 1h", 204},  // trusted until it is that old
		{"verify never", 204},
	} {
		t.Run(tt.options, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{})
			to := caddytest.OneNode(t, tt.options, docs).First() + "/docs/plan"
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "old")
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "around")
			caddytest.Send(t, "PUT", to, "new", "If-Match", tag).Expect(t, tt.status)
		})
	}
}

// A write that the backend refused has changed nothing. The tag stays valid, and
// the handler doesn't even ask for it again.
func TestAtomicBackendRefuses(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		var gets atomic.Int32
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			if r.Method == "GET" {
				gets.Add(1)
			}
			status, _ := strconv.Atoi(r.Header.Get("X-Refuse"))
			return status
		}})
		n := deploy(t, "verify never\nwrite_etag off\nlease 30s\nwait 300ms", docs)
		for _, status := range []string{"400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "423", "429"} {
			path := "/docs/" + status
			caddytest.Bypass(t, docs, "PUT", path, "old")
			tag := caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200).Tag(t)
			before := gets.Load()
			want, _ := strconv.Atoi(status)
			caddytest.Send(t, "PUT", n.First()+path, "refused", "If-Match", tag, "X-Refuse", status).Expect(t, want).ExpectOutcome(t, "passed")
			caddytest.Send(t, "PUT", n.Other()+path, "new", "If-Match", tag).Expect(t, 204)
			if got := gets.Load() - before; got != 0 {
				t.Errorf("%s: the backend got %d GETs, want 0", status, got)
			}
		}
	})
}

// With any other response, or with none, the backend may have applied the write.
// The old tag then doesn't pass.
func TestAtomicBackendApplies(t *testing.T) {
	t.Parallel()
	const drop, lease = "drop", time.Second
	docs := legacydocs.New(legacydocs.Options{After: func(r *http.Request) int {
		if r.Header.Get("X-Answer") == drop && r.Method != "GET" {
			panic(http.ErrAbortHandler) // closes the connection
		}
		status, _ := strconv.Atoi(r.Header.Get("X-Answer"))
		if r.Method == "GET" {
			status = 0
		}
		return status
	}})
	// applied sends a write that the backend applies before it answers as told.
	applied := func(t *testing.T, to, answer string, status int) (oldTag string) {
		t.Helper()
		caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
		oldTag = caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "PUT", to, "applied", "If-Match", oldTag, "X-Answer", answer).Expect(t, status)
		return oldTag
	}

	// The backend answered: the next write needn't wait.
	n := caddytest.OneNode(t, "verify never\nlease 30s\nwait 300ms", docs)
	for _, answer := range []string{"200", "207", "303", "408", "500", "501", "505"} {
		t.Run(answer, func(t *testing.T) {
			to := n.First() + "/docs/" + answer
			status, _ := strconv.Atoi(answer)
			oldTag := applied(t, to, answer, status)
			caddytest.Send(t, "PUT", to, "lost", "If-Match", oldTag).Expect(t, 412)
			if got := caddytest.Send(t, "GET", to, "").Content; got != "applied" {
				t.Errorf("the document is %q", got)
			}
		})
	}

	// The backend gave no answer, or one after which it may go on: it may still apply
	// the write, so others have to wait until the lease expires.
	for answer, status := range map[string]int{drop: 502, "202": 202, "502": 502, "503": 503, "504": 504, "524": 524, "599": 599} {
		t.Run("no answer: "+answer, func(t *testing.T) {
			t.Parallel()
			to := caddytest.OneNode(t, fmt.Sprintf("verify never\nlease %s\nwait 30s", lease), docs).First() + "/docs/no-" + answer
			begun := time.Now()
			oldTag := applied(t, to, answer, status)
			caddytest.Send(t, "PUT", to, "lost", "If-Match", oldTag).Expect(t, 412)
			if took := time.Since(begun); took < lease {
				t.Errorf("the next write waited only %v", took)
			}
			if got := caddytest.Send(t, "GET", to, "").Content; got != "applied" {
				t.Errorf("the document is %q", got)
			}
		})
	}
}

// A write that couldn't even be sent to the backend has changed nothing and
// delays nobody.
func TestAtomicBackendDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		verify string
		status int
	}{
		{"never", 502},
		{"passing", 503}, // the condition couldn't be confirmed
	} {
		t.Run(tt.verify, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{})
			address := caddytest.Address(t)
			backend := caddytest.ServeAt(t, address, docs)
			// With keep-alive, a write could fail later than in dialing.
			to := caddytest.OneNodeAt(t, caddytest.Guarded("lease 30s\nwait 300ms\nverify "+tt.verify,
				address+" {\ntransport http {\nkeepalive off\n}\n}")).First() + "/docs/plan"
			caddytest.Send(t, "PUT", to, "old").Expect(t, 201)
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)

			backend.Close()
			for range 2 {
				caddytest.Send(t, "PUT", to, "not sent", "If-Match", tag).Expect(t, tt.status)
			}
			caddytest.Send(t, "PUT", to, "not sent").Expect(t, 502)
			caddytest.ServeAt(t, address, docs)
			caddytest.Send(t, "PUT", to, "new", "If-Match", tag).Expect(t, 204)
		})
	}
}

// A single client never waits for its own last write, however slow the
// connection to the store is. With a wait of 1ms, it would be refused if it had
// to wait.
func TestAtomicAlone(t *testing.T) {
	t.Parallel()
	const times = 10
	alone := func(t *testing.T, deploy caddytest.Deployment) {
		t.Parallel()
		n := deploy(t, "wait 1ms", legacydocs.New(legacydocs.Options{}))
		path := "/docs/plan"
		for range times {
			caddytest.Send(t, "PUT", n.Random()+path, "created", "If-None-Match", "*").Expect(t, 201)
			tag := caddytest.Send(t, "GET", n.Random()+path, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", n.Random()+path, "edited", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", n.Random()+path, "stale", "If-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", n.Random()+path, "whatever").Expect(t, 204)
			caddytest.Send(t, "PUT", n.Random()+path, "again", "If-Match", "*").Expect(t, 204)
			caddytest.Send(t, "DELETE", n.Random()+path, "", "If-Match", "*").Expect(t, 204)
			caddytest.Send(t, "DELETE", n.Random()+path, "").Expect(t, 404)
		}
	}
	caddytest.OnEveryStore(t, alone)
	t.Run("slow redis", func(t *testing.T) { alone(t, caddytest.TwoNodesFarFromRedis) })
}

// Unconditional writes don't wait for each other. Each of the two is answered
// only once the other has arrived, too.
func TestAtomicUnconditionalTogether(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := caddytest.NewGate()
		n := deploy(t, "wait 1ms", legacydocs.New(legacydocs.Options{Before: g.Pass}))
		one := g.Send(context.Background(), t, "POST", n.First()+"/docs/", "one")
		two := g.Send(context.Background(), t, "POST", n.Other()+"/docs/", "two")
		g.Open()
		caddytest.ExpectResult(t, one, 201)
		caddytest.ExpectResult(t, two, 201)
	})
}

// While a conditional write is in the backend, no other write of the resource
// is.
func TestAtomicTurns(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		t.Parallel()
		const conditional, unconditional = "conditional", "unconditional"
		var mu sync.Mutex
		inside, together := make(map[string]int), 0
		met := make(chan struct{}) // closed once two unconditional writes are in the backend together
		docs := legacydocs.New(legacydocs.Options{Delay: 5 * time.Millisecond})
		enter := func(kind string) (leave func()) {
			mu.Lock()
			defer mu.Unlock()
			inside[kind]++
			if inside[conditional] > 1 || inside[conditional] == 1 && inside[unconditional] > 0 {
				t.Errorf("in the backend together: %v", inside)
			}
			if together < 2 && inside[unconditional] == 2 {
				close(met)
			}
			together = max(together, inside[unconditional])
			return func() {
				mu.Lock()
				defer mu.Unlock()
				inside[kind]--
			}
		}
		n := deploy(t, "wait 1m", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" {
				kind := r.Header.Get("X-Kind")
				defer enter(kind)()
				if kind == unconditional {
					select {
					case <-met:
					case <-time.After(time.Second): // there may be no second one
					}
				}
			}
			docs.ServeHTTP(w, r)
		}))
		caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")

		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 15 {
					// There are more unconditional writes than conditional ones. Even if
					// writes run strictly in order, two of them are then adjacent.
					fields := []string{"X-Kind", unconditional}
					if i%3 == 0 {
						fields = []string{"X-Kind", conditional, "If-Match", "*"}
					}
					a, err := caddytest.Try(context.Background(), "PUT", n.Random()+"/docs/plan", "edit", fields...)
					if err != nil || a.StatusCode != 204 {
						t.Errorf("%v: %v, %v", fields, a.Response, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if together < 2 {
			t.Error("no two unconditional writes met")
		}
	})
}

// A write that has waited for another one until the option wait is over gets 503
// with Retry-After and changes nothing.
func TestAtomicWaitInVain(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		t.Parallel()
		var arrived atomic.Int32
		g := caddytest.NewGate()
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			if r.Header.Get("X-Second") != "" && r.Method != http.MethodGet { // the handler's own GET has it, too
				arrived.Add(1)
			}
			return g.Pass(r)
		}})
		n := deploy(t, "lease 30s\nwait 300ms", docs)
		const conditional, unconditional = "conditional", "unconditional"
		for _, tt := range []struct{ first, second, method string }{
			{conditional, conditional, "PUT"},
			{conditional, conditional, "DELETE"},
			{conditional, unconditional, "PUT"},
			{conditional, unconditional, "DELETE"},
			{unconditional, conditional, "PUT"},
			{unconditional, conditional, "DELETE"},
		} {
			t.Run(fmt.Sprintf("%s %s waits for %s", tt.second, tt.method, tt.first), func(t *testing.T) {
				path := fmt.Sprintf("/docs/%s-%s-%s", tt.second, tt.method, tt.first)
				caddytest.Bypass(t, docs, "PUT", path, "old")
				tag := caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200).Tag(t)
				fields := map[string][]string{conditional: {"If-Match", tag}}

				first := g.Send(context.Background(), t, "PUT", n.First()+path, "first", fields[tt.first]...)
				content := map[string]string{"PUT": "second"}[tt.method]
				a := caddytest.Send(t, tt.method, n.Other()+path, content, append(fields[tt.second], "X-Second", "1")...)
				a.Expect(t, 503).ExpectOutcome(t, "conflict")
				if a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				g.Open()
				caddytest.ExpectResult(t, first, 204)
			})
		}
		if arrived.Load() > 0 {
			t.Error("a write that waited in vain reached the backend")
		}
	})
}

// A write that takes longer than its lease keeps its claim while its node is
// alive.
func TestAtomicLease(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		t.Parallel()
		p := newPlan(t, deploy, fmt.Sprintf("lease %s\nwait 300ms", lease))
		slow := p.begin(context.Background(), t, "PUT")
		for begun := time.Now(); time.Since(begun) < lease*5/2; {
			p.compete(t).Expect(t, 503).ExpectOutcome(t, "conflict")
		}
		p.Open()
		caddytest.ExpectResult(t, slow, 204)
		p.compete(t).Expect(t, 412)
		p.expectContent(t, "slow")
	})
}

// A client that disconnects leaves no claim behind, and its claim isn't released
// before its write has ended.
func TestAtomicClientLeaves(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		// The wait is long enough for the node to notice that the client has left.
		p := newPlan(t, deploy, "lease 30s\nwait 1s")
		t.Run("while the write is made", func(t *testing.T) {
			ctx, leave := context.WithCancel(context.Background())
			slow := p.begin(ctx, t, "PUT")
			leave()
			<-slow
			p.compete(t).Expect(t, 503).ExpectOutcome(t, "conflict")
			p.Open()
			p.compete(t).Expect(t, 412)
			p.expectContent(t, "slow")
		})
		t.Run("while the origin is asked", func(t *testing.T) {
			ctx, leave := context.WithCancel(context.Background())
			slow := p.begin(ctx, t, "GET")
			leave()
			<-slow
			p.compete(t).Expect(t, 204)
			p.Open()
			p.expectContent(t, "competing")
		})
	})
}

// plan is a document that is written slowly.
type plan struct {
	*caddytest.Gate
	caddytest.Nodes
	docs *legacydocs.Service
	tag  string
}

func newPlan(t *testing.T, deploy caddytest.Deployment, options string) *plan {
	t.Helper()
	p := &plan{Gate: caddytest.NewGate()}
	p.docs = legacydocs.New(legacydocs.Options{Before: p.Pass})
	p.Nodes = deploy(t, options, p.docs)
	return p
}

// begin starts a write and holds it in the backend: either its PUT, or the GET
// before that confirms its condition.
func (p *plan) begin(ctx context.Context, t *testing.T, held string) <-chan caddytest.Result {
	t.Helper()
	caddytest.Bypass(t, p.docs, "PUT", "/docs/plan", "old")
	p.tag = caddytest.Send(t, "GET", p.First()+"/docs/plan", "").Expect(t, 200).Tag(t)
	return p.SendHolding(ctx, t, held, "PUT", p.First()+"/docs/plan", "slow", "If-Match", p.tag)
}

// compete sends a second write that is based on the same state.
func (p *plan) compete(t *testing.T) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, "PUT", p.Other()+"/docs/plan", "competing", "If-Match", p.tag)
}

func (p *plan) expectContent(t *testing.T, want string) {
	t.Helper()
	if got := caddytest.Bypass(t, p.docs, "GET", "/docs/plan", ""); got != want {
		t.Errorf("the document is %q, want %q", got, want)
	}
}
