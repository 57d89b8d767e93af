package telemetry

import (
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The events that handlers emit.
const (
	eventFailed    = "precondition_failed"
	eventClaimLost = "claim_lost"
	eventStoreDown = "store_down"
	eventStoreUp   = "store_up"
)

// Emitter emits the events of one handler of one config. No request waits for those who
// subscribe to them. A nil Emitter emits nothing.
type Emitter struct {
	ctx caddy.Context
	app *caddyevents.App

	started atomic.Bool // whether the config serves, or has served

	mu      sync.Mutex
	waiting []event
	working bool // whether a goroutine emits what is waiting
}

type event struct {
	name string
	data map[string]any
}

// maxEvents is how many events of one handler wait for subscribers that are slow. The rest is
// dropped and counted.
const maxEvents = 1000

// NewEmitter returns an emitter for the module that a context belongs to.
func NewEmitter(ctx caddy.Context) (*Emitter, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	return &Emitter{ctx: ctx, app: app.(*caddyevents.App)}, nil
}

// wants reports whether anybody wants to hear of an event. Before the config serves, subscribers
// are still being added, without a lock.
func (e *Emitter) wants(name string) bool {
	return e != nil && e.ctx.Err() == nil && e.serves() && e.app.ShouldEmit(name)
}

// serves reports whether all apps of the config have started.
func (e *Emitter) serves() bool {
	if e.started.Load() {
		return true
	}
	active := caddy.ActiveContext()
	if active.FileSystems() != e.ctx.FileSystems() { // each config has its own
		return false
	}
	e.started.Store(true)
	return true
}

// emit emits an event in the background, in the order of the calls. Nobody may change data
// afterwards.
func (e *Emitter) emit(name string, data map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == maxEvents {
		eventsDropped.Inc()
		return
	}
	e.waiting = append(e.waiting, event{name, data})
	if !e.working {
		e.working = true
		go e.work()
	}
}

// work emits what is waiting, until nothing is.
func (e *Emitter) work() {
	for {
		e.mu.Lock()
		if len(e.waiting) == 0 {
			e.working = false
			e.mu.Unlock()
			return
		}
		next := e.waiting[0]
		e.waiting = e.waiting[1:]
		e.mu.Unlock()
		if e.ctx.Err() == nil {
			e.app.Emit(e.ctx, next.name, next.data)
		}
	}
}

// Store emits that a store of some kind can't be used, or can be used again. It reports false
// if nobody wants to hear of that. Err may be nil.
func (e *Emitter) Store(kind string, up bool, err error) bool {
	name, data := eventStoreUp, map[string]any{"store": kind}
	if !up {
		name = eventStoreDown
	}
	if err != nil {
		data["error"] = err.Error()
	}
	if !e.wants(name) {
		return false
	}
	e.emit(name, data)
	return true
}

// failed emits that a condition was false.
func (e *Emitter) failed(r *Refusal) {
	e.emit(eventFailed, map[string]any{
		"handler":     r.Handler,
		"method":      r.Method,
		"resource":    r.Resource,
		"status":      r.Status,
		"reason":      r.Reason,
		"reason_code": string(r.Code),
		"condition":   r.Condition,
		"provided":    r.Provided,
		"current":     r.Current,
		"waited":      r.Waited.Seconds(),
		"probed":      r.Probed,
	})
}
