package clients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// In these tests, clients misbehave. Other clients of the same resource must not
// notice, and the misbehaving ones must leave nothing behind.

// footprint is the resource use of this process: Caddy, clients and backends.
type footprint struct {
	goroutines int
	heap       uint64
	files      int // open files, including connections; 0 where unknown
}

func takeFootprint() footprint {
	caddytest.Client.CloseIdleConnections()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	open, _ := os.ReadDir("/proc/self/fd")
	return footprint{runtime.NumGoroutine(), m.HeapAlloc, len(open)}
}

// expectBack waits until resource use is almost back to what it was before.
func (before footprint) expectBack(t *testing.T) {
	t.Helper()
	const goroutines, heap, files = 60, 16 << 20, 40 // the proxy keeps some connections
	var now footprint
	defer func() { t.Logf("before %+v, after %+v", before, now) }()
	caddytest.Eventually(t, fmt.Sprintf("resource use is almost back to %+v", before), func() bool {
		now = takeFootprint()
		return now.goroutines <= before.goroutines+goroutines && now.heap <= before.heap+heap && now.files <= before.files+files
	})
}

// spoolTo sends temporary files to a directory of the test. The function that it
// returns fails the test if a file is left there.
func spoolTo(t *testing.T) (expectEmpty func()) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return func() {
		t.Helper()
		caddytest.Eventually(t, "no temporary file is left", func() bool {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			return err == nil && len(left) == 0
		})
	}
}

const abuseBuffer = 4 << 10 // the value of the option buffer in these tests

// condensed is a document service that stores the digest of the content it gets.
// Documents are therefore never longer than the buffer, and incomplete content
// is never stored.
func condensed(docs *legacydocs.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			content, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			digest := legacydocs.Digest(content)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(digest)), int64(len(digest))
		}
		docs.ServeHTTP(w, r)
	})
}

// digested returns the digest of the document that condensed stores for content.
func digested(content string) string {
	return legacydocs.Digest([]byte(legacydocs.Digest([]byte(content))))
}

// abused starts a site that accepts large header sections. Its proxy keeps few
// idle connections.
func abused(t *testing.T, options string, backend http.Handler) (base string) {
	t.Helper()
	address := caddytest.Address(t)
	caddytest.StartWith(t, "max_header_size 2MB", fmt.Sprintf("http://%s {\n%s\n}\n", address,
		caddytest.Guarded(options, caddytest.Serve(t, backend)+" {\ntransport http {\nkeepalive_idle_conns_per_host 4\n}\n}")))
	t.Cleanup(caddytest.Client.CloseIdleConnections)
	return "http://" + address
}

// form is a way to send content.
type form struct {
	name    string
	chunked bool
	size    int
}

var forms = []form{
	{"Content-Length", false, 100},
	{"Content-Length, over the buffer", false, 8 * abuseBuffer},
	{"chunked", true, 100},
	{"chunked, over the buffer", true, 8 * abuseBuffer},
}

// content pads text to the size of the form. Different texts give different
// content.
func (f form) content(text string) string {
	return text + strings.Repeat("x", f.size-len(text))
}

// framing returns the field line that says how the content is framed.
func (f form) framing() string {
	if f.chunked {
		return "Transfer-Encoding: chunked"
	}
	return fmt.Sprintf("Content-Length: %d", f.size)
}

// split encodes content in two parts. The second one is short.
func (f form) split(content string) (most, rest string) {
	if !f.chunked {
		return content[:len(content)-1], content[len(content)-1:]
	}
	return chunks(content[:len(content)-1]), chunks(content[len(content)-1:]) + "0\r\n\r\n"
}

// put opens a connection and sends the header section of a write on it.
func put(t *testing.T, base, path string, f form, fields ...string) *wire {
	t.Helper()
	c := dialWire(t, base)
	c.send(slices.Concat([]string{"PUT " + path + " HTTP/1.1", "Host: " + c.RemoteAddr().String(), f.framing()}, fields, []string{""})...)
	return c
}

// edited makes one change as a well-behaved client does. The change must not
// take longer than such a client would wait.
func edited(t *testing.T, to, content string) (tag string) {
	t.Helper()
	begun := time.Now()
	read := caddytest.Send(t, "GET", to, "").Expect(t, 200)
	caddytest.Send(t, "PUT", to, content, "If-Match", read.Tag(t), "X-Based-On", legacydocs.Digest([]byte(read.Content))).Expect(t, 204)
	if took := time.Since(begun); took > patience {
		t.Errorf("an edit took %v", took)
	}
	return caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
}

// TestClientsThatLeave: clients disconnect before, while or after they send their
// content. Incomplete content is never written, and nobody waits for these clients.
// Complete content is written only if its condition holds.
func TestClientsThatLeave(t *testing.T) {
	times := 25
	if testing.Short() {
		times = 5
	}
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			expectEmpty := spoolTo(t)
			docs := legacydocs.New(legacydocs.Options{})
			base := abused(t, fmt.Sprintf("%s\nlease 30s\nbuffer %d", options, abuseBuffer), condensed(docs))
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")
			to := base + "/docs/plan"
			tag := edited(t, to, "first")
			before := takeFootprint()
			seeds := len(docs.Writes())
			whole := make(map[string]bool)  // content that leaving clients sent completely
			honest := make(map[string]bool) // content that other clients sent
			for i := range times {
				for _, f := range forms {
					for when, conditional := range []bool{true, true, true, true, false, false} {
						if !conditional && f.size > abuseBuffer {
							continue // see TestUnconditionalContent
						}
						current := caddytest.Send(t, "GET", to, "")
						fields := []string{"X-Based-On: " + legacydocs.Digest([]byte(current.Content))}
						if conditional {
							fields = append(fields, "If-Match: "+current.Tag(t))
						}
						content := f.content(fmt.Sprintf("left %d %d %s", when, i, f.name))
						most, rest := f.split(content)
						c := put(t, base, "/docs/plan", f, fields...)
						switch when {
						case 0: // before the content
						case 1, 4:
							c.raw(most)
						case 2:
							c.raw(most + rest)
							whole[digested(content)] = true
						case 3: // leaves with a reset
							c.raw(most)
							_ = c.Conn.(*net.TCPConn).SetLinger(0)
						case 5: // leaves in the middle of the header section
							_ = c.Close()
							c = dialWire(t, base)
							c.raw("PUT /docs/plan HTTP/1.1\r\nHost: x\r\nIf-Ma")
						}
						_ = c.Close()
					}
				}
				// A write of a client that left may land first. That isn't a lost update.
				for edits := 0; ; edits++ {
					begun, read := time.Now(), caddytest.Send(t, "GET", to, "").Expect(t, 200)
					content := fmt.Sprint("edit ", i)
					honest[digested(content)] = true
					a := caddytest.Send(t, "PUT", to, content, "If-Match", read.Tag(t), "X-Based-On", legacydocs.Digest([]byte(read.Content)))
					if took := time.Since(begun); took > patience {
						t.Errorf("a write took %v", took)
					}
					if a.StatusCode == 204 {
						break
					}
					if a.Expect(t, 412); edits > 4*times {
						t.Fatal("none of the edits succeeded")
					}
				}
			}
			before.expectBack(t)
			expectEmpty()
			// The clients that left hold no lease.
			edited(t, to, "last")
			honest[digested("last")] = true
			landed := 0
			record := docs.Writes()[seeds:]
			caddytest.ExpectNoneLost(t, record)
			for _, w := range record {
				if whole[w.Body] {
					landed++
				} else if !honest[w.Body] {
					t.Errorf("the backend got content that no client sent completely: %+v", w)
				}
			}
			t.Logf("%d clients left after sending all of their content; %d of these writes landed", len(whole), landed)
			caddytest.Send(t, "PUT", to, "lost", "If-Match", tag).Expect(t, 412)
		})
	}
}

// TestSlowContent: content may take longer to arrive than the lease lasts. It
// doesn't hold up other writes, and is written if no other write came first.
func TestSlowContent(t *testing.T) {
	const lease = time.Second
	expectEmpty := spoolTo(t)
	docs := legacydocs.New(legacydocs.Options{})
	base := abused(t, fmt.Sprintf("lease %s\nwait %s\nbuffer %d", lease, patience, abuseBuffer), condensed(docs))
	before := takeFootprint()
	for i, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			alone, shared := fmt.Sprintf("/docs/alone-%d", i), fmt.Sprintf("/docs/shared-%d", i)
			slow := make(map[string]*wire)
			most, rest := f.split(f.content("slow"))
			for _, path := range []string{alone, shared} {
				caddytest.Bypass(t, docs, "PUT", path, "new")
				slow[path] = put(t, base, path, f, "If-Match: "+caddytest.Send(t, "GET", base+path, "").Expect(t, 200).Tag(t))
				slow[path].raw(most)
			}
			edits := 0
			for begun := time.Now(); time.Since(begun) < lease*3/2; edits++ {
				edited(t, base+shared, fmt.Sprint("edit ", edits))
			}
			if edits < 10 {
				t.Errorf("other clients made only %d edits", edits)
			}
			for path, status := range map[string]int{alone: 204, shared: 412} {
				slow[path].raw(rest)
				slow[path].answer("PUT").Expect(t, status)
			}
			if got := caddytest.Bypass(t, docs, "GET", alone, ""); got != legacydocs.Digest([]byte(f.content("slow"))) {
				t.Errorf("the document is %d bytes, %.20q", len(got), got)
			}
			if got := caddytest.Bypass(t, docs, "GET", shared, ""); got != legacydocs.Digest(fmt.Append(nil, "edit ", edits-1)) {
				t.Errorf("the document is %d bytes, %.20q", len(got), got)
			}
		})
	}
	before.expectBack(t)
	expectEmpty()
}

// TestUnfinishedContent: clients that start many writes with the current tag, and
// never finish them, don't prevent other clients from writing.
func TestUnfinishedContent(t *testing.T) {
	times := 50
	if testing.Short() {
		times = 10
	}
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			expectEmpty := spoolTo(t)
			docs := legacydocs.New(legacydocs.Options{})
			base := abused(t, fmt.Sprintf("%s\nlease 30s\nbuffer %d", options, abuseBuffer), condensed(docs))
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")
			to := base + "/docs/plan"
			edited(t, to, "first")
			before := takeFootprint()
			var unfinished []*wire
			for i := range times {
				for _, f := range forms {
					tag := edited(t, to, fmt.Sprintf("edit %d %s", i, f.name))
					most, _ := f.split(f.content("unfinished"))
					c := put(t, base, "/docs/plan", f, "If-Match: "+tag)
					if i%4 > 0 {
						c.raw(most)
					}
					unfinished = append(unfinished, c)
				}
			}
			tag := edited(t, to, "during")
			during := takeFootprint()
			t.Logf("%d writes are unfinished: %+v", len(unfinished), during)
			if limit := before.heap + uint64(len(unfinished))*(16*abuseBuffer) + 12<<20; during.heap > limit {
				t.Errorf("%d unfinished writes take more than %d bytes of memory", len(unfinished), limit)
			}
			for _, c := range unfinished {
				_ = c.Close()
			}
			before.expectBack(t)
			expectEmpty()
			if got, want := len(caddytest.WritesOf(docs, "/docs/plan")), 3+len(unfinished); got != want {
				t.Errorf("the backend applied %d writes, want %d", got, want)
			}
			caddytest.Send(t, "PUT", to, "last", "If-Match", tag).Expect(t, 204)
		})
	}
}

// TestUnconditionalContent: an unconditional write doesn't block conditional ones
// while its content is still arriving, nor after its client has left halfway.
func TestUnconditionalContent(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			expectEmpty := spoolTo(t)
			docs := legacydocs.New(legacydocs.Options{})
			base := abused(t, fmt.Sprintf("lease 30s\nwait %s\nbuffer %d", patience, abuseBuffer), condensed(docs))
			to := base + "/docs/plan"
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")
			edited(t, to, "before")
			most, _ := f.split(f.content("unfinished"))
			c := put(t, base, "/docs/plan", f)
			c.raw(most)
			for i := range 5 {
				edited(t, to, fmt.Sprint("during ", i))
			}
			_ = c.Close()
			for i := range 5 {
				edited(t, to, fmt.Sprint("after ", i))
			}
			expectEmpty()
		})
	}
}

// TestContentCalledAStream: a client that calls its content a stream, and never ends it,
// doesn't keep others from writing.
func TestContentCalledAStream(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	base := abused(t, fmt.Sprintf("lease 30s\nwait %s\nbuffer %d", patience, abuseBuffer), condensed(docs))
	for i, called := range []string{
		"Incremental: ?1", "Content-Type: text/event-stream", "Content-Type: application/grpc", "Content-Type: application/grpc-web+proto",
	} {
		for _, condition := range []string{"If-Match: *", "X-Condition: none"} {
			for _, f := range forms {
				t.Run(called+", "+condition+", "+f.name, func(t *testing.T) {
					path := fmt.Sprintf("/docs/stream-%d", i)
					caddytest.Bypass(t, docs, "PUT", path, "new")
					most, rest := f.split(f.content("unfinished"))
					c := put(t, base, path, f, called, condition)
					c.raw(most)
					for i := range 3 {
						edited(t, base+path, fmt.Sprint("during ", i))
					}
					c.raw(rest)
					c.answer("PUT").Expect(t, 204)
				})
			}
		}
	}
}

// TestPipelined: requests that follow a write on the same connection are answered
// after it, and its content is never parsed as a request (RFC 9112, sections 9.3.2
// and 11.2).
func TestPipelined(t *testing.T) {
	for _, tt := range []struct {
		name, options string
		condition     func(tag string) string
		status        int
		writes        int
	}{
		{"passes", "", func(tag string) string { return "If-Match: " + tag }, 204, 1},
		{"unconditional", "", func(string) string { return "X-None: x" }, 204, 1},
		{"refused", "", func(string) string { return `If-Match: "stale"` }, 412, 0},
		{"required", "require", func(string) string { return "X-None: x" }, 428, 0},
		{"too many tags", "", func(string) string { return "If-Match: " + strings.Repeat(`"x",`, 10_000) }, 431, 0},
	} {
		for _, f := range forms {
			t.Run(tt.name+", "+f.name, func(t *testing.T) {
				backend := caddytest.Page("content")
				base := abused(t, fmt.Sprintf("%s\nbuffer %d", tt.options, abuseBuffer), backend)
				tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
				host := strings.TrimPrefix(base, "http://")
				smuggled := "DELETE /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
				content := strings.Repeat(smuggled, f.size/len(smuggled)+1)[:f.size]
				most, rest := f.split(content)
				head := fmt.Sprintf("PUT /page HTTP/1.1\r\nHost: %s\r\n%s\r\n%s\r\n\r\n", host, f.framing(), tt.condition(tag))
				get := "GET /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
				last := "GET /page HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"

				c := dialWire(t, base)
				c.raw(get + head + most + rest + get + head + most + rest + last)
				for range 2 {
					c.answer("GET").Expect(t, 200)
					c.answer("PUT").Expect(t, tt.status)
				}
				c.answer("GET").Expect(t, 200)
				c.ended()
				if got := backend.All("DELETE"); len(got) > 0 {
					t.Errorf("%d smuggled requests reached the backend", len(got))
				}
				puts := backend.All("PUT")
				if len(puts) != 2*tt.writes {
					t.Errorf("the backend got %d PUTs", len(puts))
				}
				for _, h := range puts {
					if h.Content != content {
						t.Errorf("the backend got different content: %d bytes", len(h.Content))
					}
				}
			})
		}
	}
}

// TestTooMuch: conditions far beyond honest use are refused, and cost little.
func TestTooMuch(t *testing.T) {
	backend := caddytest.Page("content")
	base := abused(t, "verify never", backend)
	tag := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200).Tag(t)
	before := takeFootprint()
	for name, field := range map[string]string{
		"10,000 tags":                       strings.TrimSuffix(strings.Repeat(`"x",`, 10_000), ","),
		"10,000 tags, then the current one": strings.Repeat(`"x",`, 10_000) + tag,
		"1 MB of tags":                      strings.Repeat(`"x",`, 1_000_000/4),
		"1 MB of one tag":                   `"` + strings.Repeat("x", 1_000_000) + `"`,
		"1 MB of commas":                    strings.Repeat(",", 1_000_000),
		"1 MB of quotes":                    strings.Repeat(`"`, 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", field).Expect(t, 431)
				if len(a.Content) > 4<<10 {
					t.Errorf("the refusal has %d bytes", len(a.Content))
				}
			}
		})
	}
	backend.Unwritten(t)
	before.expectBack(t)
	caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 204)
}

// longPath returns a path of 100 KB.
func longPath(i int) string { return fmt.Sprintf("/docs/%d-%s", i, strings.Repeat("x", 100_000)) }

// TestLongPaths: the memory that a resource takes doesn't grow with its path.
func TestLongPaths(t *testing.T) {
	use := func(t *testing.T, base string, i int) {
		t.Helper()
		to := base + longPath(i)
		tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "PUT", to, "x", "If-Match", tag).Expect(t, 204)
	}
	const resources = 200
	// caddytest.Page can't serve here: it keeps all requests in memory.
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			w.WriteHeader(204)
		}
	})
	t.Run("memory", func(t *testing.T) {
		base := abused(t, caddytest.Trusting, backend)
		use(t, base, resources)
		before := takeFootprint()
		for i := range resources {
			use(t, base, i)
		}
		before.expectBack(t) // 200 times 100 KB would exceed the limit
	})
	t.Run("redis", func(t *testing.T) {
		redis := caddytest.UsedRedis(t)
		base := abused(t, "store redis redis://"+redis.Addr, backend)
		for i := range 20 {
			use(t, base, i)
		}
		c := redis.Client()
		keys, err := c.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) < 20 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			used, err := c.MemoryUsage(t.Context(), key).Result()
			if err != nil || used > 2000 || len(key) > 500 {
				t.Errorf("a key of %d bytes takes %d bytes, %v", len(key), used, err)
			}
		}
	})
}

// inLine counts the writes of this process that wait in a queue.
func inLine() int {
	for stacks := make([]byte, 4<<20); ; stacks = make([]byte, 2*len(stacks)) {
		if n := runtime.Stack(stacks, true); n < len(stacks) {
			return bytes.Count(stacks[:n], []byte("storeshare.(*Queues).Acquire("))
		}
	}
}

// TestCrowd: 1,000 clients write one resource while its first write is in flight.
// As many as the queue holds wait, and take their turns in order. The others are
// told at once to try again later.
func TestCrowd(t *testing.T) {
	const (
		crowd   = 1000
		queue   = 256
		ordered = 40
	)
	for _, kind := range []struct {
		name   string
		fields []string
	}{{"conditional", []string{"If-Match", "*"}}, {"unconditional", nil}} {
		t.Run(kind.name, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			to := abused(t, "verify never\nwait 1m\nlease 30s", docs) + "/docs/plan"
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")
			tag := caddytest.Send(t, "GET", to, "").Expect(t, 200).Tag(t)
			before := takeFootprint()
			first := g.Send(context.Background(), t, "PUT", to, "first", "If-Match", tag)

			results := make(chan caddytest.Result, crowd)
			write := func(content string) {
				go func() {
					a, err := caddytest.Try(context.Background(), "PUT", to, content, kind.fields...)
					results <- caddytest.Result{Answer: a, Err: err}
				}()
			}
			// The first one waits at the store for the lease; the others queue behind it.
			var order []string
			for i := range ordered {
				order = append(order, legacydocs.Digest(fmt.Appendf(nil, "in line %d", i)))
				write(fmt.Sprint("in line ", i))
				if i == 0 {
					caddytest.Eventually(t, "the first one waits at the store", func() bool { return waitingAtStore() == 1 })
					continue
				}
				caddytest.Eventually(t, fmt.Sprintf("%d writes are queued", i), func() bool { return inLine() == i })
			}
			for i := ordered; i < crowd-1; i++ {
				write(fmt.Sprint("crowd ", i))
			}
			begun := time.Now()
			for range crowd - 1 - 1 - queue { // all but the write in the backend, the one at the store, and the queued ones
				select {
				case r := <-results:
					if r.Err != nil {
						t.Fatal(r.Err)
					}
					r.Expect(t, 503).ExpectOutcome(t, "conflict")
					if r.Header.Get("Retry-After") == "" {
						t.Error("Retry-After is missing")
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("%d writes are queued", inLine())
				}
			}
			t.Logf("the last write that found the queue full was refused after %v", time.Since(begun))
			if got := inLine(); got != queue {
				t.Errorf("%d writes are queued, want %d", got, queue)
			}

			g.Open()
			caddytest.ExpectResult(t, first, 204)
			for range 1 + queue {
				caddytest.ExpectResult(t, results, 204)
			}
			var served []string
			for _, w := range caddytest.WritesOf(docs, "/docs/plan")[2:] {
				served = append(served, w.Body)
			}
			if len(served) != 1+queue {
				t.Errorf("the backend applied %d writes, want %d", len(served), 1+queue)
			}
			if kind.fields != nil && !slices.Equal(served[:min(ordered, len(served))], order) {
				t.Error("the writes were not served in the order in which they came")
			}
			before.expectBack(t)
			edited(t, to, "last")
		})
	}
}

// waitingAtStore counts the writes of this process that wait until the store says
// that the write before them has ended.
func waitingAtStore() int {
	stacks := make([]byte, 4<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("storeshare.(*Share).Wait("))
}

// TestHalfClosed: a client that closes its sending side may be treated as gone.
// But any answer that it gets is true, and nobody waits for it.
func TestHalfClosed(t *testing.T) {
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			expectEmpty := spoolTo(t)
			docs := legacydocs.New(legacydocs.Options{})
			base := abused(t, fmt.Sprintf("%s\nlease 30s\nbuffer %d", options, abuseBuffer), condensed(docs))
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "new")
			to := base + "/docs/plan"
			edited(t, to, "first")
			before := takeFootprint()
			for i := range 20 {
				for _, f := range forms {
					for _, whole := range []bool{true, false} {
						tag := edited(t, to, fmt.Sprintf("edit %d %s %t", i, f.name, whole))
						content := f.content(fmt.Sprintf("half-closed %d %s %t", i, f.name, whole))
						most, rest := f.split(content)
						c := put(t, base, "/docs/plan", f, "If-Match: "+tag)
						if c.raw(most); whole {
							c.raw(rest)
						}
						if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
							t.Fatal(err)
						}
						answer := c.all()
						_ = c.Close()
						applied := slices.ContainsFunc(docs.Writes(), func(w legacydocs.Write) bool {
							return w.Body == digested(content)
						})
						if told := strings.HasPrefix(answer, "HTTP/1.1 204"); told && !applied || applied && !whole {
							t.Errorf("%s: answered 204: %t, sent completely: %t, applied: %t", f.name, told, whole, applied)
						}
					}
				}
			}
			before.expectBack(t)
			expectEmpty()
			edited(t, to, "last")
		})
	}
}
