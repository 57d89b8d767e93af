package origin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// lag is how far the replicas of these tests are behind, and lease is long enough
// for the memory of spent tags to cover it.
const (
	lag   = 400 * time.Millisecond
	lease = "lease 3s\nlag 3s\n"
)

// refused reports whether a write was refused because its tag is spent, or because
// nobody can tell whether it is.
func refused(a caddytest.Answer) bool {
	return a.StatusCode == http.StatusPreconditionFailed ||
		a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != ""
}

// save sends a conditional write, as a client that has read a content.
func save(t testing.TB, method, url, content, tag, seen string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, method, url, content, "If-Match", tag, based, seen)
}

// A tag that a landed write has replaced is dead for as long as the origin may show
// the past, whatever verify and write_etag say, also for the other node, and also if
// the tag is the backend's own.
func TestSpentTagStaysDead(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{
			"", "verify all", "verify never", "verify 10s", "write_etag off", "write_etag always", "replay",
			"etag upstream", "etag header X-Version",
		} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := newReplicated(lag)
				b.put("/doc", "start")
				if options == "etag upstream" {
					b.tags = func(content string) string { return fmt.Sprintf("%q", strings.ReplaceAll(content, " ", "-")) }
				}
				backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet {
						b.mu.Lock()
						w.Header().Set("X-Version", b.at("/doc", time.Now().Add(-lag)))
						b.mu.Unlock()
					}
					b.ServeHTTP(w, r)
				})
				n := deploy(t, lease+options, backend)
				tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
				first := save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
				if got := first.Header.Get("ETag"); got == tag {
					t.Errorf("the spent tag %s was handed out as that of what was written", got)
				}
				for _, to := range []string{n.First(), n.Other()} {
					if a := save(t, "PUT", to+"/doc", "two", tag, "start"); !refused(a) {
						t.Errorf("a spent tag got %d", a.StatusCode)
					}
				}
				caddytest.Send(t, "GET", n.Other()+"/doc", "").Expect(t, 200) // shows the past
				if a := save(t, "PATCH", n.Other()+"/doc", "three", tag, "start"); !refused(a) {
					t.Errorf("a spent tag got %d after a read that showed it", a.StatusCode)
				}
				if got := b.written("/doc"); len(got) != 1 {
					t.Errorf("the backend has applied %v", got)
				}
				b.expectNoneLost(t)
			})
		}
	})
}

// As soon as the origin shows the present, its tag is good for a write: nobody is
// refused for longer than the origin lags.
func TestPresentIsBelievedAgain(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newReplicated(lag)
		b.put("/doc", "0")
		n := deploy(t, lease, b)
		for i := range 3 {
			seen := fmt.Sprint(i)
			var tag string
			caddytest.Eventually(t, "the origin shows the present", func() bool {
				a := caddytest.Send(t, "GET", n.Random()+"/doc", "")
				tag = a.Header.Get("ETag")
				return a.Content == seen
			})
			save(t, "PUT", n.Random()+"/doc", fmt.Sprint(i+1), tag, seen).Expect(t, 204)
		}
		b.expectNoneLost(t)
	})
}

// Of many writers with one tag, exactly one gets a 2xx, over all nodes, with lags
// that are short and long beside a write.
func TestOneTagOneWinner(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, lag := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
			for _, options := range []string{"", "verify never"} {
				t.Run(fmt.Sprint(lag)+" "+options, func(t *testing.T) {
					t.Parallel()
					b := newReplicated(lag)
					b.put("/doc", "start")
					n := deploy(t, lease+options, b)
					tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
					var winners atomic.Int64
					var all sync.WaitGroup
					for i := range 8 {
						all.Go(func() {
							a, err := caddytest.Try(context.Background(), "PUT", n[i%len(n)]+"/doc", fmt.Sprint(i), "If-Match", tag, based, "start")
							switch {
							case err != nil:
								t.Error(err)
							case a.StatusCode == 204:
								winners.Add(1)
							case !refused(a):
								t.Errorf("got %d", a.StatusCode)
							}
						})
					}
					all.Wait()
					if winners.Load() != 1 {
						t.Errorf("%d writers were told that they succeeded", winners.Load())
					}
					b.expectNoneLost(t)
				})
			}
		}
	})
}

// Going back to an earlier content works at once if the write's own content proves
// it, and the tag in between is then the spent one.
func TestBackToAnEarlierContent(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newReplicated(0)
		b.put("/doc", "A")
		n := deploy(t, lease, b)
		a := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
		between := save(t, "PUT", n.First()+"/doc", "B", a, "A").Expect(t, 204).Tag(t)
		again := save(t, "PUT", n.Other()+"/doc", "A", between, "B").Expect(t, 204).Tag(t)
		if again != a {
			t.Errorf("the same content has the tags %s and %s", a, again)
		}
		save(t, "PUT", n.First()+"/doc", "C", between, "B").Expect(t, 412)
		save(t, "PUT", n.First()+"/doc", "C", again, "A").Expect(t, 204)
		b.expectNoneLost(t)
	})
}

// A document that is written all the time stays writable: what a write proves is
// known, however many states are spent.
func TestManyWritesWithinTheLag(t *testing.T) {
	b := newReplicated(0)
	b.put("/doc", "0")
	n := caddytest.OneNode(t, "lease 30s\nlag 30s\n", b)
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	for i := range 2 * etagcache.MaxSpent {
		tag = save(t, "PUT", n.First()+"/doc", fmt.Sprint(i+1), tag, fmt.Sprint(i)).Expect(t, 204).Tag(t)
	}
	b.expectNoneLost(t)
}

// Absence is a state that can be spent, too: of two who create a document, the
// second doesn't pass because the origin doesn't show it yet.
func TestSpentAbsence(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"", "verify never"} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := newReplicated(lag)
				n := deploy(t, lease+options, b)
				caddytest.Send(t, "PUT", n.First()+"/doc", "one", "If-None-Match", "*").Expect(t, 204)
				if a := caddytest.Send(t, "PUT", n.Other()+"/doc", "two", "If-None-Match", "*"); !refused(a) {
					t.Errorf("the second creator got %d", a.StatusCode)
				}
				if got := b.written("/doc"); len(got) != 1 {
					t.Errorf("the backend has applied %v", got)
				}
			})
		}
	})
}

// What was deleted can be created again at once.
func TestCreatedAgain(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newReplicated(0)
		n := deploy(t, lease, b)
		for i := range 3 {
			content := fmt.Sprint(i)
			tag := caddytest.Send(t, "PUT", n.First()+"/doc", content, "If-None-Match", "*").Expect(t, 204).Tag(t)
			save(t, "DELETE", n.Other()+"/doc", "", tag, content).Expect(t, 204)
			save(t, "DELETE", n.First()+"/doc", "", tag, content).Expect(t, 404)
		}
		b.expectNoneLost(t)
	})
}

// Writes without a condition, and writes that change the resource from elsewhere,
// spend its tag as well.
func TestSpentByOtherWrites(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, tt := range []struct {
			name, options string
			change        func(t *testing.T, n caddytest.Nodes, b *replicated)
		}{
			{"a write without a condition", "", func(t *testing.T, n caddytest.Nodes, _ *replicated) {
				caddytest.Send(t, "PUT", n.First()+"/docs/plan", "one").Expect(t, 204)
			}},
			{"a write without a condition that waits for nobody", "unconditional forward\n", func(t *testing.T, n caddytest.Nodes, _ *replicated) {
				caddytest.Send(t, "PUT", n.First()+"/docs/plan", "one").Expect(t, 204)
			}},
			{"a write that affects it", "affects /actions/publish /docs/plan\n", func(t *testing.T, n caddytest.Nodes, b *replicated) {
				caddytest.Send(t, "POST", n.First()+"/actions/publish", "").Expect(t, 204)
				b.mu.Lock()
				defer b.mu.Unlock()
				b.versions["/docs/plan"] = append(b.versions["/docs/plan"], version{time.Now(), "published"})
			}},
			{"the deletion of its tree", "affects /docs /docs/**\n", func(t *testing.T, n caddytest.Nodes, _ *replicated) {
				caddytest.Send(t, "DELETE", n.First()+"/docs", "").Expect(t, 204)
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				b := newReplicated(lag)
				b.put("/docs/plan", "start")
				n := deploy(t, lease+tt.options, b)
				tag := caddytest.Send(t, "GET", n.Other()+"/docs/plan", "").Expect(t, 200).Tag(t)
				tt.change(t, n, b)
				for _, to := range n {
					if a := save(t, "PUT", to+"/docs/plan", "two", tag, "start"); !refused(a) {
						t.Errorf("a spent tag got %d", a.StatusCode)
					}
				}
				b.expectNoneLost(t)
			})
		}
	})
}

// The client is told that the origin still shows the past, and when to come again.
func TestRefusalSaysThatTheOriginLags(t *testing.T) {
	b := newReplicated(lag)
	b.put("/doc", "start")
	n := caddytest.OneNode(t, lease, b)
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
	a := caddytest.Send(t, "PUT", n.First()+"/doc", "two", "If-Match", `"other"`)
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.Content, "older state") {
		t.Errorf("got %d %v %s", a.StatusCode, a.Header, a.Content)
	}
	if a := save(t, "PUT", n.First()+"/doc", "two", tag, "start").Expect(t, 412); !strings.Contains(a.Content, "replaced") {
		t.Errorf("got %s", a.Content)
	}
}

// Without a memory of spent tags, the same origin loses updates: the tests above
// could fail.
func TestLagLosesUpdatesWithoutMemory(t *testing.T) {
	b := newReplicated(lag)
	b.put("/doc", "start")
	n := caddytest.OneNode(t, "lease 3s\nlag 0s\nwrite_etag off", b)
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
	save(t, "PUT", n.First()+"/doc", "two", tag, "start").Expect(t, 204)
	if got := b.written("/doc"); len(got) < 2 || got[1].replaced == got[1].replaces {
		t.Errorf("nothing was lost: %v", got)
	}
}
