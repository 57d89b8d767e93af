package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// readsStore are the options of a site that answers reads from the store.
const readsStore = "verify never\nreads store\n"

// later is an Expires that is far enough away.
var later = time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat)

// With reads store, a GET or HEAD with the current tag gets 304 without the origin (RFC 9111,
// section 4.3.2), unless anything in the request, or in the response that was seen before,
// leaves a doubt. TAG stands for the tag that the first GET has got.
func TestReadsStore(t *testing.T) {
	t.Parallel()
	type fields = []string
	for _, tt := range []struct {
		name    string
		options string
		shown   fields // by the backend
		first   fields // of the request that has got the tag
		method  string // of the one after it, if not GET
		fields  fields // of the one after it
		content string
		asked   int
		status  int // if not 304
	}{
		{name: "the current tag", fields: fields{"If-None-Match", "TAG"}},
		{name: "HEAD", method: "HEAD", fields: fields{"If-None-Match", "TAG"}},
		{name: "one of several tags", fields: fields{"If-None-Match", `"a", TAG, "b"`}},
		{name: "the tag as a proxy weakens it", fields: fields{"If-None-Match", "W/TAG"}},
		{name: "the backend's own tag", shown: fields{"ETag", `"own"`}, fields: fields{"If-None-Match", "TAG"}},
		{name: "13.1.3: If-Modified-Since doesn't count", fields: fields{"If-None-Match", "TAG", "If-Modified-Since", caddytest.LegacyDate}},
		{name: "what browsers send", fields: fields{
			"If-None-Match", "TAG", "User-Agent", "x", "Accept", "*/*", "Accept-Language", "en", "Referer", "https://example.com/",
			"Sec-Fetch-Mode", "navigate", "Upgrade-Insecure-Requests", "1", "Dnt", "1",
		}},

		{name: "a different tag", fields: fields{"If-None-Match", `"x"`}, asked: 1, status: 200},
		{name: "any tag", fields: fields{"If-None-Match", "*"}, asked: 1},
		{name: "no condition", asked: 1, status: 200},
		{name: "13.2.2: beside If-Match", fields: fields{"If-None-Match", "TAG", "If-Match", "*"}, asked: 1},
		{name: "13.2.2: beside If-Unmodified-Since", fields: fields{"If-None-Match", "TAG", "If-Unmodified-Since", later}, asked: 1},
		{name: "a part", fields: fields{"If-None-Match", "TAG", "Range", "bytes=0-1"}, asked: 1},
		{name: "If-Range", fields: fields{"If-None-Match", "TAG", "Range", "bytes=0-1", "If-Range", `"x"`}, asked: 1},
		{name: "Prefer", fields: fields{"If-None-Match", "TAG", "Prefer", "return=minimal"}, asked: 1},
		{name: "content", fields: fields{"If-None-Match", "TAG"}, content: "x", asked: 1},
		{name: "reload", fields: fields{"If-None-Match", "TAG", "Cache-Control", "no-cache"}, asked: 1},
		{name: "reload of old clients", fields: fields{"If-None-Match", "TAG", "Pragma", "no-cache"}, asked: 1},
		{name: "no-store", fields: fields{"If-None-Match", "TAG", "Cache-Control", "no-store"}, asked: 1},
		{name: "max-age", fields: fields{"If-None-Match", "TAG", "Cache-Control", "max-age=0"}, asked: 1},

		{name: "3.5: Authorization", fields: fields{"If-None-Match", "TAG", "Authorization", "Bearer x"}, asked: 1},
		{name: "Cookie", fields: fields{"If-None-Match", "TAG", "Cookie", "s=1"}, asked: 1},
		{name: "a field that may say who asks", fields: fields{"If-None-Match", "TAG", "X-Api-Key", "k"}, asked: 1},
		{name: "the tag was for somebody with credentials", first: fields{"Authorization", "Bearer x"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "the tag was for somebody with a session", first: fields{"Cookie", "s=1"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "the tag was for somebody with a key", first: fields{"X-Api-Key", "k"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "3.5: public", shown: fields{"Cache-Control", "public"}, fields: fields{"If-None-Match", "TAG", "Authorization", "Bearer x"}},
		{name: "public, and a session", shown: fields{"Cache-Control", "max-age=9, public"}, first: fields{"Cookie", "s=1"}, fields: fields{"If-None-Match", "TAG", "Cookie", "s=2"}},
		{name: "public, and a key", shown: fields{"Cache-Control", "public"}, fields: fields{"If-None-Match", "TAG", "X-Api-Key", "k"}, asked: 1},
		{name: "one-time credentials", shown: fields{"Cache-Control", "public"}, fields: fields{"If-None-Match", "TAG", "Authorization", "Digest x"}, asked: 1},
		{name: "a signature", options: "signed rfc9421", fields: fields{"If-None-Match", "TAG", "Signature-Input", "x"}, asked: 1},

		{name: "Vary: the same", shown: fields{"Vary", "X-Tenant"}, first: fields{"X-Tenant", "a"}, fields: fields{"If-None-Match", "TAG", "X-Tenant", "a"}},
		{name: "Vary: a different value", shown: fields{"Vary", "X-Tenant"}, first: fields{"X-Tenant", "a"}, fields: fields{"If-None-Match", "TAG", "X-Tenant", "b"}, asked: 1},
		{name: "Vary: none", shown: fields{"Vary", "X-Tenant"}, first: fields{"X-Tenant", "a"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "Vary: *", shown: fields{"Vary", "*"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "Vary: Authorization", shown: fields{"Vary", "Authorization"}, first: fields{"Authorization", "Bearer x"}, fields: fields{"If-None-Match", "TAG", "Authorization", "Bearer x"}, asked: 1},
		{name: "option vary", options: "vary X-Tenant", first: fields{"X-Tenant", "a"}, fields: fields{"If-None-Match", "TAG", "X-Tenant", "a"}},
		{name: "option vary: a different value", options: "vary X-Tenant", first: fields{"X-Tenant", "a"}, fields: fields{"If-None-Match", "TAG", "X-Tenant", "b"}, asked: 1},

		{name: "5.2.2.10: fresh", shown: fields{"Cache-Control", "max-age=600, must-revalidate"}, fields: fields{"If-None-Match", "TAG"}},
		{name: "5.3: fresh", shown: fields{"Expires", later}, fields: fields{"If-None-Match", "TAG"}},
		{name: "5.2.2.4: no-cache", shown: fields{"Cache-Control", "no-cache"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "5.2.2.5: no-store", shown: fields{"Cache-Control", "No-Store"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "5.2.2.7: private", shown: fields{"Cache-Control", "max-age=600, private"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "5.2.2.7: private fields", shown: fields{"Cache-Control", `private="x-a, x-b"`}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "stale at once", shown: fields{"Cache-Control", "max-age=0, must-revalidate"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "stale at once for shared caches", shown: fields{"Cache-Control", "max-age=600, s-maxage=0"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "unclear freshness", shown: fields{"Cache-Control", "max-age=soon"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "directives separated wrongly", shown: fields{"Cache-Control", "no-cache; no-store"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "a directive and a lifetime separated wrongly", shown: fields{"Cache-Control", "private;max-age=600"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "directives that aren't separated", shown: fields{"Cache-Control", "no-store max-age=600"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "4.2.1: expired by the origin's clock", shown: fields{"Date", later, "Expires", later}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "expired", shown: fields{"Expires", caddytest.LegacyDate}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "expired, as some write it", shown: fields{"Expires", "0"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "Pragma", shown: fields{"Pragma", "no-cache"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "RFC 9213: targeted cache control", shown: fields{"CDN-Cache-Control", "max-age=60"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "nginx", shown: fields{"X-Accel-Expires", "0"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "surrogates", shown: fields{"Surrogate-Control", "max-age=60"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "a new session", shown: fields{"Set-Cookie", "s=1"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "a new token", shown: fields{"X-CSRF-Token", "1"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "RFC 9875: groups", shown: fields{"Cache-Groups", `"cars"`}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "an answer of a cache", shown: fields{"Age", "5"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "too many fields to remember", shown: fields{"Content-Location", "/" + strings.Repeat("x", 2000)}, fields: fields{"If-None-Match", "TAG"}, asked: 1},

		{name: "trees", options: "affects /dav /dav/**", fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "a tag that representations share", options: "etag json /v verbatim", shown: fields{"Content-Type", "application/json"}, fields: fields{"If-None-Match", "TAG"}, asked: 1, status: 200},
		{name: "a hash of JSON", options: "etag json /v", shown: fields{"Content-Type", "application/json"}, fields: fields{"If-None-Match", "TAG"}},
		{name: "items", options: "items /a /dav/{id}\netag body", shown: fields{"Content-Type", "application/json"}, fields: fields{"If-None-Match", "TAG"}, asked: 1},
		{name: "no list of items", options: "items /a /dav/{id}\netag body", fields: fields{"If-None-Match", "TAG"}},
		{name: "mode report", options: "mode report", fields: fields{"If-None-Match", "TAG"}, asked: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := caddytest.Page(`{"v": 1, "a": []}`, append([]string{"Content-Type", "text/plain"}, tt.shown...)...)
			url := caddytest.OneNode(t, readsStore+tt.options, b).First() + "/dav/a"
			tag := caddytest.Send(t, "GET", url, "", tt.first...).Expect(t, 200).Tag(t)
			var now []string
			for _, text := range tt.fields {
				now = append(now, strings.ReplaceAll(text, "TAG", tag))
			}
			method, status := tt.method, tt.status
			if method == "" {
				method = "GET"
			}
			if status == 0 {
				status = 304
			}
			before := len(b.All())
			a := caddytest.Send(t, method, url, tt.content, now...).Expect(t, status)
			if asked := len(b.All()) - before; asked != tt.asked {
				t.Errorf("the backend heard %d requests, want %d", asked, tt.asked)
			}
			if status == 304 {
				a.ExpectOutcome(t, "unmodified")
			}
		})
	}
}

// A 304 that the origin hasn't made has the fields that RFC 9110, section 15.4.5, names, as the
// 200 would have them, and nothing that describes the content.
func TestReadsStoreFields(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		shown := []string{
			"Content-Type", "text/plain", "Cache-Control", "max-age=600", "Content-Location", "/docs/a.en", "Expires", later,
			"Vary", "Accept-Language", "Content-Language", "en", "Last-Modified", caddytest.LegacyDate, "X-Other", "x",
		}
		b := caddytest.Page("content", shown...)
		url := deploy(t, readsStore, b).First() + "/docs/a"
		full := caddytest.Send(t, "GET", url, "").Expect(t, 200)
		var a caddytest.Answer
		if asked := b.Asks(func() { a = caddytest.Send(t, "GET", url, "", "If-None-Match", full.Tag(t)).Expect(t, 304) }); asked != 0 {
			t.Fatal("the origin was asked")
		}
		for _, name := range []string{"Etag", "Cache-Control", "Content-Location", "Expires", "Vary"} {
			if got, want := fmt.Sprint(a.Header[name]), fmt.Sprint(full.Header[name]); got != want || want == "[]" {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		for _, name := range []string{"Content-Type", "Content-Language", "Content-Length", "X-Other"} {
			if a.Header[name] != nil {
				t.Errorf("%s: %s", name, a.Header[name])
			}
		}
		if a.Header["Date"] == nil || a.Content != "" {
			t.Errorf("Date: %s, content: %q", a.Header["Date"], a.Content)
		}
	})
}

// The state of the store decides: any write makes the origin count again, and so does whatever
// hides what is stored.
func TestReadsStoreAfterWrites(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		docs, b := caddytest.Watched(legacydocs.Options{})
		nodes := deploy(t, readsStore, docs)
		path := "/docs/a"
		caddytest.Bypass(t, docs, "PUT", path, "a")
		tag := caddytest.Send(t, "GET", nodes.First()+path, "").Expect(t, 200).Tag(t)
		expect := func(tag string, status, want int) {
			t.Helper()
			if asked := b.Asks(func() { caddytest.Send(t, "GET", nodes.First()+path, "", "If-None-Match", tag).Expect(t, status) }); asked != want {
				t.Fatalf("the origin was asked %d times, want %d", asked, want)
			}
		}
		expect(tag, 304, 0)

		// A write at any node tells all nodes the new tag. This node has yet to see a response with it.
		second := caddytest.Send(t, "PUT", nodes.Other()+path, "b", "If-Match", tag).Expect(t, 204).Tag(t)
		expect(second, 304, 1)
		expect(tag, 200, 1)
		expect(second, 304, 0)
		// A write without a condition leaves nothing known.
		caddytest.Send(t, "PUT", nodes.Other()+path, "c").Expect(t, 204)
		expect(second, 200, 1)
		// Nor does a write that is refused by the backend change anything.
		third := caddytest.Send(t, "GET", nodes.First()+path, "").Tag(t)
		expect(third, 304, 0)
		caddytest.Send(t, "PUT", nodes.Other()+path, "d", "If-Match", `"x"`).Expect(t, 412)
		expect(third, 304, 0)
		caddytest.Send(t, "DELETE", nodes.Other()+path, "", "If-Match", third).Expect(t, 204)
		expect(third, 404, 1)
	})
}

// While a write is in flight, with or without a condition, the origin is asked.
func TestReadsStoreBesideWrites(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, condition := range [][]string{nil, {"If-Match", "*"}} {
			t.Run(fmt.Sprint(condition), func(t *testing.T) {
				g := caddytest.NewGate()
				docs, b := caddytest.Watched(legacydocs.Options{Before: g.Pass})
				caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
				nodes := deploy(t, readsStore, docs)
				url := nodes.First() + "/docs/a"
				tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
				write := g.Send(t.Context(), t, "PUT", nodes.Other()+"/docs/a", "b", condition...)
				if asked := b.Asks(func() { caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304) }); asked != 1 {
					t.Errorf("the origin was asked %d times", asked)
				}
				g.Open()
				caddytest.ExpectResult(t, write, 204)
				if asked := b.Asks(func() { caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 200) }); asked != 1 {
					t.Errorf("after the write, the origin was asked %d times", asked)
				}
			})
		}
	})
}

// While the store is away, the origin is asked.
func TestReadsStoreWithoutStore(t *testing.T) {
	t.Parallel()
	m := caddytest.UsedMiniredis(t)
	b := caddytest.Page("content")
	url := caddytest.OneNode(t, "store redis redis://"+m.Addr()+"\n"+readsStore, b).First()
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	read := func() { caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304) }
	if asked := b.Asks(read); asked != 0 {
		t.Fatalf("the origin was asked %d times", asked)
	}
	caddytest.TakeAway(t, m)
	if asked := b.Asks(read); asked != 1 {
		t.Errorf("without the store, the origin was asked %d times", asked)
	}
}

// A response that isn't for everybody any more, or an error, ends what an earlier response
// allowed.
func TestReadsStoreForgets(t *testing.T) {
	t.Parallel()
	var control, vary, status atomic.Value
	b := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", control.Load().(string))
		w.Header().Set("Vary", vary.Load().(string))
		w.WriteHeader(status.Load().(int))
		_, _ = w.Write([]byte("content"))
	}}
	for _, change := range []func(){
		func() { control.Store("private") },
		func() { status.Store(403) },
		func() { status.Store(403); vary.Store("Cookie") },
		func() { vary.Store("*") },
	} {
		control.Store("max-age=600")
		vary.Store("")
		status.Store(200)
		url := caddytest.OneNode(t, readsStore, b).First()
		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		ask := func() int { return b.Asks(func() { caddytest.Send(t, "GET", url, "", "If-None-Match", tag) }) }
		if asked := ask(); asked != 0 {
			t.Fatalf("the origin was asked %d times", asked)
		}
		change()
		caddytest.Send(t, "GET", url, "")
		if asked := ask(); asked != 1 {
			t.Errorf("the origin was asked %d times", asked)
		}
	}
}

// A write may change who may see a representation, and not the representation. So what was shown
// before it counts for nothing, on any node, although the tag is the same.
func TestReadsStoreAfterLockout(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		var closed atomic.Bool
		b := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == "PUT":
				closed.Store(true)
				w.WriteHeader(http.StatusNoContent)
			case closed.Load() && r.Header["Authorization"] == nil:
				w.WriteHeader(http.StatusForbidden)
			default:
				_, _ = w.Write([]byte("content"))
			}
		}}
		nodes := deploy(t, readsStore, b)
		tag := caddytest.Send(t, "GET", nodes.First(), "").Expect(t, 200).Tag(t)
		if asked := b.Asks(func() { caddytest.Send(t, "GET", nodes.First(), "", "If-None-Match", tag).Expect(t, 304) }); asked != 0 {
			t.Fatalf("the origin was asked %d times", asked)
		}
		caddytest.Send(t, "PUT", nodes.Other(), "for members", "If-Match", tag, "Authorization", "Bearer x").Expect(t, 204)
		if got := caddytest.Send(t, "GET", nodes.Other(), "", "Authorization", "Bearer x").Expect(t, 200).Tag(t); got != tag {
			t.Fatalf("the tag is %s", got)
		}
		caddytest.Send(t, "GET", nodes.First(), "", "If-None-Match", tag).Expect(t, 403)
	})
}

// What the backend says to make clients ask each time can be said in front of the handler.
func TestReadsStoreBehindNoCache(t *testing.T) {
	t.Parallel()
	b := caddytest.Page("content", "Cache-Control", "no-cache, must-revalidate")
	url := caddytest.OneNodeAt(t, fmt.Sprintf(
		"header >Cache-Control no-cache\npreconditions {\nverify never\nreads store\n}\nreverse_proxy %s {\nheader_down -Cache-Control\n}", caddytest.Serve(t, b))).First()
	full := caddytest.Send(t, "GET", url, "").Expect(t, 200)
	asked := b.Asks(func() {
		a := caddytest.Send(t, "GET", url, "", "If-None-Match", full.Tag(t)).Expect(t, 304)
		if got := fmt.Sprint(a.Header["Cache-Control"], full.Header["Cache-Control"]); got != "[no-cache] [no-cache]" {
			t.Errorf("got %s", got)
		}
	})
	if asked != 0 {
		t.Errorf("the origin was asked %d times", asked)
	}
}

// A script of another origin can read the 304 if the backend lets it, and otherwise the origin
// is asked.
func TestReadsStoreCrossOrigin(t *testing.T) {
	t.Parallel()
	b := caddytest.Page("content", "Access-Control-Allow-Origin", "*")
	url := caddytest.OneNode(t, readsStore, b).First()
	tag := caddytest.Send(t, "GET", url, "", "Origin", "https://a.example").Expect(t, 200).Tag(t)
	asked := b.Asks(func() {
		a := caddytest.Send(t, "GET", url, "", "Origin", "https://a.example", "If-None-Match", tag).Expect(t, 304)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("it allows %q", got)
		}
	})
	if asked != 0 {
		t.Errorf("the origin was asked %d times", asked)
	}

	closed := caddytest.Page("content")
	url = caddytest.OneNode(t, readsStore, closed).First()
	tag = caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	if asked := closed.Asks(func() {
		caddytest.Send(t, "GET", url, "", "Origin", "https://a.example", "If-None-Match", tag).Expect(t, 304)
	}); asked != 1 {
		t.Errorf("nobody knows what the backend says to the script, and it was asked %d times", asked)
	}
}

// A write makes the origin count again for what it is said to change. Of what else it changes,
// nobody knows.
func TestReadsStoreRelated(t *testing.T) {
	t.Parallel()
	for options, status := range map[string]int{"affects /docs/* /docs/": 200, "": 304} {
		t.Run(options, func(t *testing.T) {
			url := caddytest.OneNode(t, readsStore+options, legacydocs.New(legacydocs.Options{})).First() + "/docs/"
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url+"a", "a").Expect(t, 201)
			caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, status)
		})
	}
}

// register is a backend with one resource, which shows how many writes it has applied. Clients
// say in X-Then what becomes of a write.
type register struct {
	applied atomic.Int64
	seen    atomic.Int64 // what somebody has been told
}

func (g *register) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	then := r.Header.Get("X-Then")
	switch {
	case r.Method == "GET":
		_, _ = fmt.Fprint(w, g.applied.Load())
	case then == "refused":
		w.WriteHeader(http.StatusConflict)
	default:
		w.Header().Set("X-Applied", strconv.FormatInt(g.applied.Add(1), 10))
		w.WriteHeader(map[string]int{"": 204, "failed": 500}[then])
	}
}

// see notes that somebody has been told of a state. It fails if floor, what somebody had been
// told before that was asked for, is a later one.
func (g *register) see(state, floor int64, a caddytest.Answer) error {
	if state < floor {
		return fmt.Errorf("got %s with state %d, when %d was known", a.Status, state, floor)
	}
	for known := g.seen.Load(); known < state && !g.seen.CompareAndSwap(known, state); known = g.seen.Load() {
	}
	return nil
}

// read reads the resource with what a client has of it, and returns what it has then.
func (g *register) read(ctx context.Context, url, tag string, state int64) (string, int64, error) {
	floor := g.seen.Load()
	a, err := caddytest.Try(ctx, "GET", url, "", "If-None-Match", tag)
	switch {
	case err != nil:
		return "", 0, err
	case a.StatusCode == http.StatusOK:
		tag = a.Header.Get("Etag")
		if state, err = strconv.ParseInt(a.Content, 10, 64); err != nil {
			return "", 0, err
		}
	case a.StatusCode != http.StatusNotModified:
		return "", 0, fmt.Errorf("got %s", a.Status)
	}
	return tag, state, g.see(state, floor, a)
}

// write writes the resource, perhaps on condition that it has a tag.
func (g *register) write(ctx context.Context, url, tag, then string) error {
	fields := []string{"X-Then", then}
	if tag != "" {
		fields = append(fields, "If-Match", tag)
	}
	floor := g.seen.Load()
	a, err := caddytest.Try(ctx, "PUT", url, "x", fields...)
	if err != nil {
		return err
	}
	if state, err := strconv.ParseInt(a.Header.Get("X-Applied"), 10, 64); err == nil {
		return g.see(state, floor, a)
	}
	return nil
}

// Whoever gets 304 has a state that nobody knew to be replaced when the request was sent: not the
// writers, whatever has become of their writes, nor the readers, at any node.
func TestReadsStoreContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := new(register)
		b := &caddytest.Witness{Answer: g.ServeHTTP}
		nodes := deploy(t, readsStore, b)
		const clients, rounds = 6, 60
		done := make(chan error, clients)
		for c := range cap(done) {
			go func() {
				tag, state, err := `"none"`, int64(-1), error(nil)
				for round := 0; round < rounds && err == nil; round++ {
					if tag, state, err = g.read(t.Context(), nodes.Random(), tag, state); err == nil && (c+round)%6 == 0 {
						condition := [...]string{"", tag}[rand.IntN(2)]
						err = g.write(t.Context(), nodes.Random(), condition, [...]string{"", "", "", "refused", "failed"}[rand.IntN(5)])
					}
				}
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		tag := caddytest.Send(t, "GET", nodes.First(), "").Expect(t, 200).Tag(t)
		if asked := b.Asks(func() { caddytest.Send(t, "GET", nodes.First(), "", "If-None-Match", tag).Expect(t, 304) }); asked != 0 {
			t.Errorf("the origin was asked %d times", asked)
		}
		t.Logf("%d writes, %d of %d reads asked", g.applied.Load(), len(b.All("GET")), clients*rounds)
	})
}
