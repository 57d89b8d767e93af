package answer

import (
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Outcome is what became of a request.
type Outcome string

// The outcomes. Each request has exactly one.
const (
	Bypassed      Outcome = "bypassed"      // not looked at
	Read          Outcome = "read"          // sent as it is
	Unmodified    Outcome = "unmodified"    // 304
	Passed        Outcome = "passed"        // conditional write, forwarded
	Failed        Outcome = "failed"        // 412: the condition is false
	Required      Outcome = "required"      // 428
	Conflict      Outcome = "conflict"      // 503: waited in vain for another write
	Unverifiable  Outcome = "unverifiable"  // the condition can't be decided
	Unavailable   Outcome = "unavailable"   // 503: the store or the origin can't be asked
	Unconditional Outcome = "unconditional" // write without a condition, forwarded
)

// NewObserver returns an observer of the requests of a handler. It counts none of the usual
// requests, rather than nothing at all, until there are some. Events may be nil.
func NewObserver(name string, mode Mode, logger *zap.Logger, events *telemetry.Emitter) *telemetry.Observer {
	o := telemetry.NewObserver(name, string(mode), logger, events)
	for _, usual := range []telemetry.Request{
		{Outcome: string(Bypassed), Reason: telemetry.NoReason, Method: telemetry.Other},
		{Outcome: string(Read), Reason: telemetry.NoReason, Method: telemetry.Read},
		{Outcome: string(Unmodified), Reason: telemetry.NoReason, Method: telemetry.Read},
		{Outcome: string(Passed), Reason: telemetry.NoReason, Method: telemetry.Write},
		{Outcome: string(Unconditional), Reason: telemetry.NoReason, Method: telemetry.Write},
		{Outcome: string(Failed), Reason: codes[validator.NoMatch], Method: telemetry.Write},
		{Outcome: string(Required), Reason: telemetry.NoCondition, Method: telemetry.Write},
		{Outcome: string(Conflict), Reason: telemetry.WriteInFlight, Method: telemetry.Write},
		{Outcome: string(Unverifiable), Reason: telemetry.OriginRefused, Method: telemetry.Write},
		{Outcome: string(Unavailable), Reason: telemetry.StoreUnreachable, Method: telemetry.Write},
	} {
		o.Expect(usual)
	}
	return o
}
