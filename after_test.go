package preconditions_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// shelf is a backend with one document, and a way of its own to store it. The
// answers to writes have validators that describe nothing.
type shelf struct {
	mu      sync.Mutex
	content string
	store   func(sent string) (stored string)
	answer  func(w http.ResponseWriter, r *http.Request)
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == "GET" && s.content == "":
		w.WriteHeader(404)
		return
	case r.Method == "GET":
		_, _ = io.WriteString(w, s.content)
		return
	case r.Method == "DELETE":
		s.content = ""
	case s.store != nil:
		s.content = s.store(string(sent))
	default:
		s.content = string(sent)
	}
	w.Header().Set("ETag", `"of the answer"`)
	w.Header().Set("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	_, _ = io.WriteString(w, "done")
}

// TestOptionWriteETag: the answer to a write has the tag that the next GET has,
// if the content was stored as it was sent (RFC 9110, section 9.3.4), or if the
// user wants it anyhow, and no other.
func TestOptionWriteETag(t *testing.T) {
	asSent := func(sent string) string { return sent }
	changed := func(sent string) string { return strings.ToUpper(sent) }
	status := func(status int, fields ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(fields); i += 2 {
				w.Header().Set(fields[i], fields[i+1])
			}
			w.WriteHeader(status)
		}
	}
	for _, tt := range []struct {
		name             string
		store            func(string) string
		method           string
		answer           func(http.ResponseWriter, *http.Request)
		fields           []string
		verbatim, always bool // whether the answer has the tag
	}{
		{name: "PUT stored as sent", store: asSent, method: "PUT", verbatim: true, always: true},
		{name: "PUT stored as sent, 204", store: asSent, method: "PUT", answer: status(204), verbatim: true, always: true},
		{name: "PUT stored as sent, 201 with its own Location", store: asSent, method: "PUT", answer: status(201, "Location", "/page"), verbatim: true, always: true},
		{name: "PUT stored otherwise", store: changed, method: "PUT", always: true},
		{name: "PUT stored longer than sent", store: func(s string) string { return s + strings.Repeat("!", 1000) }, method: "PUT", always: true},
		{name: "PUT of a part (14.5)", store: asSent, method: "PUT", fields: []string{"Content-Range", "bytes 0-3/8"}, always: true},
		{name: "PUT in a coding", store: asSent, method: "PUT", fields: []string{"Content-Encoding", "x-own"}, always: true},
		{name: "PATCH", store: asSent, method: "PATCH", always: true},
		{name: "POST", store: asSent, method: "POST", always: true},
		{name: "POST that creates another resource (15.3.2)", store: asSent, method: "POST", answer: status(201, "Location", "/other", "ETag", `W/"x"`)},
		{name: "PUT that is to be a PATCH", store: asSent, method: "PUT", fields: []string{"X-HTTP-Method-Override", "PATCH"}, always: true},
		{name: "DELETE", method: "DELETE"},
		{name: "202", store: asSent, method: "PUT", answer: status(202)},
		{name: "207", store: asSent, method: "PUT", answer: status(207)},
		{name: "303", store: asSent, method: "PUT", answer: status(303)},
		{name: "400", store: asSent, method: "PUT", answer: status(400)},
		{name: "500", store: asSent, method: "PUT", answer: status(500)},
		{name: "an answer that is no end of the write", store: asSent, method: "PUT", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for option, want := range map[string]bool{
				"": tt.verbatim, "write_etag verbatim": tt.verbatim, "write_etag always": tt.always, "write_etag off": false,
			} {
				s := &shelf{content: "old", store: tt.store, answer: tt.answer}
				url := site(t, option, s) + "/page"
				tag := send(t, "GET", url, "").expect(t, 200).tag(t)
				a := send(t, tt.method, url, "new content", append(tt.fields, "If-Match", tag)...)
				got := a.Header.Get("ETag")
				if !want {
					if got != "" || a.Header.Get("Last-Modified") != "" {
						t.Errorf("%q: the answer has the validators %s, %s", option, got, a.Header.Get("Last-Modified"))
					}
					continue
				}
				if now := send(t, "GET", url, "").expect(t, 200).tag(t); got != now || got == tag {
					t.Errorf("%q: the answer has the tag %q, want %s", option, got, now)
				}
				if a.StatusCode == 200 && a.Content != "done" {
					t.Errorf("%q: the answer is %q", option, a.Content)
				}
				if a := send(t, tt.method, url, "newer", "If-Match", got); a.StatusCode == 412 {
					t.Errorf("%q: the tag of the answer isn't current", option)
				}
			}
		})
	}
}

// TestWriteETagWithoutCondition: beside other writes nobody can tell whose
// content is stored now.
func TestWriteETagWithoutCondition(t *testing.T) {
	for _, option := range []string{"", "write_etag always", "unconditional forward"} {
		url := site(t, option, new(shelf)) + "/page"
		a := send(t, "PUT", url, "new").expect(t, 200)
		if a.Header.Get("ETag") != "" || a.Header.Get("Last-Modified") != "" {
			t.Errorf("%q: the answer has the validators %s, %s", option, a.Header.Get("ETag"), a.Header.Get("Last-Modified"))
		}
	}
}

// TestWriteETagOfWhatWasCreated: a backend's own strong tag on 201 is that of
// the resource that Location names (RFC 9110, section 15.3.2).
func TestWriteETagOfWhatWasCreated(t *testing.T) {
	s := &shelf{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/docs/1")
		w.WriteHeader(201)
	}}
	for option, want := range map[string]string{"etag upstream": `"of the answer"`, "etag body": ""} {
		if got := send(t, "POST", site(t, option, s)+"/docs", "x").expect(t, 201).Header.Get("ETag"); got != want {
			t.Errorf("%s: the tag is %q, want %q", option, got, want)
		}
	}
}

// TestWriteThenKnown: what a write has led to is known without another look.
func TestWriteThenKnown(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		docs, seen := watched(legacydocs.Options{})
		n := deploy(t, "verify never", docs)
		tag := send(t, "PUT", n.first()+"/docs/a", "one", "If-None-Match", "*").expect(t, 201).tag(t)
		for i := range 3 {
			if got := seen.asks(func() {
				tag = send(t, "PUT", n.other()+"/docs/a", fmt.Sprint(i), "If-Match", tag).expect(t, 204).tag(t)
			}); got != 1 {
				t.Errorf("the origin was asked %d times, want once, after the write", got)
			}
		}
		if got := seen.asks(func() { send(t, "PUT", n.first()+"/docs/a", "x", "If-Match", `"stale"`).expect(t, 412) }); got != 0 {
			t.Errorf("the origin was asked %d times, want 0", got)
		}
	})
}

// TestLookAfterOneThingAtATime: a backend that serves one request at a time is
// asked only when its answer is complete; if that is long, it isn't asked.
func TestLookAfterOneThingAtATime(t *testing.T) {
	for size, tagged := range map[int]bool{100: true, 8 << 20: false} {
		s := &shelf{content: "old", answer: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", size)) // while the lock is held
		}}
		url := site(t, "lease 5s", s) + "/page"
		tag := send(t, "GET", url, "").tag(t)
		a := send(t, "PUT", url, "new", "If-Match", tag).expect(t, 200)
		if len(a.Content) != size || (a.Header.Get("ETag") != "") != tagged {
			t.Errorf("an answer of %d bytes came with %d, tag %s", size, len(a.Content), a.Header.Get("ETag"))
		}
	}
}

// TestReplay: a write that has landed, and is sent again because its answer was
// lost, is no conflict (RFC 9110, section 13.1.1). Any other one is.
func TestReplay(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		docs := legacydocs.New(legacydocs.Options{After: func(r *http.Request) int {
			if r.Header.Get("X-Lost") != "" && r.Method != "GET" {
				<-r.Context().Done() // until the client has gone
			}
			return 0
		}})
		n := deploy(t, "replay\nbuffer 1000\nlease 2s\nwait 10s", docs)

		i := 0
		fresh := func() (path, tag string) {
			i++
			path = fmt.Sprint("/docs/", i)
			bypass(t, docs, "PUT", path, "old")
			return path, send(t, "GET", n.first()+path, "").expect(t, 200).tag(t)
		}
		writes := func(path string) (n int) {
			for _, w := range docs.Writes() {
				if w.Path == path {
					n++
				}
			}
			return n
		}

		for _, content := range []string{"new", strings.Repeat("new", 1000)} {
			path, tag := fresh()
			fields := []string{"If-Match", tag, "Idempotency-Key", `"a"`, "Authorization", "Basic x"}
			send(t, "PUT", n.first()+path, content, fields...).expect(t, 204)
			landed := writes(path)

			again := send(t, "PUT", n.other()+path, content, fields...).expect(t, 204).expectOutcome(t, "passed")
			// A longer content than the buffer has no tag when it is read.
			if got, want := again.tag(t), send(t, "GET", n.first()+path, "").Header.Get("ETag"); want != "" && got != want {
				t.Errorf("the tag is %s, want %s", got, want)
			}
			send(t, "PUT", n.first()+path, content, fields...).expect(t, 204)
			for what, other := range map[string][]string{
				"another condition": {"If-Match", tag + `, "x"`, "Idempotency-Key", `"a"`, "Authorization", "Basic x"},
				"another key":       {"If-Match", tag, "Idempotency-Key", `"b"`, "Authorization", "Basic x"},
				"no key":            {"If-Match", tag, "Authorization", "Basic x"},
				"another user":      {"If-Match", tag, "Idempotency-Key", `"a"`, "Authorization", "Basic y"},
				"another session":   {"If-Match", tag, "Idempotency-Key", `"a"`, "Authorization", "Basic x", "Cookie", "s=1"},
				"another type":      append(slices.Clone(fields), "Content-Type", "text/x"),
				"another part":      append(slices.Clone(fields), "Content-Range", "bytes 0-2/6"),
				"another target":    append(slices.Clone(fields), "Destination", n.first()+"/docs/elsewhere"),
				"another method":    append(slices.Clone(fields), "X-HTTP-Method-Override", "PATCH"),
			} {
				t.Run(what, func(t *testing.T) { send(t, "PUT", n.other()+path, content, other...).expect(t, 412) })
			}
			send(t, "PUT", n.first()+path, "other"+content, fields...).expect(t, 412)
			send(t, "PATCH", n.first()+path, content, fields...).expect(t, 412)
			send(t, "PUT", n.first()+path+"?q", content, fields...).expect(t, 412)
			if got := writes(path); got != landed {
				t.Errorf("%d writes, want %d", got, landed)
			}

			// The tag is good for the next write, after which the first one is history.
			send(t, "PUT", n.first()+path, "next", "If-Match", again.tag(t)).expect(t, 204)
			send(t, "PUT", n.other()+path, content, fields...).expect(t, 412)
		}

		t.Run("a creation", func(t *testing.T) {
			for range 3 {
				send(t, "PUT", n.random()+"/docs/created", "new", "If-None-Match", "*").expect(t, 201)
			}
			send(t, "PUT", n.first()+"/docs/created", "other", "If-None-Match", "*").expect(t, 412)
			if got := writes("/docs/created"); got != 1 {
				t.Errorf("%d writes", got)
			}
		})
		t.Run("a deletion", func(t *testing.T) {
			path, tag := fresh()
			for range 3 {
				send(t, "DELETE", n.random()+path, "", "If-Match", tag).expect(t, 204)
			}
			send(t, "DELETE", n.first()+path, "", "If-Match", `"x"`).expect(t, 404)
		})
		t.Run("the client has gone", func(t *testing.T) {
			path, tag := fresh()
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if _, err := try(ctx, "PUT", n.first()+path, "new", "If-Match", tag, "X-Lost", "yes"); err == nil {
				t.Fatal("the answer was not lost")
			}
			// Nobody knows, after the lease, how that ended: it may have been somebody else's.
			send(t, "PUT", n.other()+path, "new", "If-Match", tag).expect(t, 412)
		})
		t.Run("a change around the handler", func(t *testing.T) {
			path, tag := fresh()
			send(t, "PUT", n.first()+path, "new", "If-Match", tag).expect(t, 204)
			bypass(t, docs, "PUT", path, "around")
			send(t, "GET", n.other()+path, "").expect(t, 200)
			send(t, "PUT", n.first()+path, "new", "If-Match", tag).expect(t, 412)
		})
		t.Run("a write without a condition", func(t *testing.T) {
			path, tag := fresh()
			send(t, "PUT", n.first()+path, "new", "If-Match", tag).expect(t, 204)
			send(t, "PUT", n.first()+path, "blind").expect(t, 204)
			send(t, "PUT", n.first()+path, "new", "If-Match", tag).expect(t, 412)
		})
	})
}

// TestReplayOff: without the option, it is a conflict.
func TestReplayOff(t *testing.T) {
	url := site(t, "", legacydocs.New(legacydocs.Options{})) + "/docs/a"
	send(t, "PUT", url, "new", "If-None-Match", "*").expect(t, 201)
	send(t, "PUT", url, "new", "If-None-Match", "*").expect(t, 412)
}

// TestReplayOfWhatIsInFlight: who sends its write again before the first one has
// ended waits for it, and is told the same.
func TestReplayOfWhatIsInFlight(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		g := newGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.pass})
		n := deploy(t, "replay", docs)
		bypass(t, docs, "PUT", "/docs/a", "old")
		tag := send(t, "GET", n.first()+"/docs/a", "").tag(t)
		one := g.send(context.Background(), t, "PUT", n.first()+"/docs/a", "new", "If-Match", tag)
		two := make(chan answer)
		go func() {
			a, _ := try(context.Background(), "PUT", n.other()+"/docs/a", "new", "If-Match", tag)
			two <- a
		}()
		g.open()
		expectResult(t, one, 204)
		if a := <-two; a.Response == nil || a.StatusCode != 204 {
			t.Errorf("got %v, want 204", a.Response)
		}
		if got := len(docs.Writes()); got != 2 {
			t.Errorf("%d writes, want 2", got)
		}
	})
}

// TestReplayForWhoHasLeft: a client that went away while the backend worked
// comes back with the same write, perhaps to another node, and is told what it
// has missed.
func TestReplayForWhoHasLeft(t *testing.T) {
	onEveryStore(t, func(t *testing.T, deploy deployment) {
		g := newGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.pass})
		n := deploy(t, "replay", docs)
		bypass(t, docs, "PUT", "/docs/a", "old")
		tag := send(t, "GET", n.first()+"/docs/a", "").tag(t)
		ctx, leave := context.WithCancel(context.Background())
		gone := g.send(ctx, t, "PUT", n.first()+"/docs/a", "new", "If-Match", tag)
		leave()
		if r := <-gone; r.err == nil {
			t.Fatalf("the client got %v", r.Response)
		}
		g.open()
		a := send(t, "PUT", n.other()+"/docs/a", "new", "If-Match", tag).expect(t, 204)
		if got := len(docs.Writes()); got != 2 {
			t.Errorf("%d writes, want 2", got)
		}
		send(t, "PUT", n.first()+"/docs/a", "newer", "If-Match", a.tag(t)).expect(t, 204)
	})
}

// TestWriteETagOfRepresentation: an answer whose Content-Location is the target
// is its new representation (RFC 9110, section 8.7), and has its tag.
func TestWriteETagOfRepresentation(t *testing.T) {
	for location, represents := range map[string]bool{
		"/page?q": true, "?q": true, "/page": false, "/other": false, "//elsewhere.example/page?q": false, "": false,
	} {
		for _, method := range []string{"PUT", "PATCH", "POST"} {
			for _, conditional := range []bool{true, false} {
				s := &shelf{content: "old", store: strings.ToUpper}
				s.answer = func(w http.ResponseWriter, r *http.Request) {
					w.Header().Del("ETag")
					w.Header().Set("Content-Location", location)
					_, _ = io.WriteString(w, s.content)
				}
				url := site(t, "", s) + "/page?q"
				fields := []string{"If-Match", send(t, "GET", url, "").tag(t)}
				if !conditional {
					fields = nil
				}
				a := send(t, method, url, "new", fields...).expect(t, 200)
				tag := send(t, "GET", url, "").tag(t)
				if got := a.Header.Get("ETag"); represents && got != tag || !represents && got != "" {
					t.Errorf("%s, Content-Location: %s: the tag is %q, that of the next GET %s", method, location, got, tag)
				}
				send(t, method, url, "newer", "If-Match", tag).expect(t, 200)
			}
		}
	}
}
