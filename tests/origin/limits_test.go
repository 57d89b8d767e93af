package origin

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The tests in this file show where the promise ends, as docs/guarantees.md says: in
// each of them an update is lost. If one fails, something got better, and that document
// can promise more.

// mirror is a backend with replicas, of which the client chooses one. It may choose one
// that isn't behind. The handler's own requests have the field of the client's.
type mirror struct {
	*replicated
	ownTags bool // each replica makes other tags
}

const replica = "X-Replica"

func (m mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	chosen := r.Header.Get(replica)
	if m.ownTags && r.Method == http.MethodGet {
		m.mu.Lock()
		content := m.at(r.URL.Path, m.seen(time.Now()))
		m.mu.Unlock()
		w.Header().Set("ETag", fmt.Sprintf("%q", content+chosen))
	}
	if r.Method == http.MethodGet && chosen == "current" {
		m.mu.Lock()
		defer m.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, m.at(r.URL.Path, time.Now()))
		return
	}
	m.replicated.ServeHTTP(w, r)
}

// expectLoss fails the test unless an update was lost.
func (b *replicated) expectLoss(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.writes {
		if w.replaces != "" && w.replaces != w.replaced {
			return
		}
	}
	t.Error("no update was lost: the documentation can promise more")
}

// The tag of the source version says that nobody has written since. It doesn't say that
// the origin shows what was written last.
func TestLimitVersionOfThePast(t *testing.T) {
	t.Parallel()
	b := newReplicated(lag)
	b.put("/doc", "start")
	n := caddytest.OneNode(t, lease+"etag version", b)
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
	a := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200)
	save(t, "PUT", n.First()+"/doc", "two", a.Tag(t), a.Content)
	b.expectLoss(t)
}

// Replicas must give one content one tag. If they don't, as file servers with their own
// dates, the tag of one replica is spent and the tag of the other isn't. A hash of the
// content is the same at all of them.
func TestLimitTagsOfReplicas(t *testing.T) {
	for source, expect := range map[string]func(*replicated, *testing.T){
		"upstream": (*replicated).expectLoss,
		"body":     (*replicated).expectNoneLost,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			b := newReplicated(lag)
			b.put("/doc", "start")
			n := caddytest.OneNode(t, lease+"etag "+source, mirror{b, true})
			second := caddytest.Send(t, "GET", n.First()+"/doc", "", replica, "2").Expect(t, 200).Tag(t)
			first := caddytest.Send(t, "GET", n.First()+"/doc", "", replica, "1").Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", n.First()+"/doc", "one", "If-Match", first, based, "start", replica, "1").Expect(t, 204)
			caddytest.Send(t, "PUT", n.First()+"/doc", "two", "If-Match", second, based, "start", replica, "2")
			expect(b, t)
		})
	}
}

// With verify never, what clients read counts without a question to the origin. A cache
// that keeps it for longer than the lag and doesn't say that it answered is believed,
// although it would pass no-cache on.
func TestLimitReadsFromASilentCache(t *testing.T) {
	for options, expect := range map[string]func(*replicated, *testing.T){
		"verify never":   (*replicated).expectLoss,
		"verify passing": (*replicated).expectNoneLost,
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			b := newReplicated(0)
			b.put("/doc", "start")
			cache := caddytest.NginxCache(caddytest.Serve(t, b), nginxObeys).Run(t)
			n := caddytest.OneNodeAt(t, caddytest.Guarded("lease 3s\nlag 50ms\nwrite_etag off\n"+options, cache))
			tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
			save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
			pass(100 * time.Millisecond)
			a := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200)
			save(t, "PUT", n.First()+"/doc", "two", a.Tag(t), a.Content)
			expect(b, t)
		})
	}
}

// A writer that bypasses the handler must report its change before anybody reads the new
// state. Afterwards that state is the one that the report spends.
func TestLimitReportAfterARead(t *testing.T) {
	b := newReplicated(lag)
	b.put("/doc", "start")
	site := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", site, caddytest.Guarded(lease, caddytest.Serve(t, mirror{b, false}))))
	url := "http://" + site + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	b.mu.Lock()
	b.versions["/doc"] = append(b.versions["/doc"], version{time.Now(), "changed elsewhere"})
	b.mu.Unlock()
	caddytest.Send(t, "GET", url, "", replica, "current").Expect(t, 200)
	caddytest.Purge(t, admin, fmt.Sprintf(`{"urls":[%q]}`, url)).Expect(t, 200)
	save(t, "PUT", url, "two", tag, "start")
	b.expectLoss(t)
}

// A state that was first read while a write without a condition was under way isn't
// known to be what that write replaced.
func TestLimitReadDuringAWriteWithoutCondition(t *testing.T) {
	t.Parallel()
	b := newReplicated(lag)
	b.put("/doc", "start")
	gate := caddytest.NewGate()
	n := caddytest.OneNode(t, lease, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.Pass(r)
		b.ServeHTTP(w, r)
	}))
	blind := gate.Send(t.Context(), t, "PUT", n.First()+"/doc", "blind")
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	gate.Open()
	caddytest.ExpectResult(t, blind, 204)
	save(t, "PUT", n.First()+"/doc", "two", tag, "start")
	b.expectLoss(t)
}
