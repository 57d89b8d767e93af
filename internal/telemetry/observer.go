package telemetry

import (
	"time"

	"go.uber.org/zap"
)

// Observer observes the requests of one handler of one config. A nil Observer observes
// nothing.
type Observer struct {
	// Name is what the handler is called in logs and metrics: the first host of its site, or
	// the address that its server listens on. Several handlers may have the same.
	Name string
	// Mode is enforce or report.
	Mode   string
	Logger *zap.Logger

	logged limiter
}

// WantsRefusals reports whether anybody wants to hear of refusals.
func (o *Observer) WantsRefusals() bool {
	return o != nil && (o.Logger.Core().Enabled(zap.InfoLevel) || len(subscribed()) > 0)
}

// Refused takes note of a refusal. It adds the time, and what it knows of the handler.
func (o *Observer) Refused(r Refusal) {
	if o == nil {
		return
	}
	r.Time, r.Handler, r.Mode = time.Now(), o.Name, o.Mode
	if len(r.Provided) > MaxProvided {
		r.Provided = r.Provided[:MaxProvided]
	}
	publish(r)
	o.log(&r)
}
