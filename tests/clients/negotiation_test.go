package clients

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// polyglot is a backend with one document. It shows it in two versions of a media type,
// in every language, and in a different way to each user. It has no text/plain.
type polyglot struct {
	mu      sync.Mutex
	content string
	writes  int
	asked   []string // the Accept of each GET

	tags    string // of the backend's own, as a format; it checks If-Match for what the write selects
	vary    string // in place of that of newPolyglot
	without string // a version that it no longer has
	broken  string // a version that it can't show
}

func newPolyglot() *polyglot {
	return &polyglot{content: "draft", vary: "Accept, Accept-Language, Cookie"}
}

func (b *polyglot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	version := "v1"
	if strings.Contains(r.Header.Get("Accept"), "v2") {
		version = "v2"
	}
	tag := ""
	if b.tags != "" {
		tag = fmt.Sprintf(b.tags, version+"-"+fmt.Sprint(b.writes))
		w.Header().Set("ETag", tag)
	}
	if r.Method != "GET" {
		if match := r.Header["If-Match"]; b.tags != "" && match != nil && match[0] != "*" && match[0] != tag {
			w.WriteHeader(412)
			return
		}
		content, _ := io.ReadAll(r.Body)
		b.content = string(content)
		b.writes++
		w.WriteHeader(204)
		return
	}
	accept := r.Header.Get("Accept")
	b.asked = append(b.asked, accept)
	w.Header().Set("Vary", b.vary)
	switch {
	case accept == "text/plain", version == b.without:
		http.Error(w, "not acceptable", http.StatusNotAcceptable)
	case version == b.broken:
		http.Error(w, "broken", http.StatusInternalServerError)
	case version == "v2":
		w.Header().Set("Content-Type", "application/vnd.v2+json")
		_, _ = io.WriteString(w, b.content)
	default:
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<p lang=%q>%s for %s", r.Header.Get("Accept-Language"), b.content, r.Header.Get("Cookie"))
	}
}

// during returns the Accept of the GETs, and the number of writes, that the backend gets
// while f runs.
func (b *polyglot) during(f func()) (asked []string, writes int) {
	count := func() (int, int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.asked), b.writes
	}
	gets, writesBefore := count()
	f()
	_, writes = count()
	return b.asked[gets:], writes - writesBefore
}

// edit changes the document behind the handler's back.
func (b *polyglot) edit(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

const v2 = "application/vnd.v2+json"

// verifications are the values of verify, and whether a stored tag is confirmed.
var verifications = map[string]bool{"never": false, "1h": false, "passing": true, "all": true}

// The tag of a representation is good for a write that accepts something else than the
// read did (RFC 9110, section 13.1.1), until the next write through any representation.
// If the origin is asked, then for what the read accepted.
func TestAcceptOfTheWrite(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for verify, confirmed := range verifications {
			t.Run(verify, func(t *testing.T) {
				b := newPolyglot()
				nodes := deploy(t, "write_etag off\nverify "+verify, b)
				doc, elsewhere := nodes.First()+"/doc", nodes.Other()+"/doc"
				for name, write := range map[string][]string{
					"the same": {"Accept", v2}, "none": nil, "any": {"Accept", "*/*"}, "another": {"Accept", "text/html"},
					"what doesn't exist": {"Accept", "text/plain"}, "a language": {"Accept-Language", "de"},
				} {
					first := caddytest.Send(t, "GET", doc, "", "Accept", "text/html").Expect(t, 200).Tag(t)
					tag := caddytest.Send(t, "GET", doc, "", "Accept", v2).Expect(t, 200).Tag(t)
					asked, writes := b.during(func() {
						caddytest.Send(t, "PUT", elsewhere, "by "+name, append(write, "If-Match", tag)...).Expect(t, 204)
					})
					if want := []string{v2}; writes != 1 || confirmed && !slices.Equal(asked, want) || !confirmed && len(asked) > 0 {
						t.Errorf("%s: %d writes, asked for %q", name, writes, asked)
					}
					for _, stale := range []string{tag, first} {
						_, writes = b.during(func() {
							want := 412
							if name == "what doesn't exist" {
								want = 406 // what the origin says to a GET
							}
							caddytest.Send(t, "PUT", doc, "stale", append(write, "If-Match", stale)...).Expect(t, want)
						})
						if writes != 0 {
							t.Errorf("%s: a stale tag led to %d writes", name, writes)
						}
					}
				}
			})
		}
	})
}

// Of writers with tags of different representations, one wins: a write changes them all.
func TestWritersOfDifferentVariants(t *testing.T) {
	fields := [][]string{{"Accept", v2}, {"Accept", "text/html"}, {"Accept-Language", "de"}, {"Accept", "text/html", "Accept-Language", "en"}}
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for verify := range verifications {
			t.Run(verify, func(t *testing.T) {
				b := newPolyglot()
				nodes := deploy(t, "verify "+verify, b)
				for round := range caddytest.Rounds() {
					var tags []string
					for _, f := range fields {
						tags = append(tags, caddytest.Send(t, "GET", nodes.Random()+"/doc", "", f...).Expect(t, 200).Tag(t))
					}
					var results []<-chan caddytest.Result
					_, writes := b.during(func() {
						for i := range 16 {
							write := append([]string{"If-Match", tags[i%len(tags)]}, fields[(i/4)%len(fields)]...)
							results = append(results, caddytest.Go(t.Context(), "PUT", nodes.Random()+"/doc", fmt.Sprintf("%d by %d", round, i), write...))
						}
						won := 0
						for _, done := range results {
							switch a := <-done; {
							case a.Err != nil:
								t.Error(a.Err)
							case a.StatusCode == 204:
								won++
							case a.StatusCode != 412:
								t.Errorf("a loser got %s: %s", a.Status, a.Content)
							}
						}
						if won != 1 {
							t.Errorf("%d writers won", won)
						}
					})
					if writes != 1 {
						t.Errorf("%d writes", writes)
					}
				}
			})
		}
	})
}

// Nobody writes with the tag of a representation that only somebody else gets, unless it
// is current for their own as well.
func TestVariantOfADifferentUser(t *testing.T) {
	for verify := range verifications {
		for name, fields := range map[string][2]string{"Cookie": {"ann", "bob"}, "Authorization": {"Basic YW5u", "Basic Ym9i"}, "X-Tenant": {"1", "2"}} {
			t.Run(verify+" "+name, func(t *testing.T) {
				b := newPolyglot()
				b.vary = "Accept, " + name
				b.content = "a secret of nobody"
				private := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r = r.Clone(r.Context())
					r.Header.Set("Cookie", r.Header.Get(name))
					b.ServeHTTP(w, r)
				})
				url := caddytest.Site(t, "write_etag off\nverify "+verify, private) + "/doc"
				ann, bob := []string{name, fields[0]}, []string{name, fields[1]}
				read := func(user []string, accept string) string {
					return caddytest.Send(t, "GET", url, "", append(user, "Accept", accept)...).Expect(t, 200).Tag(t)
				}
				html := read(ann, "text/html")
				_, writes := b.during(func() {
					caddytest.Send(t, "PUT", url, "x", append(bob, "If-Match", html)...).Expect(t, 412)
					caddytest.Send(t, "PUT", url, "x", append(bob, "If-Match", html, "Accept", "text/html")...).Expect(t, 412)
					caddytest.Send(t, "PUT", url, "x", "If-Match", html).Expect(t, 412)
				})
				if writes != 0 {
					t.Errorf("%d writes", writes)
				}
				// Both get the same JSON, and so the same tag.
				same := read(ann, v2)
				caddytest.Send(t, "PUT", url, "y", append(bob, "If-Match", same, "Accept", v2)...).Expect(t, 204)
				same = read(bob, v2)
				caddytest.Send(t, "PUT", url, "z", append(bob, "If-Match", same)...).Expect(t, 204)
			})
		}
	}
}

// If the origin doesn't confirm the tag of a different representation, the write is
// decided by what its own fields select, with one probe more.
func TestUnconfirmedVariant(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*polyglot)
		status int
		own    bool // whether the write has the tag of its own representation, too
		asked  int
	}{
		"changed elsewhere":             {func(b *polyglot) { b.content = "other" }, 412, false, 2},
		"changed elsewhere, but listed": {func(b *polyglot) { b.content = "other" }, 204, true, 2},
		"gone":                          {func(b *polyglot) { b.without = "v2" }, 412, false, 2},
		"gone, but listed":              {func(b *polyglot) { b.without = "v2" }, 204, true, 2},
		"broken for now":                {func(b *polyglot) { b.broken = "v2" }, 503, false, 2},
		"broken, but listed":            {func(b *polyglot) { b.broken = "v2" }, 204, true, 2},
	} {
		for _, verify := range []string{"passing", "all"} {
			t.Run(name+" "+verify, func(t *testing.T) {
				b := newPolyglot()
				url := caddytest.Site(t, "write_etag off\nverify "+verify, b) + "/doc"
				tag := caddytest.Send(t, "GET", url, "", "Accept", v2).Expect(t, 200).Tag(t)
				b.edit(func() { tt.change(b) })
				if tt.own {
					// A site of its own doesn't tell this one what it sees.
					tag += ", " + caddytest.Send(t, "GET", caddytest.Site(t, "key elsewhere", b)+"/doc", "", "Accept", "*/*").Expect(t, 200).Tag(t)
				}
				asked, writes := b.during(func() {
					caddytest.Send(t, "PUT", url, "x", "Accept", "*/*", "If-Match", tag).Expect(t, tt.status)
				})
				if len(asked) != tt.asked || asked[0] != v2 || asked[1] != "*/*" {
					t.Errorf("asked for %q", asked)
				}
				if (writes == 1) != (tt.status == 204) {
					t.Errorf("%d writes", writes)
				}
			})
		}
	}
}

// The handler remembers how 64 representations were negotiated, in 256 bytes each. The
// tag of a further one is good for a write that negotiates it again.
func TestVariantsThatAreForgotten(t *testing.T) {
	for _, verify := range []string{"never", "passing"} {
		t.Run(verify, func(t *testing.T) {
			b := newPolyglot()
			url := caddytest.Site(t, "write_etag off\nverify "+verify, b) + "/doc"
			read := func(accept string) string {
				return caddytest.Send(t, "GET", url, "", "Accept", accept, "Accept-Language", accept).Expect(t, 200).Tag(t)
			}
			write := func(tag string, status int, fields ...string) {
				t.Helper()
				caddytest.Send(t, "PUT", url, "x", append(fields, "If-Match", tag)...).Expect(t, status)
			}
			first, last := read("text/0"), ""
			for i := range 65 { // this node remembers one more than the store
				last = read(fmt.Sprintf("text/%d", i+1))
			}
			write(first, 412)
			write(first, 204, "Accept", "text/0", "Accept-Language", "text/0")
			write(last, 412)
			last = read("text/65")
			write(last, 204)

			long := "text/" + strings.Repeat("x", 300)
			tag := caddytest.Send(t, "GET", url, "", "Accept", long, "Accept-Language", "de").Expect(t, 200).Tag(t)
			write(tag, 412)
			write(tag, 204, "Accept", long, "Accept-Language", "de")
		})
	}
}

// A client that gets the new tag with the answer to its write can write again, although
// neither write accepts what the first read did.
func TestChainOfWritesOfAVariant(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for verify := range verifications {
			t.Run(verify, func(t *testing.T) {
				b := newPolyglot()
				nodes := deploy(t, "verify "+verify, b)
				tag := caddytest.Send(t, "GET", nodes.First()+"/doc", "", "Accept", v2).Expect(t, 200).Tag(t)
				for i := range 3 {
					tag = caddytest.Send(t, "PUT", nodes.Random()+"/doc", fmt.Sprint("edit ", i), "If-Match", tag, "Content-Type", v2, "Accept", "*/*").Expect(t, 204).Tag(t)
				}
				if got := caddytest.Send(t, "GET", nodes.Other()+"/doc", "", "Accept", v2).Expect(t, 200).Tag(t); got != tag {
					t.Errorf("a read shows %s, the last write %s", got, tag)
				}
			})
		}
	})
}

// `If-None-Match: *` is false if any representation exists. A list is about the
// representation that the write's own fields select (RFC 9110, section 13.1.2).
func TestIfNoneMatchOfVariants(t *testing.T) {
	for verify := range verifications {
		t.Run(verify, func(t *testing.T) {
			b := newPolyglot()
			url := caddytest.Site(t, "write_etag off\nverify "+verify, b) + "/doc"
			tag := caddytest.Send(t, "GET", url, "", "Accept", v2).Expect(t, 200).Tag(t)
			_, writes := b.during(func() {
				for _, accept := range []string{"text/plain", "text/html", "*/*"} {
					caddytest.Send(t, "PUT", url, "x", "If-None-Match", "*", "Accept", accept).Expect(t, 412)
				}
				caddytest.Send(t, "PUT", url, "x", "If-None-Match", tag, "Accept", v2).Expect(t, 412)
			})
			if writes != 0 {
				t.Errorf("%d writes", writes)
			}
			caddytest.Send(t, "PUT", url, "x", "If-None-Match", tag, "Accept", "text/html").Expect(t, 204)
		})
	}
}

// Fields that negotiate content also count if only the option vary names them.
func TestNegotiationByOption(t *testing.T) {
	for name, status := range map[string]int{"Accept": 204, "X-Api-Version": 204, "X-Format": 204, "Prefer-Language": 204, "X-Tenant": 412, "X-User": 412} {
		b := caddytest.Page("", "Content-Type", "text/plain")
		answer := b.Answer
		b.Answer = func(w http.ResponseWriter, r *http.Request) {
			answer(w, r)
			if r.Method == "GET" {
				_, _ = io.WriteString(w, "as "+r.Header.Get(name))
			}
		}
		for _, verify := range []string{"never", "passing"} {
			url := caddytest.Site(t, "write_etag off\nverify "+verify+"\nvary "+name, b) + "/page"
			tag := caddytest.Send(t, "GET", url, "", name, "2").Expect(t, 200).Tag(t)
			if a := caddytest.Send(t, "PUT", url, "x", name, "3", "If-Match", tag); a.StatusCode != status {
				t.Errorf("%s, verify %s: %s, want %d", name, verify, a.Status, status)
			}
		}
	}
}

// In mode report, a write with the tag of a different representation would have passed.
func TestReportOfVariants(t *testing.T) {
	for verify := range verifications {
		b := newPolyglot()
		url := caddytest.OneNode(t, "mode report\nverify "+verify, b).First() + "/doc"
		for _, accept := range []string{"*/*", "text/plain"} {
			tag := caddytest.Send(t, "GET", url, "", "Accept", v2).Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url, "x", "Accept", accept, "If-Match", tag).Expect(t, 204).ExpectOutcome(t, "passed")
			if accept == "*/*" {
				caddytest.Send(t, "PUT", url, "y", "Accept", accept, "If-Match", tag).Expect(t, 204).ExpectOutcome(t, "failed")
			}
		}
	}
}

// A condition about a guarded resource holds for any representation of that resource.
func TestGuardedVariant(t *testing.T) {
	for verify, confirmed := range verifications {
		b := newPolyglot()
		base := caddytest.Site(t, "write_etag off\nguards /doc/publish /doc\nverify "+verify, b)
		tag := caddytest.Send(t, "GET", base+"/doc", "", "Accept", v2).Expect(t, 200).Tag(t)
		asked, _ := b.during(func() {
			caddytest.Send(t, "POST", base+"/doc/publish", "published", "If-Match", tag).Expect(t, 204)
		})
		if confirmed != slices.Equal(asked, []string{v2}) || !confirmed && len(asked) > 0 {
			t.Errorf("verify %s: asked for %q", verify, asked)
		}
		caddytest.Send(t, "POST", base+"/doc/publish", "x", "If-Match", tag).Expect(t, 412)
	}
}

// A write that is sent again because its answer was lost is no conflict, whatever it
// accepts.
func TestReplayOfVariants(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, verify := range []string{"never", "1h", "passing"} {
			for _, accept := range []string{"*/*", "text/plain"} {
				t.Run(verify+" "+accept, func(t *testing.T) {
					b := newPolyglot()
					n := deploy(t, "replay\nverify "+verify, b)
					tag := caddytest.Send(t, "GET", n.First()+"/doc", "", "Accept", v2).Expect(t, 200).Tag(t)
					write := []string{"If-Match", tag, "Accept", accept, "Idempotency-Key", `"a"`}
					first := caddytest.Send(t, "PUT", n.First()+"/doc", "x", write...).Expect(t, 204)
					if accept == "*/*" {
						caddytest.Send(t, "GET", n.First()+"/doc", "", "Accept", accept).Expect(t, 200)
					}
					_, writes := b.during(func() {
						for _, node := range []string{n.First(), n.Other()} {
							again := caddytest.Send(t, "PUT", node+"/doc", "x", write...).Expect(t, 204)
							if got, want := again.Tag(t), first.Tag(t); got != want {
								t.Errorf("the tag is %s, want %s", got, want)
							}
						}
						caddytest.Send(t, "PUT", n.Other()+"/doc", "y", write...).Expect(t, 412)
					})
					if writes != 0 {
						t.Errorf("%d writes", writes)
					}
				})
			}
		}
	})
}

// A client whose tag doesn't match learns by which fields responses are negotiated: the
// tag may belong to a representation that nobody but the client can ask for.
func TestAdviceOnNegotiation(t *testing.T) {
	for name, tt := range map[string]struct {
		known  bool
		vary   string
		fields []string
		want   bool
	}{
		"nothing is known":          {false, "Accept, Accept-Language, Cookie", nil, true},
		"it is known":               {true, "Accept, Accept-Language, Cookie", nil, true},
		"nothing is negotiated":     {false, "Cookie", nil, false},
		"the condition is to exist": {false, "Accept", []string{"If-None-Match", "*"}, false},
	} {
		b := newPolyglot()
		b.vary = tt.vary
		url := caddytest.Site(t, "key "+strings.ReplaceAll(name, " ", "-"), b) + "/doc"
		if tt.known {
			caddytest.Send(t, "GET", url, "").Expect(t, 200)
		}
		fields := tt.fields
		if fields == nil {
			fields = []string{"If-Match", `"x"`}
		}
		problem := caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, 412).Content
		if got := strings.Contains(problem, "depend on Accept, Accept-Language: send"); got != tt.want || strings.Contains(problem, "Cookie") {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// A backend that compares its own tag with what the write's own fields select, and refuses
// it, is asked for the representation that the tag belongs to, and then gets the write.
func TestBackendChecksOtherVariant(t *testing.T) {
	for verify := range verifications {
		for _, tags := range []string{`"%s"`, `W/"%s"`} {
			t.Run(verify+" "+tags, func(t *testing.T) {
				b := newPolyglot()
				b.tags = tags
				url := caddytest.Site(t, "verify "+verify, b) + "/doc"
				for i := range 2 {
					tag := caddytest.Send(t, "GET", url, "", "Accept", v2).Expect(t, 200).Tag(t)
					_, writes := b.during(func() {
						caddytest.Send(t, "PUT", url, fmt.Sprint("edit ", i), "If-Match", tag, "Accept", "*/*").Expect(t, 204)
						caddytest.Send(t, "PUT", url, "y", "If-Match", tag, "Accept", "*/*").Expect(t, 412)
						caddytest.Send(t, "PUT", url, "y", "If-Match", tag, "Accept", v2).Expect(t, 412)
					})
					if writes != 1 {
						t.Errorf("%d writes", writes)
					}
				}
			})
		}
	}
}
