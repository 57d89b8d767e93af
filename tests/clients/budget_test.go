package clients

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestRoundTrips: for each kind of request, the client waits for a fixed number of
// calls to Redis.
func TestRoundTrips(t *testing.T) {
	server := caddytest.UsedRedis(t)
	redisClient := server.Client()
	url := caddytest.SiteOfRedis(t, server, "store redis redis://"+server.Addr+"\nwrite_etag off", legacydocs.New(legacydocs.Options{})) + "/docs/plan"

	// Redis gets each script in full once. These requests do that.
	caddytest.Send(t, "PUT", url, "0").Expect(t, 201)
	caddytest.Send(t, "PUT", url, "1", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 204)

	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	cost := func(f func()) int {
		before := caddytest.StoreCalls(t, redisClient)
		f()
		return caddytest.StoreCalls(t, redisClient) - before
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s took %d round trips, want %d", what, got, want)
		}
	}
	check("the first read of a known resource", cost(func() { caddytest.Send(t, "GET", url, "").Expect(t, 200) }), 1)
	const reads = 20
	begun := time.Now()
	calls := cost(func() {
		for range reads {
			caddytest.Send(t, "GET", url, "").Expect(t, 200)
			caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304)
		}
	})
	if seconds := int(time.Since(begun)/time.Second) + 1; calls > seconds {
		t.Errorf("%d reads took %d round trips in less than %d s, want one a second", 2*reads, calls, seconds)
	}
	check("a write that is refused", cost(func() { caddytest.Send(t, "PUT", url, "2", "If-Match", `"old"`).Expect(t, 412) }), 1)
	check("a write that passes", cost(func() { caddytest.Send(t, "PUT", url, "2", "If-Match", tag).Expect(t, 204) }), 2)
	check("a write to a resource in an unknown state that is refused", cost(func() { caddytest.Send(t, "PUT", url, "3", "If-Match", tag).Expect(t, 412) }), 2)
	caddytest.Send(t, "PUT", url, "3").Expect(t, 204)
	check("one that passes", cost(func() { caddytest.Send(t, "PUT", url, "3", "If-Match", "*").Expect(t, 204) }), 3)
	check("a write without a condition", cost(func() { caddytest.Send(t, "PUT", url, "4").Expect(t, 204) }), 2)

	saves := caddytest.Site(t, "store redis redis://"+server.Addr, legacydocs.New(legacydocs.Options{})) + "/docs/agenda"
	saved := caddytest.Send(t, "PUT", saves, "1", "If-None-Match", "*").Expect(t, 201).Tag(t)
	check("a save after a save", cost(func() { saved = caddytest.Send(t, "PUT", saves, "2", "If-Match", saved).Expect(t, 204).Tag(t) }), 2)
	caddytest.Eventually(t, "a read within a second of a save takes no round trip", func() bool {
		saved = caddytest.Send(t, "PUT", saves, "3", "If-Match", saved).Expect(t, 204).Tag(t)
		return cost(func() { caddytest.Send(t, "GET", saves, "", "If-None-Match", saved).Expect(t, 304) }) == 0
	})

	trusting := caddytest.Site(t, "store redis redis://"+server.Addr+"\nverify never\nwrite_etag off", legacydocs.New(legacydocs.Options{})) + "/docs/notes"
	caddytest.Send(t, "PUT", trusting, "1", "If-None-Match", "*").Expect(t, 201)
	check("a read after a write that told no tag", cost(func() { saved = caddytest.Send(t, "GET", trusting, "").Expect(t, 200).Tag(t) }), 1)
	check("a write after that", cost(func() { caddytest.Send(t, "PUT", trusting, "2", "If-Match", saved).Expect(t, 204) }), 2)

	lags := caddytest.Site(t, "store redis redis://"+server.Addr+"\nwrite_etag off\nlag 1m", legacydocs.New(legacydocs.Options{})) + "/docs/minutes"
	caddytest.Send(t, "PUT", lags, "1").Expect(t, 201)
	check("a write that announces a state which the store doesn't know", cost(func() { caddytest.Send(t, "PUT", lags, "2", "If-Match", "*").Expect(t, 204) }), 3)

	forwards := caddytest.Site(t, "store redis redis://"+server.Addr+"\nunconditional forward", legacydocs.New(legacydocs.Options{})) + "/docs/plan"
	check("one that waits for nobody", cost(func() { caddytest.Send(t, "PUT", forwards, "5").ExpectSuccess(t) }), 2)
}

// TestBackendRequests: the handler confirms a write that passes, and asks for its new tag, with a
// GET each. Options save them.
func TestBackendRequests(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]int64{
		"": 2, "verify never": 1, "write_etag answer": 1, "write_etag off": 1, "verify never\nwrite_etag off": 0,
	} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			t.Parallel()
			docs := legacydocs.New(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/plan", "old")
			var asked atomic.Int64
			url := caddytest.Site(t, options, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					asked.Add(1)
				} else { // and answers with the document
					docs.ServeHTTP(httptest.NewRecorder(), r)
					r = httptest.NewRequest(http.MethodGet, r.URL.Path, nil)
				}
				docs.ServeHTTP(w, r)
			})) + "/docs/plan"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			before := asked.Load()
			caddytest.Send(t, "PUT", url, "new", "If-Match", tag).Expect(t, 200)
			if got := asked.Load() - before; got != want {
				t.Errorf("%d GETs, want %d", got, want)
			}
		})
	}
}
