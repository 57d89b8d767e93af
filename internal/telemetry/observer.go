package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Observer observes the requests of one handler of one config. A nil Observer observes
// nothing.
type Observer struct {
	name   string
	mode   string
	logger *zap.Logger
	events *Emitter

	lostUpdates prometheus.Counter

	// counters are those of requests, by what they count. Looking one up by its labels costs
	// more.
	changing sync.Mutex
	counters atomic.Pointer[map[Request]prometheus.Counter]

	logged limiter
}

// NewObserver returns an observer of a handler in a mode, enforce or report. The name stands
// in logs and metrics: the first host of the handler's site, or the address that its server
// listens on. Handlers of the same name count together. Events may be nil.
func NewObserver(name, mode string, logger *zap.Logger, events *Emitter) *Observer {
	name = bounded(name)
	o := &Observer{name: name, mode: mode, logger: logger, events: events, lostUpdates: lostUpdates.WithLabelValues(name)}
	o.counters.Store(new(map[Request]prometheus.Counter))
	return o
}

// maxNames is how many handlers have a name of their own in metrics, in all configs that the
// process has had.
const maxNames = 1000

var names struct {
	sync.Mutex
	known map[string]struct{}
}

// bounded returns a name, or a common one if there are too many.
func bounded(name string) string {
	names.Lock()
	defer names.Unlock()
	if _, known := names.known[name]; known {
		return name
	}
	if len(names.known) == maxNames {
		return "other"
	}
	if names.known == nil {
		names.known = make(map[string]struct{})
	}
	names.known[name] = struct{}{}
	return name
}

// Method is what a method means to preconditions.
type Method string

// The classes of methods.
const (
	Read  Method = "read"
	Write Method = "write"
	Other Method = "other"
)

// Request is what is counted of a request.
type Request struct {
	Outcome string
	Reason  Reason
	Method  Method
}

// Count counts a request.
func (o *Observer) Count(r Request) {
	if o == nil {
		return
	}
	if c, ok := (*o.counters.Load())[r]; ok {
		c.Inc()
		return
	}
	o.Expect(r).Inc()
}

// Expect returns the counter of a request. Its count is there from now on, if only as zero.
func (o *Observer) Expect(r Request) prometheus.Counter {
	o.changing.Lock()
	defer o.changing.Unlock()
	c := requests.WithLabelValues(o.name, r.Outcome, string(r.Reason), string(r.Method), o.mode)
	all := maps.Clone(*o.counters.Load())
	if all == nil {
		all = make(map[Request]prometheus.Counter)
	}
	all[r] = c
	o.counters.Store(&all)
	return c
}

// LostUpdatePrevented counts a write that was refused because it would have replaced a state
// that its client hadn't seen.
func (o *Observer) LostUpdatePrevented() {
	if o != nil {
		o.lostUpdates.Inc()
	}
}

// WantsRefusals reports whether anybody wants to hear of refusals.
func (o *Observer) WantsRefusals() bool {
	return o != nil && (o.logger.Core().Enabled(zap.InfoLevel) || len(subscribed()) > 0 || o.events.wants(eventFailed))
}

// Refused takes note of a refusal. It adds the time, and what it knows of the handler.
func (o *Observer) Refused(r Refusal) {
	if o == nil {
		return
	}
	r.Time, r.Handler, r.Mode = time.Now(), o.name, o.mode
	if len(r.Provided) > MaxProvided {
		r.Provided = r.Provided[:MaxProvided]
	}
	publish(r)
	if r.Outcome == "failed" && o.mode == "enforce" && o.events.wants(eventFailed) {
		o.events.failed(&r)
	}
	o.log(&r)
}

// claimLost takes note of a claim or pass on a resource that was lost.
func (o *Observer) claimLost(resource string) {
	claimsLost.Inc()
	if o != nil && o.events.wants(eventClaimLost) {
		o.events.emit(eventClaimLost, map[string]any{"handler": o.name, "resource": resource})
	}
}
