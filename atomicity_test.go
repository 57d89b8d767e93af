package preconditions_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// The tests of this file prove that no write is lost. Whether one was is told
// by the backend's own record, and not by what the clients were answered.

// nodes are the URLs of the Caddys in front of one backend.
type nodes []string

func (n nodes) first() string  { return n[0] }
func (n nodes) other() string  { return n[len(n)-1] }
func (n nodes) random() string { return n[rand.IntN(len(n))] }

// deployment puts the handler, with the given options, in front of a backend.
type deployment func(t testing.TB, options string, backend http.Handler) nodes

// oneNode is this process's Caddy with the memory store.
func oneNode(t testing.TB, options string, backend http.Handler) nodes {
	t.Helper()
	return oneNodeAt(t, guarded(options, serve(t, backend)))
}

func oneNodeAt(t testing.TB, directives string) nodes {
	t.Helper()
	address := freeAddress(t)
	load(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, directives))
	return nodes{"http://" + address}
}

// guarded are the directives of a site with preconditions in front of a
// backend. Its answers tell the outcome.
func guarded(options, backend string) string {
	return fmt.Sprintf("header >X-Outcome {http.preconditions.outcome}\npreconditions {\n%s\n}\nreverse_proxy %s", options, backend)
}

// expectOutcome fails the test unless the handler reported the outcome.
func (a answer) expectOutcome(t testing.TB, want string) answer {
	t.Helper()
	if got := a.Header.Get("X-Outcome"); got != want {
		t.Fatalf("%s %s: outcome %q, want %q", a.Request.Method, a.Request.URL, got, want)
	}
	return a
}

// bypass sends a request straight to the backend, around all nodes.
func bypass(t testing.TB, backend http.Handler, method, path, content string) string {
	t.Helper()
	w := httptest.NewRecorder()
	backend.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(content)))
	if w.Code >= 300 {
		t.Fatalf("%s %s at the backend: %d", method, path, w.Code)
	}
	return w.Body.String()
}

// writesOf returns the writes of one document that the backend applied.
func writesOf(docs *legacydocs.Service, path string) []legacydocs.Write {
	var of []legacydocs.Write
	for _, w := range docs.Writes() {
		if w.Path == path {
			of = append(of, w)
		}
	}
	return of
}

// gate holds requests in the backend: those whose X-Hold is their method. As the
// handler's own GETs carry the client's fields, they can be held, too.
type gate struct {
	arrived chan struct{}

	mu   sync.Mutex
	shut chan struct{} // nil while the gate is open
}

func newGate() *gate { return &gate{arrived: make(chan struct{}, 100)} }

// pass is a hook of legacydocs.
func (g *gate) pass(r *http.Request) int {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil && r.Header.Get("X-Hold") == r.Method {
		g.arrived <- struct{}{}
		<-shut
	}
	return 0
}

// open lets all requests go on.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// result is what try returns.
type result struct {
	answer
	err error
}

// send shuts the gate, begins a request, and returns once the gate holds it.
func (g *gate) send(ctx context.Context, t testing.TB, method, url, content string, fields ...string) <-chan result {
	t.Helper()
	return g.sendHolding(ctx, t, method, method, url, content, fields...)
}

// sendHolding is like send, but for the method of what is held: GET for the one
// that the handler makes on behalf of a write.
func (g *gate) sendHolding(ctx context.Context, t testing.TB, held, method, url, content string, fields ...string) <-chan result {
	t.Helper()
	g.close()
	t.Cleanup(g.open) // before the backend is closed, which waits for its requests
	fields = append([]string{"X-Hold", held}, fields...)
	done := make(chan result, 1)
	go func() {
		a, err := try(ctx, method, url, content, fields...)
		done <- result{a, err}
	}()
	select {
	case <-g.arrived:
	case r := <-done:
		t.Fatalf("%s %s did not arrive at the backend: %v, %v", method, url, r.Response, r.err)
	case <-time.After(time.Minute):
		t.Fatalf("%s %s did not arrive at the backend", method, url)
	}
	return done
}

// expectResult waits for what a request in the background came to.
func expectResult(t testing.TB, done <-chan result, status int) answer {
	t.Helper()
	select {
	case r := <-done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.expect(t, status)
	case <-time.After(time.Minute):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

// contest is a write that many send at once, of which one may be performed.
type contest struct {
	name   string
	method string
	exists bool   // whether the document is there; the condition is its tag then
	field  string // of the condition
	loser  int    // status
}

var contests = []contest{
	{"edit", "PUT", true, "If-Match", 412},
	{"create", "PUT", false, "If-None-Match", 412},
	// What is gone can't be deleted, whatever the condition (section 13.2.1).
	{"delete", "DELETE", true, "If-Match", 404},
}

const writers = 32

// rounds is how often each contest is held.
func rounds() int {
	if testing.Short() {
		return 3
	}
	return 10
}

// hold has all writers read the document, and then write it at one moment. It
// returns how many were answered that they did.
func (c contest) hold(t *testing.T, n nodes, docs *legacydocs.Service, path string) (winners int) {
	t.Helper()
	if c.exists {
		bypass(t, docs, "PUT", path, "base")
	}
	before := len(writesOf(docs, path))

	var ready, done sync.WaitGroup
	start := make(chan struct{})
	results := make(chan result, writers)
	ready.Add(writers)
	for i := range writers {
		done.Go(func() {
			to, condition := n[i%len(n)]+path, "*"
			read, err := try(context.Background(), "GET", to, "")
			if err == nil && c.exists {
				condition = read.Header.Get("ETag")
			}
			ready.Done()
			<-start
			if err != nil {
				results <- result{err: err}
				return
			}
			content := ""
			if c.method == "PUT" {
				content = fmt.Sprintf("by writer %d", i)
			}
			a, err := try(context.Background(), c.method, to, content, c.field, condition)
			results <- result{a, err}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	close(results)

	for r := range results {
		switch {
		case r.err != nil:
			t.Error(r.err)
		case r.StatusCode/100 == 2:
			winners++
		case r.StatusCode != c.loser:
			t.Errorf("a loser got %s, want %d: %s", r.Status, c.loser, r.Content)
		}
	}
	if got := len(writesOf(docs, path)) - before; got != winners {
		t.Errorf("the backend applied %d writes, and %d were told so", got, winners)
	}
	return winners
}

// TestAtomicContest: of 32 writers that have seen the same state, exactly one
// is let through, whatever the node, and nothing of the others reaches the
// backend.
func TestAtomicContest(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		for _, options := range []string{"verify passing", "verify all", "verify never"} {
			t.Run(options, func(t *testing.T) {
				docs := legacydocs.New(legacydocs.Options{})
				n := deploy(t, options, docs)
				for _, c := range contests {
					for round := range rounds() {
						if winners := c.hold(t, n, docs, fmt.Sprintf("/docs/%s-%d", c.name, round)); winners != 1 {
							t.Errorf("%s, round %d: %d of %d writers won, want 1", c.name, round, winners, writers)
						}
					}
				}
			})
		}
	})
}

// TestAtomicContestCanFail: a proxy that checks and then forwards, without a
// claim, loses updates in the very same contests. They show what they should.
func TestAtomicContestCanFail(t *testing.T) {
	for _, c := range contests[:2] { // the backend itself refuses the second DELETE
		t.Run(c.name, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{Delay: time.Millisecond})
			n := nodes{"http://" + serve(t, checkThenForward("http://"+serve(t, docs)))}
			lost := 0
			for round := range rounds() {
				if c.hold(t, n, docs, fmt.Sprintf("/docs/%s-%d", c.name, round)) > 1 {
					lost++
				}
			}
			t.Logf("updates were lost in %d of %d rounds", lost, rounds())
			if lost == 0 {
				t.Error("no update was lost")
			}
		})
	}
}

// checkThenForward is what one would write without thinking of two writers.
func checkThenForward(backend string) http.Handler {
	target, err := url.Parse(backend)
	if err != nil {
		panic(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		current, err := client.Get(backend + r.URL.Path)
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

// editor is a client that reads a document, changes it and writes it back, over
// and over again.
type editor struct {
	name   string
	paths  []string
	leaves bool // at a random moment of its writes

	edits   int
	written int
	failed  int // 412
	busy    int // 503
	longest time.Duration
	left    []string // the digests of what it sent and had no answer for
}

// edit makes one change. Its contents are all different.
func (e *editor) edit(n nodes) error {
	path := e.paths[rand.IntN(len(e.paths))]
	read, err := try(context.Background(), "GET", n.random()+path, "")
	if err != nil {
		return err
	}
	if read.StatusCode != 200 || read.Header.Get("ETag") == "" {
		return fmt.Errorf("GET %s: %s, ETag %q", path, read.Status, read.Header.Get("ETag"))
	}
	e.edits++
	content := fmt.Sprintf("edit %d by %s", e.edits, e.name)
	ctx := context.Background()
	if e.leaves {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(20*time.Millisecond))
		defer cancel()
	}
	begun := time.Now()
	a, err := try(ctx, "PUT", n.random()+path, content,
		"If-Match", read.Header.Get("ETag"), "X-Based-On", legacydocs.Digest([]byte(read.Content)))
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

// edit has the editors work at the same time, and returns the record of what
// the backend applied.
func edit(t *testing.T, n nodes, docs *legacydocs.Service, editors []*editor) (record []legacydocs.Write) {
	t.Helper()
	for _, e := range editors {
		for _, path := range e.paths {
			bypass(t, docs, "PUT", path, "new")
		}
	}
	seeds := len(docs.Writes())
	ctx, cancel := context.WithTimeout(context.Background(), fromEnv(t, "PRECONDITIONS_FAULT_SECONDS", time.Second, 5*time.Second))
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

// expectNoneLost fails the test if a write replaced anything but the version
// that it was based on.
func expectNoneLost(t *testing.T, record []legacydocs.Write) {
	t.Helper()
	for _, w := range record {
		if w.BasedOn == "" || w.Lost() {
			t.Errorf("an update was lost: %+v", w)
		}
	}
}

var sharedDocs = []string{"/docs/shared-1", "/docs/shared-2", "/docs/shared-3"}

// TestAtomicEdits: every write replaces exactly the version that it is based
// on, every write is answered truly, and nobody is refused on behalf of others
// that don't exist, whether the origin is asked again or the store is trusted.
func TestAtomicEdits(t *testing.T) {
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{Delay: 15 * time.Millisecond})
			n := twoNodes(t, options, docs)
			var editors, alone []*editor
			for i := range 8 {
				editors = append(editors, &editor{name: fmt.Sprint("editor ", i), paths: sharedDocs})
			}
			for i := range 3 {
				alone = append(alone, &editor{name: fmt.Sprint("owner ", i), paths: []string{fmt.Sprint("/docs/own-", i)}})
			}
			all := append(editors, alone...)
			record := edit(t, n, docs, all)
			expectNoneLost(t, record)

			written, failed := 0, 0
			for _, e := range all {
				written, failed = written+e.written, failed+e.failed
				if e.busy > 0 {
					t.Errorf("%s: %d times 503", e.name, e.busy)
				}
			}
			t.Logf("%d edits were written, %d refused", written, failed)
			if len(record) != written {
				t.Errorf("the backend applied %d writes, and %d were told so", len(record), written)
			}
			if written < 50 || failed < 20 {
				t.Error("there was no contention to speak of")
			}
			for _, e := range alone {
				if e.failed > 0 || e.written < 10 {
					t.Errorf("%s, alone on its document: %d edits, %d refused", e.name, e.written, e.failed)
				}
			}
		})
	}
}

// TestAtomicEditsOfClientsThatLeave: a client that goes away at any moment of
// its write leaves no lost update.
func TestAtomicEditsOfClientsThatLeave(t *testing.T) {
	const lease = 3 * time.Second
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		docs := legacydocs.New(legacydocs.Options{Delay: 15 * time.Millisecond})
		n := deploy(t, fmt.Sprintf("lease %s", lease), docs)
		var editors []*editor
		for i := range 8 {
			editors = append(editors, &editor{name: fmt.Sprint("editor ", i), paths: sharedDocs, leaves: i%4 == 0})
		}
		record := edit(t, n, docs, editors)
		expectNoneLost(t, record)

		applied := make(map[string]bool)
		for _, w := range record {
			applied[w.Body] = true
		}
		written, busy, left, landed := 0, 0, 0, 0
		for _, e := range editors {
			if e.longest > lease {
				t.Errorf("%s waited %v for an answer", e.name, e.longest)
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
			t.Errorf("the backend applied %d writes; %d were told so, and %d had left", len(record), written, landed)
		}
		if written < 20 || landed == 0 || landed == left {
			t.Error("the clients did not leave at all moments")
		}
	})
}

// TestAtomicMemoryOfNode: what a node remembers doesn't outlive a write that was
// made at another, not even if nobody asks the origin.
func TestAtomicMemoryOfNode(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	n := twoNodes(t, "verify never", docs)
	for name, write := range map[string][]string{"conditional": {"If-Match", "*"}, "unconditional": nil} {
		t.Run(name, func(t *testing.T) {
			path := "/docs/" + name
			bypass(t, docs, "PUT", path, "old")
			tag := send(t, "GET", n.first()+path, "").expect(t, 200).tag(t)
			send(t, "GET", n.other()+path, "").expect(t, 200)
			send(t, "PUT", n.first()+path, "new", write...).expect(t, 204)
			send(t, "PUT", n.other()+path, "lost", "If-Match", tag).expect(t, 412)
			send(t, "PUT", n.other()+path, "created", "If-None-Match", "*").expect(t, 412)
		})
	}
}

// TestAtomicRefill: a slow GET that read the old content doesn't bring the old
// tag back, after which it would be trusted.
func TestAtomicRefill(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		g := newGate()
		docs := legacydocs.New(legacydocs.Options{After: g.pass})
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
				bypass(t, docs, "PUT", path, "old")
				if tt.known {
					send(t, "GET", n.first()+path, "").expect(t, 200)
				}
				slow := g.send(context.Background(), t, "GET", n.first()+path, "")
				send(t, "PUT", n.other()+path, "new", tt.write...).expect(t, 204)
				g.open()
				read := expectResult(t, slow, 200)
				if read.Content != "old" {
					t.Fatalf("the slow GET read %q", read.Content)
				}

				failed := send(t, "PUT", n.first()+path, "lost", "If-Match", read.tag(t)).expect(t, 412)
				send(t, "PUT", n.other()+path, "newer", "If-Match", failed.tag(t)).expect(t, 204)
				if got := bypass(t, docs, "GET", path, ""); got != "newer" {
					t.Errorf("the document is %q", got)
				}
			})
		}
	})
}

// TestAtomicBypass: a write around the handler is noticed where conditions are
// confirmed at the origin. Where the user says that there are no such writes,
// it is not, and an update is lost: that is what the option means.
func TestAtomicBypass(t *testing.T) {
	for _, tt := range []struct {
		options string
		status  int
	}{
		{"", 412},
		{"verify passing", 412},
		{"verify all", 412},
		{"verify 1ns", 412}, // the tag was stored longer ago than that
		{"verify 1h", 204},  // trusted while it is young
		{"verify never", 204},
	} {
		t.Run(tt.options, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{})
			to := oneNode(t, tt.options, docs).first() + "/docs/plan"
			bypass(t, docs, "PUT", "/docs/plan", "old")
			tag := send(t, "GET", to, "").expect(t, 200).tag(t)
			bypass(t, docs, "PUT", "/docs/plan", "around")
			send(t, "PUT", to, "new", "If-Match", tag).expect(t, tt.status)
		})
	}
}

// TestAtomicBackendRefuses: what the backend refused has changed nothing, so
// that the tag stays valid, and isn't even asked for again.
func TestAtomicBackendRefuses(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
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
			bypass(t, docs, "PUT", path, "old")
			tag := send(t, "GET", n.first()+path, "").expect(t, 200).tag(t)
			before := gets.Load()
			want, _ := strconv.Atoi(status)
			send(t, "PUT", n.first()+path, "refused", "If-Match", tag, "X-Refuse", status).expect(t, want).expectOutcome(t, "passed")
			send(t, "PUT", n.other()+path, "new", "If-Match", tag).expect(t, 204)
			if got := gets.Load() - before; got != 0 {
				t.Errorf("%s: %d GETs at the backend", status, got)
			}
		}
	})
}

// TestAtomicBackendApplies: whatever else the backend answers, or doesn't, it
// may have applied the write, so that the old tag doesn't pass.
func TestAtomicBackendApplies(t *testing.T) {
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
	// applied has the backend apply a write and answer in its way.
	applied := func(t *testing.T, to, answer string, status int) (oldTag string) {
		t.Helper()
		send(t, "PUT", to, "old").expect(t, 201)
		oldTag = send(t, "GET", to, "").expect(t, 200).tag(t)
		send(t, "PUT", to, "applied", "If-Match", oldTag, "X-Answer", answer).expect(t, status)
		return oldTag
	}

	// It answered: the next write need not wait.
	n := oneNode(t, "verify never\nlease 30s\nwait 300ms", docs)
	for _, answer := range []string{"200", "202", "303", "408", "500", "501", "503"} {
		t.Run(answer, func(t *testing.T) {
			to := n.first() + "/docs/" + answer
			status, _ := strconv.Atoi(answer)
			oldTag := applied(t, to, answer, status)
			send(t, "PUT", to, "lost", "If-Match", oldTag).expect(t, 412)
			if got := send(t, "GET", to, "").Content; got != "applied" {
				t.Errorf("the document is %q", got)
			}
		})
	}

	// It gave no answer: the write may still land, so that others have to wait
	// until the lease is over.
	for answer, status := range map[string]int{drop: 502, "502": 502, "504": 504} {
		t.Run("no answer: "+answer, func(t *testing.T) {
			to := oneNode(t, fmt.Sprintf("verify never\nlease %s\nwait 30s", lease), docs).first() + "/docs/no-" + answer
			begun := time.Now()
			oldTag := applied(t, to, answer, status)
			send(t, "PUT", to, "lost", "If-Match", oldTag).expect(t, 412)
			if took := time.Since(begun); took < lease {
				t.Errorf("the next write had to wait only %v", took)
			}
			if got := send(t, "GET", to, "").Content; got != "applied" {
				t.Errorf("the document is %q", got)
			}
		})
	}
}

// TestAtomicBackendDown: what could not even be sent to the backend has changed
// nothing and holds nobody up.
func TestAtomicBackendDown(t *testing.T) {
	for _, tt := range []struct {
		verify string
		status int
	}{
		{"never", 502},
		{"passing", 503}, // the condition could not be confirmed
	} {
		t.Run(tt.verify, func(t *testing.T) {
			docs := legacydocs.New(legacydocs.Options{})
			address := freeAddress(t)
			backend := serveAt(t, address, docs)
			// A connection that is kept would fail otherwise than by dialing.
			to := oneNodeAt(t, guarded("lease 30s\nwait 300ms\nverify "+tt.verify,
				address+" {\ntransport http {\nkeepalive off\n}\n}")).first() + "/docs/plan"
			send(t, "PUT", to, "old").expect(t, 201)
			tag := send(t, "GET", to, "").expect(t, 200).tag(t)

			backend.Close()
			for range 2 {
				send(t, "PUT", to, "not sent", "If-Match", tag).expect(t, tt.status)
			}
			send(t, "PUT", to, "not sent").expect(t, 502)
			serveAt(t, address, docs)
			send(t, "PUT", to, "new", "If-Match", tag).expect(t, 204)
		})
	}
}

// serveAt serves a backend at an address until it is closed.
func serveAt(t testing.TB, address string, backend http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: backend}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestAtomicAlone: a client alone never waits for its own last write, however
// slow the way to the store is. With a wait of 1ms it would be refused if it
// did.
func TestAtomicAlone(t *testing.T) {
	const times = 10
	alone := func(t *testing.T, deploy deployment) {
		n := deploy(t, "wait 1ms", legacydocs.New(legacydocs.Options{}))
		path := "/docs/plan"
		for range times {
			send(t, "PUT", n.random()+path, "created", "If-None-Match", "*").expect(t, 201)
			tag := send(t, "GET", n.random()+path, "").expect(t, 200).tag(t)
			send(t, "PUT", n.random()+path, "edited", "If-Match", tag).expect(t, 204)
			send(t, "PUT", n.random()+path, "stale", "If-Match", tag).expect(t, 412)
			send(t, "PUT", n.random()+path, "whatever").expect(t, 204)
			send(t, "PUT", n.random()+path, "again", "If-Match", "*").expect(t, 204)
			send(t, "DELETE", n.random()+path, "", "If-Match", "*").expect(t, 204)
			send(t, "DELETE", n.random()+path, "").expect(t, 404)
		}
	}
	onEveryStore(t, alone)
	t.Run("slow redis", func(t *testing.T) { alone(t, twoNodesFarFromRedis) })
}

// TestAtomicUnconditionalTogether: writes without a condition don't wait for
// each other. Each of two is answered only once the other has arrived, too.
func TestAtomicUnconditionalTogether(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		g := newGate()
		n := deploy(t, "wait 1ms", legacydocs.New(legacydocs.Options{Before: g.pass}))
		one := g.send(context.Background(), t, "POST", n.first()+"/docs/", "one")
		two := g.send(context.Background(), t, "POST", n.other()+"/docs/", "two")
		g.open()
		expectResult(t, one, 201)
		expectResult(t, two, 201)
	})
}

// TestAtomicTurns: no conditional write is in the backend together with any
// other write of the resource.
func TestAtomicTurns(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		const conditional, unconditional = "conditional", "unconditional"
		var mu sync.Mutex
		inside, together := make(map[string]int), 0
		met := make(chan struct{}) // closed when two unconditional writes are
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
					case <-time.After(time.Second): // there may be no other
					}
				}
			}
			docs.ServeHTTP(w, r)
		}))
		bypass(t, docs, "PUT", "/docs/plan", "new")

		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 15 {
					// More of one kind than of the other: where they take turns in
					// order, two of it are next to each other.
					fields := []string{"X-Kind", unconditional}
					if i%3 == 0 {
						fields = []string{"X-Kind", conditional, "If-Match", "*"}
					}
					a, err := try(context.Background(), "PUT", n.random()+"/docs/plan", "edit", fields...)
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

// TestAtomicWaitInVain: who waits for another write until its patience is over
// gets 503, may come again, and has changed nothing.
func TestAtomicWaitInVain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		var arrived atomic.Int32
		g := newGate()
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			if r.Header.Get("X-Second") != "" { // which the handler's own GET would have, too
				arrived.Add(1)
			}
			return g.pass(r)
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
				bypass(t, docs, "PUT", path, "old")
				tag := send(t, "GET", n.first()+path, "").expect(t, 200).tag(t)
				fields := map[string][]string{conditional: {"If-Match", tag}}

				first := g.send(context.Background(), t, "PUT", n.first()+path, "first", fields[tt.first]...)
				content := map[string]string{"PUT": "second"}[tt.method]
				a := send(t, tt.method, n.other()+path, content, append(fields[tt.second], "X-Second", "1")...)
				a.expect(t, 503).expectOutcome(t, "conflict")
				if a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				g.open()
				expectResult(t, first, 204)
			})
		}
		if arrived.Load() > 0 {
			t.Error("who waited in vain reached the backend")
		}
	})
}

// TestAtomicLease: a write that takes longer than its lease keeps the claim,
// because its node is alive.
func TestAtomicLease(t *testing.T) {
	const lease = time.Second
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		p := newPlan(t, deploy, fmt.Sprintf("lease %s\nwait 300ms", lease))
		slow := p.begin(context.Background(), t, "PUT")
		for begun := time.Now(); time.Since(begun) < lease*5/2; {
			p.compete(t).expect(t, 503).expectOutcome(t, "conflict")
		}
		p.open()
		expectResult(t, slow, 204)
		p.compete(t).expect(t, 412)
		p.expectContent(t, "slow")
	})
}

// TestAtomicClientLeaves: a client that goes away takes no claim with it, and
// releases none before its write has ended.
func TestAtomicClientLeaves(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		// In the time that the one in vain waits, the node has noticed.
		p := newPlan(t, deploy, "lease 30s\nwait 1s")
		t.Run("while the write is made", func(t *testing.T) {
			ctx, leave := context.WithCancel(context.Background())
			slow := p.begin(ctx, t, "PUT")
			leave()
			<-slow
			p.compete(t).expect(t, 503).expectOutcome(t, "conflict")
			p.open()
			p.compete(t).expect(t, 412)
			p.expectContent(t, "slow")
		})
		t.Run("while the origin is asked", func(t *testing.T) {
			ctx, leave := context.WithCancel(context.Background())
			slow := p.begin(ctx, t, "GET")
			leave()
			<-slow
			p.compete(t).expect(t, 204)
			p.open()
			p.expectContent(t, "competing")
		})
	})
}

// plan is a document that is written slowly.
type plan struct {
	*gate
	nodes
	docs *legacydocs.Service
	tag  string
}

func newPlan(t *testing.T, deploy deployment, options string) *plan {
	t.Helper()
	p := &plan{gate: newGate()}
	p.docs = legacydocs.New(legacydocs.Options{Before: p.pass})
	p.nodes = deploy(t, options, p.docs)
	return p
}

// begin begins a write that comes to a halt in the backend: as a PUT, or before
// as the GET that confirms its condition.
func (p *plan) begin(ctx context.Context, t *testing.T, held string) <-chan result {
	t.Helper()
	bypass(t, p.docs, "PUT", "/docs/plan", "old")
	p.tag = send(t, "GET", p.first()+"/docs/plan", "").expect(t, 200).tag(t)
	return p.sendHolding(ctx, t, held, "PUT", p.first()+"/docs/plan", "slow", "If-Match", p.tag)
}

// compete sends another write that is based on the same state.
func (p *plan) compete(t *testing.T) answer {
	t.Helper()
	return send(t, "PUT", p.other()+"/docs/plan", "competing", "If-Match", p.tag)
}

func (p *plan) expectContent(t *testing.T, want string) {
	t.Helper()
	if got := bypass(t, p.docs, "GET", "/docs/plan", ""); got != want {
		t.Errorf("the document is %q, want %q", got, want)
	}
}
