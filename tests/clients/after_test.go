package clients

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestOptionWriteETag: the answer to a write has the tag of the next GET if the
// content was stored as sent (RFC 9110, section 9.3.4). With write_etag always,
// answers to other completed changes have it too. All other answers have no tag.
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
		{name: "PUT stored in changed form", store: changed, method: "PUT", always: true},
		{name: "PUT stored longer than sent", store: func(s string) string { return s + strings.Repeat("!", 1000) }, method: "PUT", always: true},
		{name: "PUT of a part (14.5)", store: asSent, method: "PUT", fields: []string{"Content-Range", "bytes 0-3/8"}, always: true},
		{name: "PUT with a content coding", store: asSent, method: "PUT", fields: []string{"Content-Encoding", "x-own"}, always: true},
		{name: "PATCH", store: asSent, method: "PATCH", always: true},
		{name: "POST", store: asSent, method: "POST", always: true},
		{name: "POST that creates another resource (15.3.2)", store: asSent, method: "POST", answer: status(201, "Location", "/other", "ETag", `W/"x"`)},
		{name: "PUT overridden to PATCH", store: asSent, method: "PUT", fields: []string{"X-HTTP-Method-Override", "PATCH"}, always: true},
		{name: "DELETE", method: "DELETE"},
		{name: "202", store: asSent, method: "PUT", answer: status(202)},
		{name: "207", store: asSent, method: "PUT", answer: status(207)},
		{name: "303", store: asSent, method: "PUT", answer: status(303)},
		{name: "400", store: asSent, method: "PUT", answer: status(400)},
		{name: "500", store: asSent, method: "PUT", answer: status(500)},
		{name: "an event stream, which doesn't end the write", store: asSent, method: "PUT", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for option, want := range map[string]bool{
				"": tt.verbatim, "write_etag verbatim": tt.verbatim, "write_etag always": tt.always, "write_etag off": false,
			} {
				s := &caddytest.Shelf{Content: "old", Store: tt.store, Answer: tt.answer}
				url := caddytest.Site(t, option, s) + "/page"
				tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
				a := caddytest.Send(t, tt.method, url, "new content", append(tt.fields, "If-Match", tag)...)
				got := a.Header.Get("ETag")
				if !want {
					if got != "" || a.Header.Get("Last-Modified") != "" {
						t.Errorf("%q: the answer has the validators %s, %s", option, got, a.Header.Get("Last-Modified"))
					}
					continue
				}
				if now := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t); got != now || got == tag {
					t.Errorf("%q: the answer has the tag %q, want %s", option, got, now)
				}
				if a.StatusCode == 200 && a.Content != "done" {
					t.Errorf("%q: the answer is %q", option, a.Content)
				}
				if a := caddytest.Send(t, tt.method, url, "newer", "If-Match", got); a.StatusCode == 412 {
					t.Errorf("%q: the tag in the answer isn't current", option)
				}
			}
		})
	}
}

// TestWriteETagWithoutCondition: an unconditional write gets no validators in its
// answer. Other writes may run at the same time, so the stored content may not be
// its own.
func TestWriteETagWithoutCondition(t *testing.T) {
	for _, option := range []string{"", "write_etag always", "unconditional forward"} {
		url := caddytest.Site(t, option, new(caddytest.Shelf)) + "/page"
		a := caddytest.Send(t, "PUT", url, "new").Expect(t, 200)
		if a.Header.Get("ETag") != "" || a.Header.Get("Last-Modified") != "" {
			t.Errorf("%q: the answer has the validators %s, %s", option, a.Header.Get("ETag"), a.Header.Get("Last-Modified"))
		}
	}
}

// TestWriteETagOfWhatWasCreated: the backend's own strong tag on a 201 describes
// the resource in Location (RFC 9110, section 15.3.2). The client gets it if the
// site uses the backend's tags.
func TestWriteETagOfWhatWasCreated(t *testing.T) {
	s := &caddytest.Shelf{Answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/docs/1")
		w.WriteHeader(201)
	}}
	for option, want := range map[string]string{"etag upstream": `"of the answer"`, "etag body": ""} {
		if got := caddytest.Send(t, "POST", caddytest.Site(t, option, s)+"/docs", "x").Expect(t, 201).Header.Get("ETag"); got != want {
			t.Errorf("%s: the tag is %q, want %q", option, got, want)
		}
	}
}

// TestWriteThenKnown: after a write, its result is known. The next write needs no
// GET before it is decided.
func TestWriteThenKnown(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		docs, seen := caddytest.Watched(legacydocs.Options{})
		n := deploy(t, "verify never", docs)
		tag := caddytest.Send(t, "PUT", n.First()+"/docs/a", "one", "If-None-Match", "*").Expect(t, 201).Tag(t)
		for i := range 3 {
			if got := seen.Asks(func() {
				tag = caddytest.Send(t, "PUT", n.Other()+"/docs/a", fmt.Sprint(i), "If-Match", tag).Expect(t, 204).Tag(t)
			}); got != 1 {
				t.Errorf("the origin was asked %d times, want once (after the write)", got)
			}
		}
		if got := seen.Asks(func() { caddytest.Send(t, "PUT", n.First()+"/docs/a", "x", "If-Match", `"stale"`).Expect(t, 412) }); got != 0 {
			t.Errorf("the origin was asked %d times, want 0", got)
		}
	})
}

// TestLookAfterOneThingAtATime: a backend that serves one request at a time is
// probed only after its answer to the write is complete. It isn't probed if that
// answer is long.
func TestLookAfterOneThingAtATime(t *testing.T) {
	for size, tagged := range map[int]bool{100: true, 8 << 20: false} {
		s := &caddytest.Shelf{Content: "old", Answer: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", size)) // while the lock is held
		}}
		url := caddytest.Site(t, "lease 5s", s) + "/page"
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		a := caddytest.Send(t, "PUT", url, "new", "If-Match", tag).Expect(t, 200)
		if len(a.Content) != size || (a.Header.Get("ETag") != "") != tagged {
			t.Errorf("an answer of %d bytes arrived with %d bytes and tag %q", size, len(a.Content), a.Header.Get("ETag"))
		}
	}
}

// TestReplay: a client whose write landed, but whose answer was lost, may send the
// same write again without a conflict (RFC 9110, section 13.1.1). Any other write
// with the old tag is a conflict.
func TestReplay(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		docs := legacydocs.New(legacydocs.Options{After: func(r *http.Request) int {
			if r.Header.Get("X-Lost") != "" && r.Method != "GET" {
				<-r.Context().Done() // wait until the client has gone
			}
			return 0
		}})
		n := deploy(t, "replay\nbuffer 1000\nlease 1s\nwait 10s", docs)

		i := 0
		fresh := func() (path, tag string) {
			i++
			path = fmt.Sprint("/docs/", i)
			caddytest.Bypass(t, docs, "PUT", path, "old")
			return path, caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200).Tag(t)
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
			caddytest.Send(t, "PUT", n.First()+path, content, fields...).Expect(t, 204)
			landed := writes(path)

			again := caddytest.Send(t, "PUT", n.Other()+path, content, fields...).Expect(t, 204).ExpectOutcome(t, "passed")
			// A GET shows no tag if the content is longer than the buffer.
			if got, want := again.Tag(t), caddytest.Send(t, "GET", n.First()+path, "").Header.Get("ETag"); want != "" && got != want {
				t.Errorf("the tag is %s, want %s", got, want)
			}
			caddytest.Send(t, "PUT", n.First()+path, content, fields...).Expect(t, 204)
			for what, other := range map[string][]string{
				"different condition": {"If-Match", tag + `, "x"`, "Idempotency-Key", `"a"`, "Authorization", "Basic x"},
				"different key":       {"If-Match", tag, "Idempotency-Key", `"b"`, "Authorization", "Basic x"},
				"no key":              {"If-Match", tag, "Authorization", "Basic x"},
				"different user":      {"If-Match", tag, "Idempotency-Key", `"a"`, "Authorization", "Basic y"},
				"different session":   {"If-Match", tag, "Idempotency-Key", `"a"`, "Authorization", "Basic x", "Cookie", "s=1"},
				"different type":      append(slices.Clone(fields), "Content-Type", "text/x"),
				"different part":      append(slices.Clone(fields), "Content-Range", "bytes 0-2/6"),
				"different target":    append(slices.Clone(fields), "Destination", n.First()+"/docs/elsewhere"),
				"an API key":          append(slices.Clone(fields), "X-Api-Key", "a"),
				"different method":    append(slices.Clone(fields), "X-HTTP-Method-Override", "PATCH"),
			} {
				t.Run(what, func(t *testing.T) { caddytest.Send(t, "PUT", n.Other()+path, content, other...).Expect(t, 412) })
			}
			caddytest.Send(t, "PUT", n.First()+path, "other"+content, fields...).Expect(t, 412)
			caddytest.Send(t, "PATCH", n.First()+path, content, fields...).Expect(t, 412)
			caddytest.Send(t, "PUT", n.First()+path+"?q", content, fields...).Expect(t, 412)
			if got := writes(path); got != landed {
				t.Errorf("%d writes, want %d", got, landed)
			}

			// The tag is valid for the next write. After that, the first write can't be replayed.
			caddytest.Send(t, "PUT", n.First()+path, "next", "If-Match", again.Tag(t)).Expect(t, 204)
			caddytest.Send(t, "PUT", n.Other()+path, content, fields...).Expect(t, 412)
		}

		t.Run("a stranger", func(t *testing.T) {
			path, tag := fresh()
			caddytest.Send(t, "PUT", n.First()+path, "new", "If-Match", tag, "X-Api-Key", "a", "X-Request-Id", "1").Expect(t, 204)
			for _, fields := range [][]string{nil, {"X-Api-Key", "b"}, {"X-Api-Key", "a", "X-Forwarded-User", "me"}} {
				caddytest.Send(t, "PUT", n.Other()+path, "new", append(fields, "If-Match", tag)...).Expect(t, 412)
			}
			caddytest.Send(t, "PUT", n.Other()+path, "new", "If-Match", tag, "X-Api-Key", "a", "X-Request-Id", "2").Expect(t, 204)
		})
		t.Run("a creation", func(t *testing.T) {
			for range 3 {
				caddytest.Send(t, "PUT", n.Random()+"/docs/created", "new", "If-None-Match", "*").Expect(t, 201)
			}
			caddytest.Send(t, "PUT", n.First()+"/docs/created", "other", "If-None-Match", "*").Expect(t, 412)
			if got := writes("/docs/created"); got != 1 {
				t.Errorf("%d writes", got)
			}
		})
		t.Run("a deletion", func(t *testing.T) {
			path, tag := fresh()
			for range 3 {
				caddytest.Send(t, "DELETE", n.Random()+path, "", "If-Match", tag).Expect(t, 204)
			}
			caddytest.Send(t, "DELETE", n.First()+path, "", "If-Match", `"x"`).Expect(t, 404)
		})
		t.Run("the client has gone", func(t *testing.T) {
			path, tag := fresh()
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if _, err := caddytest.Try(ctx, "PUT", n.First()+path, "new", "If-Match", tag, "X-Lost", "yes"); err == nil {
				t.Fatal("the answer was not lost")
			}
			// After the lease, nobody knows how that write ended. The content may be another client's.
			caddytest.Send(t, "PUT", n.Other()+path, "new", "If-Match", tag).Expect(t, 412)
		})
		t.Run("a change that bypasses the handler", func(t *testing.T) {
			path, tag := fresh()
			caddytest.Send(t, "PUT", n.First()+path, "new", "If-Match", tag).Expect(t, 204)
			caddytest.Bypass(t, docs, "PUT", path, "around")
			caddytest.Send(t, "GET", n.Other()+path, "").Expect(t, 200)
			caddytest.Send(t, "PUT", n.First()+path, "new", "If-Match", tag).Expect(t, 412)
		})
		t.Run("a write without a condition", func(t *testing.T) {
			path, tag := fresh()
			caddytest.Send(t, "PUT", n.First()+path, "new", "If-Match", tag).Expect(t, 204)
			caddytest.Send(t, "PUT", n.First()+path, "blind").Expect(t, 204)
			caddytest.Send(t, "PUT", n.First()+path, "new", "If-Match", tag).Expect(t, 412)
		})
	})
}

// TestReplayOff: without the option replay, sending a write again is a conflict.
func TestReplayOff(t *testing.T) {
	url := caddytest.Site(t, "", legacydocs.New(legacydocs.Options{})) + "/docs/a"
	caddytest.Send(t, "PUT", url, "new", "If-None-Match", "*").Expect(t, 201)
	caddytest.Send(t, "PUT", url, "new", "If-None-Match", "*").Expect(t, 412)
}

// TestReplayOfWhatIsInFlight: a client that sends its write again while the first
// one is in flight waits for that one, and gets the same answer.
func TestReplayOfWhatIsInFlight(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := caddytest.NewGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
		n := deploy(t, "replay", docs)
		caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
		tag := caddytest.Send(t, "GET", n.First()+"/docs/a", "").Tag(t)
		one := g.Send(context.Background(), t, "PUT", n.First()+"/docs/a", "new", "If-Match", tag)
		two := make(chan caddytest.Answer)
		go func() {
			a, _ := caddytest.Try(context.Background(), "PUT", n.Other()+"/docs/a", "new", "X-Hold", "PUT", "If-Match", tag) // as the first
			two <- a
		}()
		g.Open()
		caddytest.ExpectResult(t, one, 204)
		if a := <-two; a.Response == nil || a.StatusCode != 204 {
			t.Errorf("got %v, want 204", a.Response)
		}
		if got := len(docs.Writes()); got != 2 {
			t.Errorf("%d writes, want 2", got)
		}
	})
}

// TestReplayForWhoHasLeft: a client that disconnects while the backend works on
// its write, and sends it again, gets the answer that it missed. This also works
// on a different node.
func TestReplayForWhoHasLeft(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := caddytest.NewGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
		n := deploy(t, "replay", docs)
		caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
		tag := caddytest.Send(t, "GET", n.First()+"/docs/a", "").Tag(t)
		ctx, leave := context.WithCancel(context.Background())
		gone := g.Send(ctx, t, "PUT", n.First()+"/docs/a", "new", "If-Match", tag)
		leave()
		if r := <-gone; r.Err == nil {
			t.Fatalf("the client got %v", r.Response)
		}
		g.Open()
		a := caddytest.Send(t, "PUT", n.Other()+"/docs/a", "new", "X-Hold", "PUT", "If-Match", tag).Expect(t, 204) // as the first
		if got := len(docs.Writes()); got != 2 {
			t.Errorf("%d writes, want 2", got)
		}
		caddytest.Send(t, "PUT", n.First()+"/docs/a", "newer", "If-Match", a.Tag(t)).Expect(t, 204)
	})
}

// TestWriteETagOfRepresentation: an answer whose Content-Location is the target
// URI contains the new representation (RFC 9110, section 8.7), and has its tag.
func TestWriteETagOfRepresentation(t *testing.T) {
	for location, represents := range map[string]bool{
		"/page?q": true, "?q": true, "/page": false, "/other": false, "//elsewhere.example/page?q": false, "": false,
	} {
		for _, method := range []string{"PUT", "PATCH", "POST"} {
			for _, conditional := range []bool{true, false} {
				s := &caddytest.Shelf{Content: "old", Store: strings.ToUpper}
				s.Answer = func(w http.ResponseWriter, r *http.Request) {
					w.Header().Del("ETag")
					w.Header().Set("Content-Location", location)
					_, _ = io.WriteString(w, s.Content)
				}
				url := caddytest.Site(t, "", s) + "/page?q"
				fields := []string{"If-Match", caddytest.Send(t, "GET", url, "").Tag(t)}
				if !conditional {
					fields = nil
				}
				a := caddytest.Send(t, method, url, "new", fields...).Expect(t, 200)
				tag := caddytest.Send(t, "GET", url, "").Tag(t)
				if got := a.Header.Get("ETag"); represents && got != tag || !represents && got != "" {
					t.Errorf("%s, Content-Location: %s: the tag is %q, the next GET has %s", method, location, got, tag)
				}
				caddytest.Send(t, method, url, "newer", "If-Match", tag).Expect(t, 200)
			}
		}
	}
}
