package origin

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// ledger is a backend with one large document, whose header section tells its version. It
// counts what it sends, and has a way of its own to answer HEAD.
type ledger struct {
	head func(w http.ResponseWriter, r *http.Request, l *ledger) // or nil to say what GET says

	mu      sync.Mutex
	version int
	asked   int // version at the first HEAD
	heard   []string
	sent    int // bytes of content
}

// ledgerSize is how much content the document has.
const ledgerSize = 64 << 10

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, r.Method)
	switch {
	case r.Header["If-None-Match"] != nil && r.Method != http.MethodPut:
		w.WriteHeader(http.StatusNotModified) // whatever it names
	case r.Method == http.MethodPut:
		l.version++
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodHead && l.head != nil:
		if l.asked == 0 {
			l.asked = l.version
		}
		l.head(w, r, l)
	default:
		describe(w, l.version)
		n, _ := io.WriteString(w, fmt.Sprintf("%*d", ledgerSize, l.version))
		if r.Method == http.MethodGet {
			l.sent += n
		}
	}
}

// describe writes the header section of a version.
func describe(w http.ResponseWriter, version int) {
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", fmt.Sprint(ledgerSize))
	h.Set("ETag", fmt.Sprintf(`"v%d"`, version))
	h.Set("X-Version", fmt.Sprint(version))
	h.Set("Last-Modified", time.Date(2020, 1, 1, 0, 0, version, 0, time.UTC).Format(http.TimeFormat))
}

// take returns the methods and the bytes of content since the last time.
func (l *ledger) take() (heard string, sent int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard, sent = strings.Join(l.heard, " "), l.sent
	l.heard, l.sent = nil, 0
	return heard, sent
}

// editor reads and writes the ledger, through the handler and past it.
type editor struct {
	*testing.T
	*ledger
	url string
}

func (e editor) read() (tag string) {
	e.Helper()
	tag = caddytest.Send(e, "GET", e.url, "").Expect(e, 200).Tag(e)
	e.take()
	return tag
}

func (e editor) write(tag string, status int) (heard string, sent int) {
	e.Helper()
	caddytest.Send(e, "PUT", e.url, "x", "If-Match", tag).Expect(e, status)
	return e.take()
}

func (e editor) bypass() {
	e.Helper()
	caddytest.Bypass(e, e.ledger, "PUT", "/docs/1", "x")
	e.take()
}

// Where HEAD has shown what GET shows, in two states of one resource, the origin is asked
// with HEAD before a write and, with write_etag always, after it. It then sends no content.
// If HEAD shows a change, a GET decides about it.
func TestProbeWithoutContent(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"etag upstream", "", "etag header X-Version", "etag header X-Version verbatim", "etag modified", "etag modified\netag body"} {
		for _, tt := range []struct {
			options string
			writes  []string
			changed string
		}{
			{"write_etag off", []string{"GET PUT", "HEAD GET PUT", "HEAD GET PUT", "HEAD PUT", "HEAD PUT"}, "HEAD GET"},
			{"", []string{"GET PUT HEAD GET", "HEAD GET PUT HEAD GET", "HEAD PUT GET"}, "HEAD GET"},
			{"write_etag always", []string{"GET PUT HEAD GET", "HEAD GET PUT HEAD GET", "HEAD PUT HEAD", "HEAD PUT HEAD"}, "HEAD GET"},
			{"write_etag always\nlag 1m", []string{"GET PUT HEAD GET", "HEAD GET PUT HEAD GET", "HEAD PUT HEAD", "HEAD PUT HEAD"}, "HEAD GET"},
			{"write_etag always\nverify never", []string{"PUT GET", "PUT HEAD GET", "PUT HEAD GET", "PUT HEAD"}, ""},
		} {
			t.Run(caddytest.Title(source+"\n"+tt.options), func(t *testing.T) {
				t.Parallel()
				l := new(ledger)
				e := editor{t, l, caddytest.OneNode(t, source+"\n"+tt.options, l).First() + "/docs/1"}
				for i, want := range tt.writes {
					heard, sent := e.write(e.read(), 204)
					if heard != want {
						t.Errorf("write %d: the backend heard %s, want %s", i, heard, want)
					}
					if !strings.Contains(want, "GET") && sent != 0 {
						t.Errorf("write %d: the backend sent %d bytes", i, sent)
					}
				}
				if tt.changed == "" {
					return
				}
				tag := e.read()
				e.bypass()
				if heard, _ := e.write(tag, 412); heard != tt.changed {
					t.Errorf("to a tag that was replaced: %s", heard)
				}
				if heard, _ := e.write(e.read(), 204); heard != tt.writes[len(tt.writes)-1] {
					t.Errorf("after the change, which HEAD has shown: %s", heard)
				}
			})
		}
	}
}

// A backend that doesn't answer HEAD as it answers GET is asked with GET. Whatever HEAD says,
// no tag passes that a GET would refute, and none is refused that a GET would confirm.
func TestLyingHead(t *testing.T) {
	t.Parallel()
	status := func(status int) func(http.ResponseWriter, *http.Request, *ledger) {
		return func(w http.ResponseWriter, _ *http.Request, _ *ledger) { w.WriteHeader(status) }
	}
	without := func(names ...string) func(http.ResponseWriter, *http.Request, *ledger) {
		return func(w http.ResponseWriter, _ *http.Request, l *ledger) {
			describe(w, l.version)
			for _, name := range names {
				w.Header().Del(name)
			}
		}
	}
	with := func(name, value string) func(http.ResponseWriter, *http.Request, *ledger) {
		return func(w http.ResponseWriter, _ *http.Request, l *ledger) {
			describe(w, l.version)
			w.Header().Set(name, value)
		}
	}
	for name, head := range map[string]func(http.ResponseWriter, *http.Request, *ledger){
		"405": status(405), "501": status(501), "404": status(404), "403": status(403), "500": status(500), "200 and nothing else": status(200),
		"no tag":          without("ETag", "X-Version", "Last-Modified"),
		"no type":         without("Content-Type"),
		"a different tag": with("ETag", `"d41d8cd98f"`),
		"a weak tag": func(w http.ResponseWriter, _ *http.Request, l *ledger) {
			describe(w, l.version)
			w.Header().Set("ETag", "W/"+w.Header().Get("ETag"))
		},
		"a cache":                  with("Age", "7"),
		"more in Vary":             with("Vary", "Cookie"),
		"the first state for ever": func(w http.ResponseWriter, _ *http.Request, l *ledger) { describe(w, l.asked) },
		"the state before":         func(w http.ResponseWriter, _ *http.Request, l *ledger) { describe(w, max(0, l.version-1)) },
		"a state to come":          func(w http.ResponseWriter, _ *http.Request, l *ledger) { describe(w, l.version+1) },
		"nothing, at length": func(_ http.ResponseWriter, r *http.Request, l *ledger) {
			l.mu.Unlock()
			<-r.Context().Done()
			l.mu.Lock()
		},
		"an honest one, for a while": func(w http.ResponseWriter, _ *http.Request, l *ledger) { describe(w, min(l.version, 6)) },
	} {
		for _, options := range []string{"etag upstream\nwrite_etag off", "etag upstream", "etag header X-Version\nwrite_etag always", "etag modified\nwrite_etag always\nlag 1m"} {
			t.Run(name+"/"+caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				l := &ledger{head: head}
				e := editor{t, l, caddytest.OneNode(t, options, l).First() + "/docs/1"}
				last := ""
				for i := range 10 {
					old := e.read()
					last, _ = e.write(old, 204)
					e.write(old, 412)
					if i%3 == 2 {
						seen := e.read()
						e.bypass()
						e.write(seen, 412)
					}
				}
				if strings.Contains(last, "HEAD") && name != "more in Vary" {
					t.Errorf("HEAD is still believed: %s", last)
				}
			})
		}
	}
}

// passing is a ledger whose HEAD knows only what has passed by.
func passing(t *testing.T, options string) editor {
	known := 0
	l := &ledger{head: func(w http.ResponseWriter, _ *http.Request, _ *ledger) { describe(w, known) }}
	url := caddytest.OneNode(t, options, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.ServeHTTP(w, r)
		if r.Method != http.MethodHead {
			l.mu.Lock()
			known = l.version
			l.mu.Unlock()
		}
	})).First() + "/docs/1"
	e := editor{t, l, url}
	for range 5 {
		e.write(e.read(), 204)
	}
	if heard, _ := e.write(e.read(), 204); !strings.HasPrefix(heard, "HEAD PUT") {
		t.Errorf("the backend heard %s", heard)
	}
	return e
}

// What answers HEAD may know only what it has seen pass by. Once a read, or a GET before a
// write, has shown that there are other writers, HEAD is believed only if it was the first to
// show such a change.
func TestHeadAndWritersPastIt(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"etag upstream\nwrite_etag off", "etag upstream", "etag header X-Version\nwrite_etag always"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			t.Parallel()
			e := passing(t, options)
			e.read()
			e.bypass()
			e.read() // shows it
			for range 5 {
				e.write(e.read(), 204)
				seen := e.read()
				e.bypass()
				e.write(seen, 412)
			}
		})
	}
}

// Until somebody has noticed a writer past the handler, a HEAD that doesn't know of its change
// is believed: docs/guarantees.md says so.
func TestLimitHeadFromElsewhere(t *testing.T) {
	t.Parallel()
	e := passing(t, "etag upstream")
	tag := e.read()
	e.bypass()
	e.write(tag, 204)
}

// A HEAD is of no use where the content makes the tag, is small, or where the operator wants
// everything confirmed.
func TestProbeNeverWithHead(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"etag body", "etag body\nwrite_etag always", "etag version", "verify all", "signed rfc9421\nverify all"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			l := new(ledger)
			e := editor{t, l, caddytest.OneNode(t, options, l).First() + "/docs/1"}
			for range 5 {
				if heard, _ := e.write(e.read(), 204); slices.Contains(strings.Fields(heard), "HEAD") {
					t.Errorf("the backend heard %s", heard)
				}
			}
		})
	}
}

// A handler further in labels the response to a HEAD of the one further out only with what the
// backend shows, never with what its store knows: the backend may have changed since.
func TestHeadThroughTwoHandlers(t *testing.T) {
	t.Parallel()
	l := new(ledger)
	inner := caddytest.OneNode(t, "etag body\nkey inner{path}\nverify never", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.ServeHTTP(untagged{w}, r)
	})).First()
	e := editor{t, l, caddytest.OneNodeAt(t, caddytest.Guarded("etag upstream\nkey outer{path}\nwrite_etag off", strings.TrimPrefix(inner, "http://"))).First() + "/docs/1"}
	for range 6 {
		e.write(e.read(), 204)
	}
	for range 3 {
		tag := e.read()
		e.bypass()
		e.write(tag, 412)
		e.write(e.read(), 204)
	}
}

// untagged is a response writer that drops validators.
type untagged struct{ http.ResponseWriter }

func (w untagged) WriteHeader(status int) {
	w.Header().Del("ETag")
	w.Header().Del("Last-Modified")
	w.ResponseWriter.WriteHeader(status)
}

func (w untagged) Write(p []byte) (int, error) {
	w.Header().Del("ETag")
	w.Header().Del("Last-Modified")
	return w.ResponseWriter.Write(p)
}
