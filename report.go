package preconditions

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reportWrite forwards a write whatever its conditions say, and tells what
// would have become of it. Nobody waits for anybody.
func (x *exchange) reportWrite() error {
	done, err := proxyhooks.ReadAhead(x.r, x.h.Buffer, false)
	if err != nil {
		return contentError(err)
	}
	defer done()
	f, current := x.foresee()
	if f.status != 0 {
		x.h.logger.Info("would be refused",
			zap.Int("status", f.status), zap.String("outcome", string(f.outcome)), zap.String("reason", f.reason),
			zap.String("method", x.r.Method), zap.String("resource", x.key))
	}
	defer proxyhooks.Edit(x.r.Header, x.forwardedConditions(current))()

	taken := time.Now()
	wr := &writing{exchange: x, mark: true}
	x.invalidateKeys(x.changes()[1:])
	if grant, _, err := x.h.store.Pass(x.r.Context(), x.key, x.h.terms); err == nil {
		wr.held = x.keepAlive(grant, taken)
		defer wr.release()
	}
	wr.outcome, wr.reason, wr.field, wr.current = f.outcome, f.reason, f.condition, current.ETag
	return wr.forward()
}

// foresee returns the refusal that the request would get, or one without a
// status but with the outcome, and what is current.
func (x *exchange) foresee() (refusal, validator.Observed) {
	if x.tooMany() {
		return x.tooLarge(), validator.Observed{}
	}
	if !x.conditional() {
		if x.mustBeConditional() {
			return x.required(), validator.Observed{}
		}
		return refusal{outcome: outcomeUnconditional}, validator.Observed{}
	}
	if x.readEntry() != nil {
		return x.unavailable("the store is out of reach"), validator.Observed{}
	}
	known := x.selected()
	current := known.Observed
	res := x.evaluate(x.dated(current, known))
	if !x.signed && (x.entry.Busy > 0 || res.Verdict == validator.Unverifiable || x.h.verify.needed(known.Age)) {
		p := proxyhooks.Probe(x.r.Context(), x.next, x.subject, x.h.deriver, 0)
		if !p.Known {
			return x.unavailable("the origin could not be asked for the current state"), validator.Observed{}
		}
		if current = p.Observed; p.Versioned {
			current = x.versioned(current, p.Header, known.Observed, x.entry.Epoch)
		}
		res = x.evaluate(x.dated(current, known))
	}
	switch res.Verdict {
	case validator.True:
		return refusal{outcome: outcomePassed, condition: res.Field}, current
	case validator.Unconditional:
		if x.mustBeConditional() {
			return x.required(), current
		}
		return refusal{outcome: outcomeUnconditional}, current
	default:
		return x.failed(res, current.Representation), current
	}
}
