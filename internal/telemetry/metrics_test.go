package telemetry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// A collector that can't be registered is an error, unless it is there already.
func TestRegister(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "caddy_preconditions_requests_total", Help: "Something else."}))
	if err := Register(registry); err == nil {
		t.Error("no error")
	}
}

// However many sites a process has had, the number of names in metrics is bounded.
func TestNamesAreBounded(t *testing.T) {
	if got := bounded("a.example"); got != "a.example" {
		t.Errorf("got %s", got)
	}
	for i := range 2 * maxNames {
		bounded(string(rune('a'+i%26)) + time.Duration(i).String())
	}
	if got := bounded("b.example"); got != "other" {
		t.Errorf("a new name is %s", got)
	}
	if got := bounded("a.example"); got != "a.example" {
		t.Errorf("a known name is %s", got)
	}
	names.known = nil
}

// The time of a request is the backend's while that works, and the handler's otherwise: also
// when the backend waits for the handler, which may ask it something else meanwhile.
func TestTimeOfTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Course)
		work := func(d time.Duration) { time.Sleep(d) }
		probe := func() { _ = c.ServeHTTP(nil, nil) }
		var calls atomic.Int32
		next := c.Begin(nil, httptest.NewRequest("GET", "/", nil), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			if calls.Add(1) > 1 { // a probe
				work(100 * time.Second)
				return nil
			}
			work(1000 * time.Second)
			resumed := c.Resume()
			work(1 * time.Second)
			probe()
			work(2 * time.Second)
			c.Suspend(resumed)
			work(1000 * time.Second)
			return errors.New("broken")
		}))
		work(4 * time.Second)
		if err := next.ServeHTTP(httptest.NewRecorder(), nil); err == nil {
			t.Error("the error is gone")
		}
		resumed := c.Resume() // nobody waits
		work(8 * time.Second)
		probe()
		c.Suspend(resumed)
		begun := time.Now()
		for range 3 {
			go probe()
		}
		synctest.Wait()
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if got, want := time.Since(c.begun)-c.away.stop(), 15*time.Second; got != want {
			t.Errorf("the handler took %v, want %v", got, want)
		}
		if d := time.Since(begun); d != 100*time.Second {
			t.Errorf("the probes took %v", d)
		}
	})
}

// Counting a request again allocates nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	o, r := NewObserver("counted", "enforce", zap.NewNop(), nil), Request{Outcome: "read", Reason: NoReason, Method: Read}
	if n := testing.AllocsPerRun(100, func() { o.Count(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
