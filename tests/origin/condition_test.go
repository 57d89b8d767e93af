package origin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// versioned is a backend with one document and a version of its own for it, which it
// compares with If-Match.
type versioned struct {
	weak, strict bool // gives weak tags; compares them strongly all the same
	untagged     bool // gives no tags at all
	required     bool // answers 428 without If-Match

	mu       sync.Mutex
	content  string
	version  int
	attempts []string // the If-Match of every write
	sent     []string // the content of every write, with its trailer
	before   func(*versioned)
	lost     int // writes that replaced something other than their client had read
}

func (v *versioned) tag() string {
	switch {
	case v.untagged:
		return ""
	case v.weak:
		return fmt.Sprintf(`W/"%d"`, v.version)
	default:
		return fmt.Sprintf(`"%d"`, v.version)
	}
}

func (v *versioned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Method != http.MethodGet {
		v.attempts = append(v.attempts, strings.Join(r.Header["If-Match"], "|"))
		v.sent = append(v.sent, string(sent)+r.Trailer.Get("X-Checksum"))
		if v.before != nil {
			v.before(v)
		}
	}
	if v.tag() != "" {
		w.Header().Set("ETag", v.tag())
	}
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, v.content)
		return
	}
	match := r.Header.Get("If-Match")
	switch {
	case match == "" && v.required:
		w.WriteHeader(http.StatusPreconditionRequired)
	case match != "" && match != "*" && (match != v.tag() || v.strict):
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = io.WriteString(w, "the backend's own words")
	default:
		if r.Header.Get(based) != "" && r.Header.Get(based) != v.content {
			v.lost++
		}
		v.content = string(sent)
		v.version++
		w.WriteHeader(http.StatusNoContent)
	}
}

// take returns the conditions of the writes so far, and forgets them.
func (v *versioned) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	attempts := v.attempts
	v.attempts, v.sent = nil, nil
	return attempts
}

// A lone client with the current tag, or with *, can write again and again, whatever form
// of a condition its backend wants, and whatever the options are. A stale tag is refused,
// and the backend doesn't hear of it.
func TestBackendsCondition(t *testing.T) {
	for name, like := range map[string]*versioned{
		"weak tags, required":                 {weak: true, required: true}, // as OData services
		"weak tags that never match":          {weak: true, strict: true},   // as Apache within a second
		"weak tags that never match, require": {weak: true, strict: true, required: true},
		"strong tags":                         {required: true},
		"no tags":                             {untagged: true, required: true},
	} {
		for _, options := range []string{
			"", "etag body", "etag json /v\netag body", "verify all", "verify never", "verify 1h", "write_etag always", "write_etag off", "replay", "lag 1m",
		} {
			t.Run(name+" "+caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := &versioned{weak: like.weak, strict: like.strict, untagged: like.untagged, required: like.required, content: `{"v":0}`}
				url := caddytest.OneNode(t, options, b).First() + "/doc"
				first := caddytest.Send(t, "GET", url, "").Tag(t)
				tag := first
				for i := range 3 {
					content := fmt.Sprintf(`{"v":%d}`, i+1)
					caddytest.Send(t, "PUT", url, content, "If-Match", tag).Expect(t, 204)
					for _, condition := range b.take() {
						if condition == tag && (!strings.Contains(name, "strong") || options != "" && strings.HasPrefix(options, "etag")) {
							t.Errorf("the backend got the handler's tag %s", condition)
						}
					}
					if i > 0 {
						caddytest.Send(t, "PUT", url, "lost", "If-Match", first).Expect(t, 412)
						if got := b.take(); got != nil {
							t.Errorf("a stale tag reached the backend as %q", got)
						}
					}
					a := caddytest.Send(t, "GET", url, "").Expect(t, 200)
					if tag = a.Tag(t); a.Content != content {
						t.Fatalf("stored: %s", a.Content)
					}
				}
				caddytest.Send(t, "PUT", url, `{"v":9}`, "If-Match", "*").Expect(t, 204)
				if got := b.take(); !slices.Equal(got, []string{"*"}) {
					t.Errorf("* became %q", got)
				}
			})
		}
	}
}

// Somebody who doesn't come through the handler changes the document between its check and
// the write. The backend's own check finds out, nothing is lost, and the client learns the
// current tag.
func TestBackendsCheckClosesTheGap(t *testing.T) {
	for _, weak := range []bool{false, true} {
		for _, options := range []string{"", "etag body", "verify never", "disclose off"} {
			if weak && options == "verify never" {
				continue // every writer is said to come through the handler
			}
			t.Run(fmt.Sprint(weak, caddytest.Title(options)), func(t *testing.T) {
				t.Parallel()
				b := &versioned{weak: weak, content: "one"}
				url := caddytest.OneNode(t, options, b).First() + "/doc"
				tag := caddytest.Send(t, "GET", url, "").Tag(t)
				b.before = func(b *versioned) { b.content, b.version, b.before = "by somebody else", b.version+1, nil }
				a := caddytest.Send(t, "PUT", url, "two", "If-Match", tag).Expect(t, 412)
				if len(b.take()) != 1 || b.content != "by somebody else" {
					t.Errorf("stored: %q", b.content)
				}
				current := caddytest.Send(t, "GET", url, "").Tag(t)
				if options == "disclose off" {
					current = ""
				}
				// A tag of the handler may be about the same content, of which the backend's is
				// the version.
				if got := a.Header.Get("ETag"); got != current && (options != "etag body" || weak) {
					t.Errorf("the client was told %s, current is %s", got, current)
				}
				caddytest.Send(t, "PUT", url, "three", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 204)
			})
		}
	}
}

// The second attempt takes the same way through the handlers as the first, with all of its
// content.
func TestSecondAttempt(t *testing.T) {
	for name, tt := range map[string]struct{ options, routes, seen string }{
		"handle_path": {"", `
			handle_path /api/* {
				reverse_proxy {backend}
			}
			handle {
				respond "elsewhere" 418
			}`, "/doc"},
		"handle, rewritten once": {"", `
			handle /api/* {
				uri strip_prefix /api
				uri replace /doc /docs/doc
				reverse_proxy {backend}
			}`, "/docs/doc"},
		"the first of several handles": {"", `
			@api path /api/*
			handle @api {
				handle /api/doc {
					rewrite /first
					reverse_proxy {backend}
				}
				handle {
					respond "second" 418
				}
			}`, "/first"},
		"variables": {"", `
			route {
				@again vars attempted yes
				respond @again "attempted before" 418
				vars attempted yes
				request_header -X-Kept
				reverse_proxy {backend}
			}`, "/api/doc"},
		"limited content": {"", `
			route {
				request_body {
					max_size 30KB
				}
				reverse_proxy {backend}
			}`, "/api/doc"},
		"retries": {"", `
			reverse_proxy {gone} {backend} {
				lb_policy round_robin
				lb_retries 3
			}`, "/api/doc"},
		"spooled":  {"buffer 1KB", "reverse_proxy {backend}", "/api/doc"},
		"buffered": {"", "reverse_proxy {backend} {\nrequest_buffers 1MB\n}", "/api/doc"},
		"replay":   {"replay\nwrite_etag always", "reverse_proxy {backend}", "/api/doc"},
		"another inside": {"", `
			route {
				preconditions {
					key inside{http.request.uri.path}
				}
				reverse_proxy {backend}
			}`, "/api/doc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &versioned{weak: true, strict: true, content: "one"}
			var seen sync.Map
			watched := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Store(r.URL.Path, true)
				b.ServeHTTP(w, r)
			})
			routes := strings.NewReplacer("{backend}", caddytest.Serve(t, watched), "{gone}", caddytest.Address(t)).Replace(tt.routes)
			url := caddytest.OneNodeAt(t, "preconditions {\n"+tt.options+"\n}\n"+routes).First() + "/api/doc"
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			content := strings.Repeat("0123456789", 2500)
			caddytest.Send(t, "PUT", url, content, "If-Match", tag, "X-Kept", "x").Expect(t, 204)
			if b.content != content || slices.ContainsFunc(b.sent, func(sent string) bool { return sent != content }) {
				t.Errorf("%d attempts; stored are %d bytes", len(b.sent), len(b.content))
			}
			if name != "another inside" && !slices.Equal(b.attempts, []string{`W/"0"`, ""}) {
				t.Errorf("the backend got %q", b.attempts)
			}
			seen.Range(func(path, _ any) bool {
				if path != tt.seen {
					t.Errorf("a request was routed to %s", path)
				}
				return true
			})
		})
	}
}

// A trailer goes along with both attempts.
func TestSecondAttemptWithTrailer(t *testing.T) {
	b := &versioned{weak: true, strict: true, content: "one"}
	url := caddytest.OneNode(t, "", b).First() + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(url, "/doc"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT /doc HTTP/1.1\r\nHost: %s\r\nIf-Match: %s\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\nConnection: close\r\n\r\n3\r\ntwo\r\n0\r\nX-Checksum: sum\r\n\r\n",
		strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/doc"), tag)
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 204") {
		t.Fatalf("%s, %v", answer, err)
	}
	if !slices.Equal(b.sent, []string{"twosum", "twosum"}) {
		t.Errorf("the backend got %q", b.sent)
	}
}

// Of many clients with one tag, exactly one is told that it succeeded, also if every write
// takes two attempts, and each has the write as a whole to itself.
func TestOneWinnerOfSecondAttempts(t *testing.T) {
	for _, verify := range []string{"passing", "never"} {
		b := &versioned{weak: true, strict: true, required: true, content: "start"}
		url := caddytest.OneNode(t, "verify "+verify, b).First() + "/" + verify
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		var winners atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				a, err := caddytest.Try(context.Background(), "PUT", url, fmt.Sprint(i), "If-Match", tag)
				switch {
				case err != nil:
					t.Error(err)
				case a.StatusCode == 204:
					winners.Add(1)
				case a.StatusCode != 412:
					t.Errorf("got %d", a.StatusCode)
				}
			})
		}
		all.Wait()
		if winners.Load() != 1 || b.version != 1 {
			t.Errorf("verify %s: %d winners, %d writes", verify, winners.Load(), b.version)
		}
	}
}

// A client that leaves between the attempts has written nothing, and nobody waits for it.
func TestClientLeavesBetweenAttempts(t *testing.T) {
	b := &versioned{weak: true, strict: true, content: "one"}
	ctx, leave := context.WithCancel(context.Background())
	asked := make(chan struct{})
	var writes atomic.Int64
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && writes.Load() == 1 && ctx.Err() == nil {
			leave()
			<-r.Context().Done() // the probe between the attempts is cut off
			close(asked)
			return
		}
		if r.Method != http.MethodGet {
			writes.Add(1)
		}
		b.ServeHTTP(w, r)
	})
	url := caddytest.OneNode(t, "wait 1m\nlease 1m", backend).First() + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	if a, err := caddytest.Try(ctx, "PUT", url, "two", "If-Match", tag); err == nil {
		t.Fatalf("got %d", a.StatusCode)
	}
	<-asked
	next, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if a, err := caddytest.Try(next, "PUT", url, "three", "If-Match", tag); err != nil || a.StatusCode != 204 || b.content != "three" {
		t.Errorf("%v, %v, stored %q", a.Response, err, b.content)
	}
}

// In mode report, nothing comes between a client and its backend's own check.
func TestBackendsCheckInModeReport(t *testing.T) {
	b := &versioned{content: "one"}
	url := caddytest.OneNode(t, "mode report", b).First() + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	caddytest.Send(t, "PUT", url, "two", "If-Match", tag).Expect(t, 204)
	a := caddytest.Send(t, "PUT", url, "three", "If-Match", tag).Expect(t, 412)
	if b.content != "two" || a.Content != "the backend's own words" || a.Header.Get("X-Outcome") != "failed" {
		t.Errorf("stored %q, answer %q", b.content, a.Content)
	}
}

// While some write without coming through the handler, after every fifth request, no
// confirmed update of the others is based on anything but what it replaced: the backend's
// own check sees what no gateway can.
func TestNothingIsLostToBypassers(t *testing.T) {
	for _, weak := range []bool{true, false} {
		b := &versioned{weak: weak, required: true, content: "0"}
		var requests atomic.Int64
		bypassed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.ServeHTTP(w, r)
			if n := requests.Add(1); n%5 == 0 {
				b.mu.Lock()
				b.content, b.version = fmt.Sprint("bypassed ", n), b.version+1
				b.mu.Unlock()
			}
		})
		url := caddytest.OneNode(t, "etag body", bypassed).First() + fmt.Sprint("/", weak)
		var all sync.WaitGroup
		var saved, refused atomic.Int64
		for client := range 4 {
			all.Go(func() {
				for i := range 60 {
					read, err := caddytest.Try(context.Background(), "GET", url, "")
					if err != nil {
						t.Error(err)
						return
					}
					content := fmt.Sprint(client, ".", i)
					a, err := caddytest.Try(context.Background(), "PUT", url, content, "If-Match", read.Header.Get("ETag"), based, read.Content)
					switch {
					case err != nil:
						t.Error(err)
						return
					case a.StatusCode == 204:
						saved.Add(1)
					case a.StatusCode == 412:
						refused.Add(1)
					default:
						t.Errorf("got %d %s", a.StatusCode, a.Content)
					}
				}
			})
		}
		all.Wait()
		if b.lost > 0 || saved.Load() == 0 || refused.Load() == 0 {
			t.Errorf("weak %v: %d saved, %d refused, %d lost", weak, saved.Load(), refused.Load(), b.lost)
		}
	}
}
