package telemetry

import (
	"sync/atomic"
	"time"
)

// Course is what one request has been through so far. The zero value is a request that has
// just come, and a nil Course notes nothing. Several goroutines may use it.
type Course struct {
	waited atomic.Int64
	probes atomic.Int32
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
func (c *Course) Waited(_ Wait, begun time.Time) {
	if c == nil {
		return
	}
	c.waited.Add(int64(time.Since(begun)))
}

// Probe is what became of a GET that the handler has sent itself.
type Probe string

// What becomes of probes.
const (
	ProbeKnown   Probe = "known"   // it showed the current state
	ProbeUnknown Probe = "unknown" // its status leaves open what the state is
	ProbeCached  Probe = "cached"  // a cache answered
	ProbeFailed  Probe = "failed"  // no answer
)

// Probed notes that the origin was asked on behalf of the request.
func (c *Course) Probed(_ Probe, _ time.Time) {
	if c == nil {
		return
	}
	c.probes.Add(1)
}

// Waits returns how long the request has waited for other writes.
func (c *Course) Waits() time.Duration { return time.Duration(c.waited.Load()) }

// Probes returns how often the origin was asked on behalf of the request.
func (c *Course) Probes() int { return int(c.probes.Load()) }
