package telemetry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/attribute"
)

// Course is what one request has been through so far. The zero value is a request that has
// just come, and a nil Course notes nothing. Several goroutines may use it.
type Course struct {
	observer *Observer
	begun    time.Time
	next     caddyhttp.Handler
	away     clock // how long others have had the request
	waited   atomic.Int64
	probes   atomic.Int32
	trail    trail
}

// Begin notes that a request has come to the handler of an observer, which may be nil. It
// returns the handler that takes the place of the next one: it measures the time of the backend.
func (c *Course) Begin(o *Observer, r *http.Request, next caddyhttp.Handler) caddyhttp.Handler {
	c.observer, c.begun, c.next, c.trail = o, time.Now(), next, trailOf(r)
	return c
}

// ServeHTTP implements caddyhttp.Handler. Several requests may be under way at once.
func (c *Course) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	c.away.shift(1)
	defer c.away.shift(-1)
	return c.next.ServeHTTP(w, r)
}

// Resume notes that the handler works. If the next one waits for it, that goes on when Suspend
// is called with the result.
func (c *Course) Resume() (resumed bool) { return c != nil && c.away.resume() }

// Suspend ends what Resume began.
func (c *Course) Suspend(resumed bool) {
	if resumed {
		c.away.shift(1)
	}
}

// End notes that the request is over.
func (c *Course) End(m Method) {
	addedBy[m].Observe((time.Since(c.begun) - c.away.stop()).Seconds())
}

// clock counts the time in which the next handlers that work are more than those that wait for
// this one.
type clock struct {
	mu    sync.Mutex
	n     int
	since time.Time
	total time.Duration
}

func (k *clock) shift(by int) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count(now)
	k.n += by
}

// resume counts one less, if there is one.
func (k *clock) resume() bool {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == 0 {
		return false
	}
	k.count(now)
	k.n--
	return true
}

// count adds the time until now.
func (k *clock) count(now time.Time) {
	if k.n > 0 {
		k.total += now.Sub(k.since)
	}
	k.since = now
}

// stop returns the time so far.
func (k *clock) stop() time.Duration {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count(now)
	return k.total
}

// Wait is what a write waits for.
type Wait string

// What writes wait for.
const (
	ForTurn  Wait = "queue" // for its turn among the writes of this node
	ForWrite Wait = "claim" // for a write that is in flight, perhaps on another node
	ForGrace Wait = "grace" // until the nodes have told a store that lost data what they hold
)

// WaitFor returns what a write waits for that the store doesn't let through, given how much is
// left of a grace.
func WaitFor(grace time.Duration) Wait {
	if grace > 0 {
		return ForGrace
	}
	return ForWrite
}

// Waited notes that the request has waited since begun.
func (c *Course) Waited(what Wait, begun time.Time) {
	if c == nil {
		return
	}
	d := time.Since(begun)
	c.waited.Add(int64(d))
	waitsFor[what].Observe(d.Seconds())
	if c.trail.on() {
		c.trail.add(spanWait, begun, nil, attributeFor.String(string(what)))
	}
}

// Probe is what became of a request that the handler made itself.
type Probe string

// What becomes of probes.
const (
	ProbeKnown   Probe = "known"   // it showed the current state
	ProbeUnknown Probe = "unknown" // its status leaves open what the state is
	ProbeCached  Probe = "cached"  // a cache answered
	ProbeFailed  Probe = "failed"  // there was no answer, or one with a 5xx
)

// Probed notes that the origin was asked on behalf of the request. The status is 0 if there was
// no answer.
func (c *Course) Probed(result Probe, begun time.Time, status int, err error) {
	if c == nil {
		return
	}
	c.probes.Add(1)
	since(begun, probesBy[result])
	if c.trail.on() {
		c.trail.add(spanProbe, begun, err, attributeResult.String(string(result)),
			attribute.String("http.request.method", http.MethodGet), attribute.Int("http.response.status_code", status))
	}
}

// ClaimLost notes that the request has lost a claim or pass on a resource.
func (c *Course) ClaimLost(resource string) {
	if c == nil {
		return
	}
	c.observer.claimLost(resource)
}

// Waits returns how long the request has waited for other writes.
func (c *Course) Waits() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.waited.Load())
}

// Probes returns how often the origin was asked on behalf of the request.
func (c *Course) Probes() int {
	if c == nil {
		return 0
	}
	return int(c.probes.Load())
}
