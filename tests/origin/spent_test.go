package origin

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A condition that holds for what the origin still shows may hold for the present, too,
// if it isn't about that one state: then nobody can tell, and nothing is said to be false.
func TestConditionsOnMoreThanTheSpentState(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields func(tag string) []string
	}{
		{"If-Match *", func(string) []string { return []string{"If-Match", "*"} }},
		{"If-Match with several tags", func(tag string) []string { return []string{"If-Match", tag + `, "other"`} }},
		{"If-None-Match with a tag", func(string) []string { return []string{"If-None-Match", `"other"`} }},
		{"If-Unmodified-Since with a late date", func(string) []string {
			return []string{"If-Unmodified-Since", time.Now().Add(-time.Second).UTC().Format(http.TimeFormat)}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newReplicated(lag)
			b.put("/doc", "start")
			backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")
				b.ServeHTTP(w, r)
			})
			n := caddytest.OneNode(t, lease, backend)
			tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
			save(t, "PUT", n.First()+"/doc", "one", tag, "start").Expect(t, 204)
			a := caddytest.Send(t, "PUT", n.First()+"/doc", "two", tt.fields(tag)...)
			if a.StatusCode == 412 {
				t.Errorf("got 412: %s", a.Content)
			}
		})
	}
}

// A write without a condition that waits for nobody spends what it replaces for the lag
// after its end, however long it takes.
func TestSlowWriteThatWaitsForNobody(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newReplicated(lag)
		b.put("/doc", "start")
		gate := caddytest.NewGate()
		backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gate.Pass(r)
			b.ServeHTTP(w, r)
		})
		n := deploy(t, "lease 3s\nlag 450ms\nunconditional forward", backend)
		tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
		blind := gate.Send(t.Context(), t, "PUT", n.First()+"/doc", "blind")
		pass(700 * time.Millisecond)
		gate.Open()
		caddytest.ExpectResult(t, blind, 204)
		if a := save(t, "PUT", n.Other()+"/doc", "two", tag, "start"); !refused(a) {
			t.Errorf("a spent tag got %d", a.StatusCode)
		}
		b.expectNoneLost(t)
	})
}

// What a write in report mode replaces is spent when the handler enforces again.
func TestSpentInReportMode(t *testing.T) {
	b := newReplicated(lag)
	b.put("/doc", "start")
	address := caddytest.Serve(t, b)
	site := caddytest.Address(t)
	config := func(mode string) string {
		return fmt.Sprintf("http://%s {\n%s\n}\n", site, caddytest.Guarded(lease+"mode "+mode, address))
	}
	caddytest.Load(t, config("report"))
	url := "http://" + site + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url, "blind").Expect(t, 204)
	if err := caddytest.Reload(t, config("enforce")); err != nil {
		t.Fatal(err)
	}
	caddytest.Eventually(t, "the new server has taken over", func() bool {
		_, err := caddytest.Try(t.Context(), "GET", url, "")
		return err == nil
	})
	if a := save(t, "PUT", url, "two", tag, "start"); !refused(a) {
		t.Errorf("a spent tag got %d", a.StatusCode)
	}
	b.expectNoneLost(t)
}

// A node that is killed while its write is under way spends what the write replaced,
// also if the store didn't know that.
func TestSpentByAKilledNode(t *testing.T) {
	t.Parallel()
	b := newReplicated(2500 * time.Millisecond)
	b.put("/doc", "start")
	b.tags = func(content string) string { return fmt.Sprintf("%q", content) }
	gate := caddytest.NewGate()
	applied := make(chan struct{})
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate.Pass(r); r.Header.Get("X-Hold") == "PUT" && r.Method == "PUT" {
			defer close(applied)
		}
		b.ServeHTTP(w, r)
	})
	options := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\netag upstream\n", caddytest.UsedRedis(t).Addr)
	directives := caddytest.Guarded(options+lease, caddytest.Serve(t, backend))
	nodes := caddytest.StartNodes(t, 2, directives)
	gate.Send(t.Context(), t, "PUT", nodes[0].URL+"/doc", "one", "If-Match", `"start"`, based, "start")
	nodes[0].Kill()
	pass(time.Second) // of the lease, or the replica would show the present when that is over
	gate.Open()
	<-applied
	caddytest.Eventually(t, "the lease is over", func() bool {
		a := save(t, "PUT", nodes[1].URL+"/doc", "two", `"start"`, "start")
		if a.StatusCode == 204 {
			t.Fatal("a spent tag passed")
		}
		return a.StatusCode == 412
	})
	b.expectNoneLost(t)
}

// A refusal doesn't offer the past as the current representation.
func TestPastIsNotOfferedForMerging(t *testing.T) {
	t.Parallel()
	b, fresh := newReplicated(lag), "X-Fresh"
	b.put("/doc", "start")
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" && r.Header.Get(fresh) != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, b.at("/doc", time.Now()))
			return
		}
		b.ServeHTTP(w, r)
	})
	n := caddytest.OneNode(t, lease, backend)
	tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", n.First()+"/doc", "one", "If-Match", tag, fresh, "1").Expect(t, 204).Tag(t)
	a := caddytest.Send(t, "PUT", n.First()+"/doc", "two", "If-Match", tag, "Prefer", "return=representation")
	if a.Content == "start" || a.Header.Get("ETag") == tag {
		t.Errorf("got %d %s %s", a.StatusCode, a.Header.Get("ETag"), a.Content)
	}
}

// A write that never landed has replaced nothing: its tag is doubtful for the lag after
// the lease, and good again afterwards. Nobody is told that a condition on it is false.
func TestDoubtfulTagIsGoodAgain(t *testing.T) {
	t.Parallel()
	b := newReplicated(0)
	b.put("/doc", "start")
	gate := caddytest.NewGate()
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate.Pass(r); r.Header.Get("X-Hold") == "PUT" && r.Method == "PUT" {
			panic(http.ErrAbortHandler)
		}
		b.ServeHTTP(w, r)
	})
	store := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", caddytest.UsedRedis(t).Addr)
	nodes := caddytest.StartNodes(t, 2, caddytest.Guarded(store+"lease 1s\nlag 1s", caddytest.Serve(t, backend)))
	tag := caddytest.Send(t, "GET", nodes[1].URL+"/doc", "").Expect(t, 200).Tag(t)
	gate.Send(t.Context(), t, "PUT", nodes[0].URL+"/doc", "one", "If-Match", tag, based, "start")
	nodes[0].Kill()
	gate.Open()
	caddytest.Eventually(t, "the tag is good again", func() bool {
		a := save(t, "PUT", nodes[1].URL+"/doc", "two", tag, "start")
		if a.StatusCode == 412 {
			t.Fatalf("got 412: %s", a.Content)
		}
		politely()
		return a.StatusCode == 204
	})
	b.expectNoneLost(t)
}

// A member of a group that has changed may be as it was. While nobody can tell, a condition
// on what was known of it isn't false: 503, and not 412.
func TestMemberOfAChangedGroup(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		n := deploy(t, lease, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodGet:
				w.Header().Set("Cache-Groups", `"cars"`)
				_, _ = io.WriteString(w, "as it was")
			case http.MethodPost:
				w.Header().Set("Cache-Group-Invalidation", `"cars"`)
			}
		}))
		var tag string
		for range 2 { // the first read tells of the group
			tag = caddytest.Send(t, "GET", n.First()+"/cars/2", "").Expect(t, 200).Tag(t)
		}
		caddytest.Send(t, "POST", n.Other()+"/cars", "").Expect(t, 200)
		caddytest.Send(t, "PUT", n.First()+"/cars/2", "new", "If-Match", tag).Expect(t, 503)
	})
}
