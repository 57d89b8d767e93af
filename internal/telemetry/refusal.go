package telemetry

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Refusal is the record of a request that was refused, or would have been in mode report. It
// has neither content nor credentials.
type Refusal struct {
	Time    time.Time `json:"time"`
	Handler string    `json:"handler"` // see [NewObserver]
	Mode    string    `json:"mode"`    // enforce, or report: the request was forwarded nevertheless
	Method  string    `json:"method"`

	// Resource is the key of the resource that the condition is about.
	Resource string `json:"resource"`

	Status  int    `json:"status"` // of the answer, or what it would have been
	Outcome string `json:"outcome"`

	// Reason says why in a few words, and Code as a word of a fixed set.
	Reason string `json:"reason"`
	Code   Reason `json:"reason_code"`

	// Condition is the field that decided, such as If-Match, and Provided is its value as the
	// client sent it, shortened to [MaxProvided] bytes. Current is the tag that it was
	// compared with, whether or not clients may learn that. All are empty if they don't apply.
	Condition string `json:"condition,omitempty"`
	Provided  string `json:"provided,omitempty"`
	Current   string `json:"current,omitempty"`

	// Waited is how long the request waited for other writes, and Probed how often the
	// origin was asked on its behalf.
	Waited time.Duration `json:"waited_ns"`
	Probed int           `json:"probed"`

	// Prevented says that a write would otherwise have replaced a state that its client
	// hadn't seen.
	Prevented bool `json:"prevented_lost_update"`
}

// MaxProvided is how many bytes of a condition a record has.
const MaxProvided = 256

// fields returns the record as fields of a log message, whose logger adds the time.
func (r *Refusal) fields() []zap.Field {
	return []zap.Field{
		zap.String("handler", r.Handler),
		zap.String("method", r.Method),
		zap.String("resource", r.Resource),
		zap.Int("status", r.Status),
		zap.String("outcome", r.Outcome),
		zap.String("reason", r.Reason),
		zap.String("reason_code", string(r.Code)),
		zap.String("condition", r.Condition),
		zap.String("provided", r.Provided),
		zap.String("current", r.Current),
		zap.Duration("waited", r.Waited),
		zap.Int("probed", r.Probed),
		zap.Bool("prevented_lost_update", r.Prevented),
	}
}

// subscribers are called with each refusal of the process.
var subscribers struct {
	changing sync.Mutex
	list     atomic.Pointer[[]*func(Refusal)]
}

// Subscribe calls f with each refusal of all handlers of the process, until stop is called.
// Calls come from the goroutines of the requests, beside each other, and the client waits: f
// must be quick.
func Subscribe(f func(Refusal)) (stop func()) {
	one := &f
	subscribers.changing.Lock()
	defer subscribers.changing.Unlock()
	list := append(slices.Clone(subscribed()), one)
	subscribers.list.Store(&list)
	return func() {
		subscribers.changing.Lock()
		defer subscribers.changing.Unlock()
		list := slices.DeleteFunc(slices.Clone(subscribed()), func(other *func(Refusal)) bool { return other == one })
		subscribers.list.Store(&list)
	}
}

// subscribed returns the subscribers, which nobody changes.
func subscribed() []*func(Refusal) {
	if list := subscribers.list.Load(); list != nil {
		return *list
	}
	return nil
}

// publish calls the subscribers.
func publish(r Refusal) {
	for _, f := range subscribed() {
		(*f)(r)
	}
}
