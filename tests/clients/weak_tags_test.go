package clients

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Of a client behind a proxy that compresses, no save succeeds: the proxy has weakened the
// tag that it sends. With weak_tags accept, one save after the other does, each with what
// the client got, and a stale tag is refused. Without it, the refusal names the cause.
func TestBehindCompressingProxy(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"refuse", "accept"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			origin := caddytest.Site(t, "weak_tags "+option, legacydocs.New(legacydocs.Options{}))
			proxy := caddytest.NginxCompressing(strings.TrimPrefix(origin, "http://"))
			url := "http://" + proxy.Run(t) + "/docs/plan"
			content := strings.Repeat("first ", 100)
			caddytest.Send(t, "PUT", origin+"/docs/plan", content, "If-None-Match", "*").Expect(t, 201)

			read := func() string {
				a := caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip").Expect(t, 200)
				if tag := a.Tag(t); a.Header.Get("Content-Encoding") == "gzip" && strings.HasPrefix(tag, "W/") {
					return tag
				}
				t.Fatalf("nginx has weakened nothing: %v", a.Header)
				return ""
			}
			first := read()
			if option == "refuse" {
				a := caddytest.Send(t, "PUT", url, content+"2", "If-Match", first).Expect(t, 412)
				p := problemOf(t, a)
				detail := fmt.Sprint(p["detail"])
				if !strings.Contains(detail, "compresses") || !strings.Contains(detail, "weak_tags") || fmt.Sprint("W/", p["current_etag"]) != first {
					t.Errorf("the refusal of %s is %v", first, p)
				}
				return
			}
			saved := caddytest.Send(t, "PUT", url, content+"2", "If-Match", first).Expect(t, 204).Tag(t)
			caddytest.Send(t, "PUT", url, content+"3", "If-Match", saved).Expect(t, 204)
			second := read()
			caddytest.Send(t, "PUT", url, content+"4", "If-Match", second).Expect(t, 204)
			caddytest.Send(t, "PUT", url, content+"5", "If-Match", second).Expect(t, 412)
			caddytest.Send(t, "PUT", url, content+"6", "If-Match", first).Expect(t, 412)
			caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip", "If-None-Match", read()).Expect(t, 304)
			if got := caddytest.Send(t, "GET", origin+"/docs/plan", "").Content; got != content+"4" {
				t.Errorf("the content is %q", got)
			}
		})
	}
}

// tagged is a document whose backend gives it a tag of its own, which may be weak, and
// compares nothing. Every write makes a new version of it.
type tagged struct {
	caddytest.Witness
	mu      sync.Mutex
	version int
	tag     func(version int) string
}

func newTagged(tag func(version int) string) *tagged {
	d := &tagged{tag: tag}
	d.Answer = func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.Method != "GET" && r.Method != "HEAD" {
			d.version++
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if tag := d.tag(d.version); tag != "" {
			w.Header().Set("ETag", tag)
		}
		_, _ = fmt.Fprintf(w, "version %d", d.version)
	}
	return d
}

var tagForms = map[string]func(version int) string{
	"the handler's tag":     func(int) string { return "" },
	"the backend's own tag": func(version int) string { return fmt.Sprintf(`"%d"`, version) },
	"a weak tag":            func(version int) string { return fmt.Sprintf(`W/"%d"`, version) },
}

// With weak_tags accept, the weak form of the current tag counts wherever a condition is
// evaluated, also with the mark of a coding. The backend gets its own tag in its own
// spelling. No other weak tag counts, least of all a weak one of the backend's.
func TestWeakTags(t *testing.T) {
	t.Parallel()
	for name, tag := range tagForms {
		for _, options := range []string{"", "verify all", "verify never", "verify 1h", "etag body", "etag json /none\netag body", "replay", "write_etag always"} {
			t.Run(name+", "+caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				backend := newTagged(tag)
				url := caddytest.OneNode(t, "weak_tags accept\n"+options, backend).First() + "/doc"
				own := name == "the backend's own tag" && !strings.HasPrefix(options, "etag")
				for i := range 4 {
					current := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
					if strings.HasPrefix(current, "W/") {
						t.Fatalf("the response has the weak tag %s", current)
					}
					marked := "W/" + strings.TrimSuffix(current, `"`) + `-gzip"`
					for _, other := range []string{tag(i + 1), tag(i), marked[:len(marked)-1] + `x"`, `W/"none"`, `W/"other", W/"another"`} {
						if other != "" && other != current {
							caddytest.Send(t, "PUT", url, "lost", "If-Match", other).Expect(t, 412)
						}
					}
					caddytest.Send(t, "GET", url, "", "If-Match", "W/"+current).Expect(t, 200)
					caddytest.Send(t, "GET", url, "", "If-Match", `W/"none"`).Expect(t, 412)
					listed := []string{"W/" + current, marked, `"none", W/"none", W/` + current, "W/" + current + `, junk`}[i]
					caddytest.Send(t, "PUT", url, fmt.Sprint(i), "If-Match", listed).Expect(t, 204)
					if got := backend.Last(t, "PUT").Header.Get("If-Match"); own && got != current || !own && got != "" && got != tag(i) {
						t.Errorf("the backend heard If-Match: %s, the current tag was %s", got, current)
					}
					caddytest.Send(t, "PUT", url, "stale", "If-Match", listed).Expect(t, 412)
				}
			})
		}
	}
}

// A weak tag of the backend's never begins to match: with etag upstream alone, which shows
// them, weak_tags can't be accept, and any other source replaces them.
func TestWeakTagOfTheBackend(t *testing.T) {
	t.Parallel()
	backend := newTagged(tagForms["a weak tag"])
	for _, options := range []string{"etag upstream\nweak_tags refuse", "weak_tags accept", "etag upstream\netag header X-None\nweak_tags accept"} {
		url := caddytest.Site(t, options, backend)
		shown := caddytest.Send(t, "GET", url, "").Expect(t, 200).Header.Get("ETag")
		if weak := strings.HasPrefix(shown, "W/"); weak != strings.HasSuffix(options, "refuse") {
			t.Errorf("%s: the response has the tag %s", options, shown)
		}
		caddytest.Send(t, "PUT", url, "x", "If-Match", `W/"0"`).Expect(t, 412)
		caddytest.Send(t, "GET", url, "", "If-Match", `W/"0"`).Expect(t, 412)
	}
	backend.Unwritten(t)
}

// A stale weak tag is refused on what is stored, and the backend doesn't hear of it.
func TestWeakTagRefusedEarly(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		backend := newTagged(tagForms["the handler's tag"])
		n := deploy(t, "weak_tags accept", backend)
		tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Tag(t)
		caddytest.Send(t, "PUT", n.Other()+"/doc", "version 1", "If-Match", "W/"+tag).Expect(t, 204)
		if asked := backend.Asks(func() {
			caddytest.Send(t, "PUT", n.Other()+"/doc", "y", "If-Match", "W/"+tag).Expect(t, 412)
		}); asked != 0 || len(backend.All("PUT")) != 1 {
			t.Errorf("the backend heard %d GETs for a stale tag, and %d writes", asked, len(backend.All("PUT")))
		}
	})
}

// Of many writers with the weak form of the same tag, one wins.
func TestWeakTagContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		backend := newTagged(tagForms["the backend's own tag"])
		n := deploy(t, "weak_tags accept", backend)
		tag := "W/" + caddytest.Send(t, "GET", n.First()+"/doc", "").Tag(t)
		expectOneWinner(t, n, "/doc", tag, &backend.Witness)
	})
}

// Mode report says what would become of a write with a weak tag. A repeated write with one
// is replayed. The condition may be about a different resource, or about an item of a list.
func TestWeakTagsElsewhere(t *testing.T) {
	t.Parallel()
	t.Run("report", func(t *testing.T) {
		for option, want := range map[string]string{"refuse": "failed", "accept": "passed"} {
			url := caddytest.OneNode(t, "mode report\nweak_tags "+option, newTagged(tagForms["the handler's tag"])).First()
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			caddytest.Send(t, "PUT", url, "x", "If-Match", "W/"+tag).ExpectOutcome(t, want)
			caddytest.Send(t, "PUT", url, "x", "If-Match", "W/"+tag).ExpectOutcome(t, "failed")
		}
	})
	t.Run("replay", func(t *testing.T) {
		docs := legacydocs.New(legacydocs.Options{})
		url := caddytest.Site(t, "replay\nweak_tags accept", docs) + "/docs/plan"
		caddytest.Bypass(t, docs, "PUT", "/docs/plan", "first")
		tag := caddytest.Send(t, "GET", url, "").Tag(t)
		for range 2 {
			caddytest.Send(t, "PUT", url, "second", "If-Match", "W/"+tag).Expect(t, 204)
		}
		caddytest.Send(t, "PUT", url, "third", "If-Match", "W/"+tag).Expect(t, 412)
		if n := len(caddytest.WritesOf(docs, "/docs/plan")); n != 2 {
			t.Errorf("the backend applied %d writes", n)
		}
	})
	t.Run("guards", func(t *testing.T) {
		backend := newTagged(tagForms["the handler's tag"])
		base := caddytest.Site(t, "weak_tags accept\nguards /orders/*/ship /orders/*", backend)
		tag := caddytest.Send(t, "GET", base+"/orders/1", "").Tag(t)
		caddytest.Send(t, "POST", base+"/orders/1/ship", "x", "If-Match", "W/"+tag).Expect(t, 204)
		caddytest.Send(t, "POST", base+"/orders/1/ship", "x", "If-Match", "W/"+tag).Expect(t, 412)
	})
	t.Run("without a store", func(t *testing.T) {
		options := "store redis redis://127.0.0.1:1\nstore_down {\nconditional forward\n}\nweak_tags "
		for option, want := range map[string]int{"refuse": 412, "accept": 204} {
			url := caddytest.Site(t, options+option, newTagged(tagForms["the backend's own tag"]))
			caddytest.Send(t, "PUT", url, "x", "If-Match", `W/"0"`).Expect(t, want)
			caddytest.Send(t, "PUT", url, "x", "If-Match", `W/"9"`).Expect(t, 412)
		}
	})
}

// Parts of two versions must never be put together, whatever weak_tags says: a range is
// granted by a strong tag only (RFC 9110, section 13.1.5).
func TestWeakTagsAndRanges(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]http.Handler{
		"the handler's tag":     caddytest.Page("0123456789"),
		"the backend's own tag": caddytest.Page("0123456789", "ETag", `"own"`),
	} {
		t.Run(name, func(t *testing.T) {
			url := caddytest.Site(t, "weak_tags accept", backend)
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			for _, tt := range []struct {
				fields []string
				status int
			}{
				{[]string{"If-Range", tag}, 206},
				{[]string{"If-Range", "W/" + tag}, 200},
				{[]string{"If-Match", "W/" + tag}, 200},
				{[]string{"If-Match", "W/" + tag, "If-Range", tag}, 200},
				{[]string{"If-Match", `W/"other"`}, 412},
			} {
				a := caddytest.Send(t, "GET", url, "", append(tt.fields, "Range", "bytes=2-4")...).Expect(t, tt.status)
				if tt.status == 206 && a.Content != "234" {
					t.Errorf("%v: %q", tt.fields, a.Content)
				}
			}
		})
	}
}

// The 412 for the weak form of the current tag names the likely cause and the option. The
// 412 for any other weak tag doesn't, and neither does one that tells before the origin was
// asked. The operator reads the same.
func TestDetailOfWeakTag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options, list string
		named         bool
		detail        string
	}{
		{"", `W/%s`, true, ""},
		{"verify never", `W/%s`, true, ""},
		{"", `"other", W/%s`, true, ""},
		{"", `W/"other", W/%s`, true, ""},
		{"disclose off", `W/%s`, true, ""},
		{"verify all", `W/%s`, false, "only weak"},
		{"verify all", `"other", W/%s`, true, ""},
		{"", `W/"other"`, false, "only weak"},
		{"", `"other"`, false, "no current"},
		{"weak_tags accept", `W/"other"`, false, "no current"},
	} {
		t.Run(caddytest.Title(tt.options)+" "+tt.list, func(t *testing.T) {
			t.Parallel()
			backend := newTagged(tagForms["the handler's tag"])
			url := caddytest.OneNodeAt(t, "header >X-Reason {http.preconditions.reason}\n"+caddytest.Guarded(tt.options, caddytest.Serve(t, backend))).First()
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			list := strings.ReplaceAll(tt.list, "%s", tag)
			for _, method := range []string{"PUT", "POST"} {
				a := caddytest.Send(t, method, url, "x", "If-Match", list).Expect(t, 412).ExpectOutcome(t, "failed")
				p, reason := problemOf(t, a), a.Header.Get("X-Reason")
				detail := fmt.Sprint(p["detail"])
				if strings.Contains(detail, "proxy or CDN") != tt.named || strings.Contains(reason, "weak_tags") != tt.named || !strings.Contains(detail, tt.detail) {
					t.Errorf("the detail is %q, the reason %q", detail, reason)
				}
				if tt.named && (p["current_etag"] == tag) == (tt.options == "disclose off") {
					t.Errorf("current_etag is %v", p["current_etag"])
				}
			}
			backend.Unwritten(t)
		})
	}
}

// The store can be away: a tag that can never match is refused all the same.
func TestWeakTagWithoutStore(t *testing.T) {
	t.Parallel()
	backend := caddytest.Page("content")
	url := caddytest.Site(t, "store redis redis://127.0.0.1:1", backend)
	caddytest.Send(t, "PUT", url, "x", "If-Match", `W/"weak"`).Expect(t, 412)
	caddytest.Send(t, "PUT", url, "x", "If-Match", `"strong"`).Expect(t, 503)
	backend.Unwritten(t)
}
