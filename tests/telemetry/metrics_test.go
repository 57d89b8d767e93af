package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// metric returns the sum of a metric over its series with these labels.
func (c *server) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	return caddytest.Metric(t, c.admin+"/metrics", "caddy_preconditions_"+name, labels...)
}

// sum is like metric, but series that aren't there yet count as zero.
func (c *server) sum(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	sum, _ := caddytest.FindMetric(t, c.admin+"/metrics", "caddy_preconditions_"+name, labels...)
	return sum
}

// Requests are counted by handler, outcome, reason, method and mode. The counts survive
// reloads, and handlers of one site count together.
func TestRequestsAreCounted(t *testing.T) {
	docs := caddytest.Serve(t, writable(t))
	one, two := caddytest.Address(t), caddytest.Address(t)
	text := fmt.Sprintf("http://one.example:%[2]s {\nbind %[1]s\npreconditions {\nrequire\nlag 0s\n}\nreverse_proxy %[5]s\n}\nhttp://%[3]s:%[4]s {\nhandle /a* {\npreconditions {\nmode report\nlag 0s\n}\nreverse_proxy %[5]s\n}\nhandle {\npreconditions {\nmode report\nlag 0s\n}\nreverse_proxy %[5]s\n}\n}\n",
		caddytest.Host(t), port(one), caddytest.Host(t), port(two), docs)
	c := load(t, "", text)
	send := func(address, host, method, path string, fields ...string) {
		t.Helper()
		caddytest.Send(t, method, "http://"+address+path, "x", append(fields, "Host", host)...)
	}
	for _, tt := range []struct {
		name   string
		do     func()
		labels []string
		want   float64
	}{
		{"a read", func() { send(one, "one.example", "GET", "/") }, []string{"handler", "one.example", "outcome", "read", "reason", "none", "method", "read", "mode", "enforce"}, 1},
		{"a method of neither kind", func() { send(one, "one.example", "OPTIONS", "/") }, []string{"handler", "one.example", "outcome", "bypassed", "method", "other"}, 1},
		{"an outdated tag", func() { send(one, "one.example", "PUT", "/", "If-Match", `"old"`) }, []string{"handler", "one.example", "outcome", "failed", "reason", "no_match", "method", "write", "mode", "enforce"}, 1},
		{"a malformed tag", func() { send(one, "one.example", "PUT", "/", "If-Match", "old") }, []string{"handler", "one.example", "outcome", "failed", "reason", "malformed"}, 1},
		{"no condition", func() { send(one, "one.example", "PUT", "/") }, []string{"handler", "one.example", "outcome", "required", "reason", "no_condition"}, 1},
		{"both handlers of a site", func() {
			send(two, caddytest.Host(t), "PUT", "/a", "If-Match", `"old"`)
			send(two, caddytest.Host(t), "PUT", "/b", "If-Match", `"old"`)
		}, []string{"handler", caddytest.Host(t), "outcome", "failed", "reason", "no_match", "mode", "report"}, 2},
	} {
		before := c.sum(t, "requests_total", tt.labels...)
		tt.do()
		if got := c.metric(t, "requests_total", tt.labels...) - before; got != tt.want {
			t.Errorf("%s: counted %v, want %v", tt.name, got, tt.want)
		}
	}
	before := c.metric(t, "requests_total", "handler", "one.example", "reason", "no_match")
	c = load(t, "", text)
	caddytest.Eventually(t, "the new server answers", func() bool { // the old one may still accept connections
		caddytest.Client.CloseIdleConnections()
		a, err := caddytest.Try(t.Context(), "PUT", "http://"+one+"/", "x", "If-Match", `"old"`, "Host", "one.example")
		return err == nil && a.StatusCode == 412
	})
	if got := c.metric(t, "requests_total", "handler", "one.example", "reason", "no_match"); got != before+1 {
		t.Errorf("%v before the reload, and %v after another", before, got)
	}
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// A refusal that keeps an update from being lost is counted, and no other.
func TestLostUpdatesPreventedAreCounted(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "require", caddytest.Serve(t, docs))
	c := load(t, "", text)
	a := caddytest.Send(t, "GET", url+"/docs/a", "").Expect(t, 200)
	for _, tt := range []struct {
		name   string
		method string
		path   string
		fields []string
		status int
		want   float64
	}{
		{"an outdated tag", "PUT", "/docs/a", []string{"If-Match", `"old"`}, 412, 1},
		{"an outdated tag of a DELETE", "DELETE", "/docs/a", []string{"If-Match", `"old"`}, 412, 1},
		{"it is there", "PUT", "/docs/a", []string{"If-None-Match", "*"}, 412, 1},
		{"a read", "GET", "/docs/a", []string{"If-Match", `"old"`}, 412, 0},
		{"nothing is there", "PUT", "/docs/b", []string{"If-Match", `"old"`}, 412, 0},
		{"nothing to delete", "DELETE", "/docs/b", []string{"If-Match", `"old"`}, 404, 0},
		{"a malformed tag", "PUT", "/docs/a", []string{"If-Match", "old"}, 412, 0},
		{"no condition", "PUT", "/docs/a", nil, 428, 0},
		{"the current tag", "PUT", "/docs/a", []string{"If-Match", a.Tag(t)}, 204, 0},
	} {
		before := c.metric(t, "lost_updates_prevented_total", "handler", caddytest.Host(t))
		caddytest.Send(t, tt.method, url+tt.path, "x", tt.fields...).Expect(t, tt.status)
		if got := c.metric(t, "lost_updates_prevented_total", "handler", caddytest.Host(t)) - before; got != tt.want {
			t.Errorf("%s: counted %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The time of a request is the handler's, without that of the backend.
func TestAddedTime(t *testing.T) {
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "", caddytest.Serve(t, docs))
	c := load(t, "", text)
	for method, class := range map[string]string{"GET": "read", "PUT": "write"} {
		count, sum := c.metric(t, "added_seconds_count", "method", class), c.metric(t, "added_seconds_sum", "method", class)
		done := gate.Send(t.Context(), t, method, url+"/docs/a", "x")
		caddytest.Send(t, "GET", c.admin+"/metrics", "").Expect(t, 200) // takes a while
		gate.Open()
		caddytest.ExpectResult(t, done, map[string]int{"GET": 200, "PUT": 204}[method])
		caddytest.Eventually(t, "the request is counted", func() bool { return c.metric(t, "added_seconds_count", "method", class) == count+1 })
		if took := c.metric(t, "added_seconds_sum", "method", class) - sum; took <= 0 || took > 60 {
			t.Errorf("%s took %v seconds", method, took)
		}
	}
}

// Waits are counted by what was waited for, and probes by what the origin said.
func TestWaitsAndProbesAreCounted(t *testing.T) {
	gate, answer := caddytest.NewGate(), atomic.Pointer[http.HandlerFunc]{}
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := *answer.Load(); a != nil && r.Method == "GET" {
			a(w, r)
			return
		}
		docs.ServeHTTP(w, r)
	}))
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "wait 50ms\nverify passing", backend)
	c := load(t, "", text)
	url += "/docs/a"
	put := func(status int) func() {
		return func() { caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, status) }
	}
	for _, tt := range []struct {
		metric string
		labels []string
		answer http.HandlerFunc
		do     func()
	}{
		{"probe_seconds_count", []string{"result", "known"}, nil, put(204)},
		{"probe_seconds_count", []string{"result", "unknown"}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, put(403)},
		{"probe_seconds_count", []string{"result", "failed"}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, put(503)},
		{"probe_seconds_count", []string{"result", "cached"}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Age", "7")
			_, _ = io.WriteString(w, "one")
		}, put(503)},
		{"probe_seconds_count", []string{"result", "failed"}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "7")
			_, _ = io.WriteString(w, "one")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, put(503)},
		{"wait_seconds_count", []string{"for", "claim"}, nil, func() {
			done := gate.Send(t.Context(), t, "PUT", url, "x", "If-Match", "*")
			put(503)()
			gate.Open()
			caddytest.ExpectResult(t, done, 204)
		}},
		{"wait_seconds_count", []string{"for", "queue"}, nil, func() {
			done := gate.Send(t.Context(), t, "PUT", url, "x", "If-Match", "*")
			var waiting []<-chan caddytest.Result
			for range 3 { // the first has the turn, and waits for the claim
				waiting = append(waiting, caddytest.Go(t.Context(), "DELETE", url, ""))
			}
			for _, one := range waiting {
				caddytest.ExpectResult(t, one, 503)
			}
			gate.Open()
			caddytest.ExpectResult(t, done, 204)
		}},
	} {
		answer.Store(&tt.answer)
		before := c.metric(t, tt.metric, tt.labels...)
		tt.do()
		if got := c.metric(t, tt.metric, tt.labels...); got <= before {
			t.Errorf("%s %q: %v, then %v", tt.metric, tt.labels, before, got)
		}
	}
}

// The store's operations, its troubles, and what this node remembers of it, are counted.
func TestStoreIsMeasured(t *testing.T) {
	m := miniredis.RunT(t)
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "store redis redis://"+m.Addr()+"\nlease 1s\ngrace 600ms\nwait 5s\nverify never", caddytest.Serve(t, docs))
	c := load(t, "", text)
	url += "/docs/a"
	ops := func(operation string) float64 {
		return c.metric(t, "store_operation_seconds_count", "store", "redis", "operation", operation)
	}
	claims, graces := ops("claim"), c.metric(t, "wait_seconds_count", "for", "grace")
	caddytest.Send(t, "PUT", url, "two", "If-None-Match", `"old"`).Expect(t, 204) // waits for the end of the first grace
	if ops("claim") == claims || ops("settle") == 0 || ops("read") == 0 || ops("renew") < 0 {
		t.Error("no operation was counted")
	}
	if c.metric(t, "wait_seconds_count", "for", "grace") == graces {
		t.Error("nothing waited for the grace")
	}
	if c.metric(t, "store_up", "store", "redis") != 1 || c.metric(t, "store_generations_total", "store", "redis") != 1 {
		t.Error("the store isn't up, or there was no grace")
	}
	until := c.metric(t, "store_grace_until_timestamp_seconds", "store", "redis")
	if until < 1e9 {
		t.Errorf("the grace lasts until %v", until)
	}

	hits := c.metric(t, "near_cache_hits_total")
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url, "three", "If-Match", tag).Expect(t, 204)
	if c.metric(t, "near_cache_hits_total") != hits+1 {
		t.Error("the node didn't go by what it remembered")
	}

	failed := c.metric(t, "store_errors_total", "store", "redis")
	caddytest.Send(t, "PUT", url, "four", "If-Match", tag).Expect(t, 412) // a conflict is no error
	if got := c.metric(t, "store_errors_total", "store", "redis"); got != failed {
		t.Error("a conflict counts as an error")
	}
	m.SetError("ERR away")
	caddytest.Send(t, "PUT", url, "five", "If-Match", tag).Expect(t, 503)
	caddytest.Send(t, "PUT", url, "six").Expect(t, 204)
	if c.metric(t, "store_errors_total", "store", "redis") == failed || c.metric(t, "store_up", "store", "redis") != 0 {
		t.Error("the store is away, and counts as there")
	}
	if got := c.metric(t, "store_journal_resources", "store", "redis"); got != 1 {
		t.Errorf("the journal has %v resources", got)
	}
	m.SetError("")
	caddytest.Eventually(t, "the store is told", func() bool {
		return c.metric(t, "store_up", "store", "redis") == 1 && c.metric(t, "store_journal_resources", "store", "redis") == 0
	})
}

// A claim that is lost while the backend works is counted.
func TestLostClaimsAreCounted(t *testing.T) {
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	m := miniredis.RunT(t)
	text, url := site(t, "store redis redis://"+m.Addr()+"\nlease 1s\ngrace 600ms\nwait 5s\nverify never", caddytest.Serve(t, docs))
	c := load(t, "", text)
	before := c.metric(t, "claims_lost_total")
	loseClaim(t, gate, m, url+"/docs/a")
	caddytest.Eventually(t, "the loss is counted", func() bool { return c.metric(t, "claims_lost_total") == before+1 })
}

// loseClaim sends a write whose claim is deleted while the backend works.
func loseClaim(t testing.TB, gate *caddytest.Gate, m *miniredis.Miniredis, url string) {
	t.Helper()
	done := gate.Send(t.Context(), t, "PUT", url, "x", "If-Match", "*")
	for _, key := range m.Keys() {
		if strings.HasSuffix(key, "/docs/a") {
			m.Del(key)
		}
	}
	caddytest.ExpectResult(t, done, 503)
	gate.Open()
}

// Content in memory and in files is counted as long as it is held, and tags by their source.
func TestContentAndTagsAreCounted(t *testing.T) {
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	text, url := site(t, "buffer 1KiB\netag upstream\netag header X-Version\netag body", caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if version := r.URL.Query().Get("version"); version != "" {
			w.Header().Set("X-Version", version)
		}
		docs.ServeHTTP(w, r)
	})))
	c := load(t, "", text)
	url += "/docs/a"
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	for _, tt := range []struct{ source, query string }{{"body", ""}, {"header", "?version=1"}} {
		before := c.metric(t, "tags_total", "source", tt.source)
		caddytest.Send(t, "GET", url+tt.query, "").Expect(t, 200)
		if got := c.metric(t, "tags_total", "source", tt.source); got != before+1 {
			t.Errorf("%s: %v tags, then %v", tt.source, before, got)
		}
	}
	large := strings.Repeat("x", 10<<10)
	done := gate.Send(t.Context(), t, "PUT", url, large)
	if got := c.metric(t, "spooled_bytes"); got != 10<<10 {
		t.Errorf("%v bytes are in files", got)
	}
	gate.Open()
	caddytest.ExpectResult(t, done, 204)
	caddytest.Eventually(t, "the file is gone", func() bool { return c.metric(t, "spooled_bytes") == 0 })

	done = gate.Send(t.Context(), t, "PUT", url, "small")
	if got := c.metric(t, "buffered_bytes"); got < 5 {
		t.Errorf("%v bytes are in memory", got)
	}
	gate.Open()
	caddytest.ExpectResult(t, done, 204)
}
