package telemetry

import (
	"context"
	"maps"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// recorder is an event handler that keeps events. Before it does, it calls hold, unless that
// is nil.
type recorder struct{}

var recorded struct {
	sync.Mutex
	events []caddy.Event
	hold   func()
}

func init() { caddy.RegisterModule(recorder{}) }

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.recorder", New: func() caddy.Module { return new(recorder) }}
}

func (*recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*recorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.Lock()
	hold := recorded.hold
	recorded.Unlock()
	if hold != nil {
		hold()
	}
	recorded.Lock()
	defer recorded.Unlock()
	recorded.events = append(recorded.events, e)
	return nil
}

// subscribe is a global option that records these events.
const subscribe = "events {\non precondition_failed recorder\non claim_lost recorder\non store_down recorder\non store_up recorder\n}"

// events waits for a number of events, and returns them.
func events(t testing.TB, n int) []caddy.Event {
	t.Helper()
	var list []caddy.Event
	caddytest.Eventually(t, "the events come", func() bool {
		recorded.Lock()
		defer recorded.Unlock()
		list = recorded.events
		return len(list) >= n
	})
	if len(list) > n {
		t.Errorf("%d events, want %d: %v", len(list), n, list)
	}
	return list
}

func forgetEvents() {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.events, recorded.hold = nil, nil
}

// expectEvent holds an event to its name, its origin and what it says.
func expectEvent(t testing.TB, e caddy.Event, name string, want map[string]any) {
	t.Helper()
	if e.Name() != name || e.Origin().CaddyModule().ID != "http.handlers.preconditions" {
		t.Errorf("got %s of %v, want %s", e.Name(), e.Origin(), name)
	}
	for key, value := range want {
		if e.Data[key] != value {
			t.Errorf("%s: %s is %v, want %v", name, key, e.Data[key], value)
		}
	}
}

// A false condition is an event, and nothing else is. In mode report, no condition fails.
func TestFailedPreconditionIsAnEvent(t *testing.T) {
	forgetEvents()
	text, url := site(t, "require", caddytest.Serve(t, writable(t)))
	reporting, elsewhere := site(t, "mode report", caddytest.Serve(t, writable(t)))
	load(t, subscribe, text+reporting)
	caddytest.Send(t, "PUT", elsewhere, "x", "If-Match", `"old"`).Expect(t, 200)
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	caddytest.Send(t, "PUT", url, "x").Expect(t, 428)
	caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 412)
	host := caddytest.Host(t)
	expectEvent(t, events(t, 1)[0], "precondition_failed", map[string]any{
		"handler": host, "method": "PUT", "resource": host + "/", "status": 412, "reason": "If-Match: no match", "reason_code": "no_match",
		"condition": "If-Match", "provided": `"old"`, "current": tag, "waited": 0.0, "probed": 0,
	})
}

// Nobody waits for those who subscribe. What they are too slow for is dropped and counted.
func TestEventsKeepNobodyWaiting(t *testing.T) {
	forgetEvents()
	held := make(chan struct{})
	recorded.Lock()
	recorded.hold = func() { <-held }
	recorded.Unlock()
	text, url := site(t, "", caddytest.Serve(t, writable(t)))
	c := load(t, subscribe, text)
	caddytest.Send(t, "GET", url, "").Expect(t, 200)
	before := c.metric(t, "events_dropped_total")
	for range 1010 {
		caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 412)
	}
	dropped := c.metric(t, "events_dropped_total") - before
	if dropped < 1 {
		t.Errorf("%v events were dropped", dropped)
	}
	close(held)
	events(t, 1010-int(dropped))
}

// A claim that is lost, and a store that goes away and comes back, are events.
func TestTroublesAreEvents(t *testing.T) {
	forgetEvents()
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	m := miniredis.RunT(t)
	text, url := site(t, "store redis redis://"+m.Addr()+"\nlease 1s\ngrace 600ms\nwait 5s\nverify never", caddytest.Serve(t, docs))
	load(t, subscribe, text)
	host := caddytest.Host(t)
	loseClaim(t, gate, m, url+"/docs/a")
	expectEvent(t, events(t, 1)[0], "claim_lost", map[string]any{"handler": host, "resource": host + "/docs/a"})

	forgetEvents()
	caddytest.Client.CloseIdleConnections()
	m.SetError("ERR away")
	caddytest.Send(t, "PUT", url+"/docs/a", "x", "If-Match", "*").Expect(t, 503)
	m.SetError("")
	caddytest.Eventually(t, "the store is back", func() bool {
		caddytest.Send(t, "GET", url+"/docs/a", "")
		recorded.Lock()
		defer recorded.Unlock()
		return len(recorded.events) == 2
	})
	list := events(t, 2)
	expectEvent(t, list[0], "store_down", map[string]any{"store": "redis"})
	expectEvent(t, list[1], "store_up", map[string]any{"store": "redis", "error": nil})
	if keys := maps.Clone(list[0].Data); keys["error"] == "" || keys["error"] == nil {
		t.Error("the event doesn't say what is wrong")
	}
}
