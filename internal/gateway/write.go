package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writeConditional lets a write through if its condition holds for the state that
// it replaces.
func (x *exchange) writeConditional() error {
	// A condition that can't hold in any state needs no store.
	if res := x.request.Evaluate(validator.Representation{}); res.Verdict == validator.False {
		return x.answer.Refuse(x.answer.ConditionFailed(res, validator.Representation{}))
	}

	// The cheapest refusal: on what is known, before the content is read.
	view, err := x.lookUp()
	if err != nil {
		return x.notAcquired(err).conclude(x)
	}
	known := view.Selected()
	if res := view.Evaluate(known.Observed, known); !view.Busy() && x.refutes(res) {
		return refutedBy(view, res, known.Observed).conclude(x)
	}

	// A client that sends slowly, or never finishes, must not keep others waiting.
	done, err := proxyhooks.ReadAhead(x.r, x.Buffer, true)
	if err != nil {
		return contentError(err)
	}
	defer done()

	w := x.newWriting()
	defer w.release()
	return w.carryOut(w.decide(view))
}

// writeUnconditional forwards a write that has no condition. Any number of them
// may be in flight at once, but none together with a conditional write.
func (x *exchange) writeUnconditional() error {
	done, err := proxyhooks.ReadAhead(x.r, x.Buffer, !x.ForwardUnconditional)
	if err != nil {
		return contentError(err)
	}
	defer done()
	if x.ForwardUnconditional {
		return x.forwardMarked()
	}
	w := x.newWriting()
	defer w.release()
	return w.carryOut(w.decideUnconditional())
}

// carryOut does what was decided. If the write isn't forwarded, it is released
// before it is answered, so that nobody waits for a slow client.
func (w *writing) carryOut(d decision) error {
	if d.kind == forward {
		return w.forward(d)
	}
	w.release()
	return d.conclude(w.exchange)
}

// decision is what becomes of a write.
type decision struct {
	kind kind

	// To forward a write: its outcome, the field that decided, and what it was
	// compared with.
	outcome answer.Outcome
	reason  string
	field   validator.Field
	current validator.Observed

	refusal answer.Refusal    // to refuse
	probed  proxyhooks.Probed // to relay
	result  validator.Result  // to refute current
	view    knowledge.View    // likewise
}

// kind is what a decision decides.
type kind uint8

const (
	forward      kind = iota // let the backend have it
	refuse                   // answer with a refusal
	refuted                  // answer that the condition is false for what is current
	relay                    // answer as the origin answered a probe
	withoutStore             // go on without the store, or refuse, as configured
	clientGone               // nobody is there to be answered
)

func refuseWith(f answer.Refusal) decision { return decision{kind: refuse, refusal: f} }

func refutedBy(v knowledge.View, res validator.Result, current validator.Observed) decision {
	return decision{kind: refuted, view: v, result: res, current: current}
}

// lookUp returns what this node saw last if the condition holds for it, because
// the claim will tell whether it is current. Otherwise it reads the store.
func (x *exchange) lookUp() (knowledge.View, error) {
	if view, ok := x.reader.Recent(); ok {
		if known := view.Selected(); view.Evaluate(known.Observed, known).Verdict == validator.True {
			return view, nil
		}
	}
	return x.reader.Read()
}

// refutes reports whether a write is refused on what is stored, for which its
// condition came to res.
func (x *exchange) refutes(res validator.Result) bool {
	return res.Verdict == validator.False && !x.Verify.Refused
}

// decide takes the claim, unless what is known by then refutes the condition, and
// decides under the claim.
func (w *writing) decide(view knowledge.View) decision {
	waiting, cancel := w.waiting()
	defer cancel()
	var known etagcache.Stored
	var res validator.Result
	claimed, err := w.holds.AcquireClaim(waiting, w.plan, view.Entry(), func(entry *etagcache.Entry) (epoch string, wanted bool, err error) {
		switch {
		case entry == nil:
			view, err = w.reader.Read()
		case entry.Epoch != view.Entry().Epoch:
			view, err = w.reader.View(*entry)
		}
		if err != nil {
			return "", false, err
		}
		known = etagcache.Stored{}
		if !view.Busy() {
			known = view.Selected()
		}
		res = view.Evaluate(known.Observed, known)
		return view.Entry().Epoch, !w.refutes(res), nil
	})
	switch {
	case err != nil:
		return w.notAcquired(err)
	case !claimed:
		return refutedBy(view, res, known.Observed)
	}
	return w.decideClaimed(view, known, res)
}

// decideClaimed decides under the claim: it confirms what is known where that is
// needed, and evaluates the condition again.
func (w *writing) decideClaimed(view knowledge.View, known etagcache.Stored, res validator.Result) decision {
	// A group of the resource may have changed since it was read.
	if res.Verdict == validator.True && (w.request.Signed || !w.Verify.needed(known.Age)) {
		var err error
		if view, err = view.Confirm(); err != nil {
			return w.notAcquired(err)
		}
		known = view.Selected()
		res = view.Evaluate(known.Observed, known)
	}
	w.view = view
	current := known.Observed
	switch {
	case w.request.Signed:
		if res.Verdict != validator.True {
			return refuseWith(answer.NotVerifiable(res.Field, "only the signer of a signed request can ask the origin about it. Read the resource first"))
		}
	case res.Verdict != validator.True || w.Verify.needed(known.Age):
		p := w.probe(w.r.Context())
		if !p.Known {
			return w.notProbed(p, res.Field)
		}
		current = p.Observed
		if p.Versioned {
			current = view.Versioned(current, p.Header, known.Observed, w.holds.Token())
		}
		if o, ok := view.Observation(current, p.Header); ok {
			w.before = &o
		}
		res = view.Evaluate(current, known)
	}
	d := decision{kind: forward, outcome: answer.Passed, field: res.Field, current: current}
	switch res.Verdict {
	case validator.True:
	case validator.Unconditional:
		// The origin has no modification date. The condition must be ignored then
		// (RFC 9110, section 13.1.4), which leaves none.
		if w.mustBeConditional() {
			return refuseWith(answer.ConditionRequired())
		}
		d.outcome = answer.Unconditional
	default:
		return refutedBy(view, res, current)
	}
	return w.decideLast(d)
}

// decideLast moves the subtree epochs and makes sure that the claim still holds.
func (w *writing) decideLast(d decision) decision {
	if w.request.Gone() {
		return decision{kind: clientGone}
	}
	waiting, cancel := w.waiting()
	defer cancel()
	if err := w.holds.AcquireSubtrees(waiting, w.plan); err != nil {
		return w.notAcquired(err)
	}
	if w.holds.Lost() {
		return refuseWith(w.answer.CannotTell("the claim was lost before the request was forwarded"))
	}
	return d
}

// decideUnconditional takes passes on the subject and on what the write also
// changes.
func (w *writing) decideUnconditional() decision {
	waiting, cancel := w.waiting()
	defer cancel()
	switch err := w.holds.AcquirePass(waiting, w.plan); {
	case err != nil:
		return w.notAcquired(err)
	case w.request.Gone():
		return decision{kind: clientGone}
	case w.holds.Lost():
		return refuseWith(w.answer.CannotTell("the pass was lost before the request was forwarded"))
	}
	return decision{kind: forward, outcome: answer.Unconditional}
}

// notAcquired decides about a write that got no claim or pass: it waited in vain
// for another one, or the store can't be asked.
func (x *exchange) notAcquired(err error) decision {
	switch {
	case x.request.Gone():
		return decision{kind: clientGone}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, storeshare.ErrQueueFull), errors.Is(err, hold.ErrTooLively):
		return refuseWith(answer.WriteInFlight())
	default:
		return decision{kind: withoutStore}
	}
}

// notProbed decides about a write whose condition the origin left undecided.
func (x *exchange) notProbed(p proxyhooks.Probed, field validator.Field) decision {
	switch {
	case x.request.Gone():
		return decision{kind: clientGone}
	case p.Err != nil || p.Status >= 500:
		x.Logger.Warn("the origin could not be asked",
			zap.String("resource", x.plan.Subject.Key), zap.Int("status", p.Status), zap.Error(p.Err))
		return refuseWith(x.answer.CannotTell("the origin could not be asked for the current state"))
	case p.Status == http.StatusUnauthorized, p.Status == http.StatusForbidden, p.Status == http.StatusProxyAuthRequired:
		return decision{kind: relay, probed: p}
	default:
		return refuseWith(answer.NotVerifiable(field, "the origin answered "+http.StatusText(p.Status)+" to a GET"))
	}
}

// probe asks the origin for the current state of the subject.
func (x *exchange) probe(ctx context.Context) proxyhooks.Probed {
	return proxyhooks.Probe(ctx, x.next, x.plan.Subject.Request(x.r), x.Deriver, 0)
}

// errGone ends the request of a client that went away before anything was
// forwarded.
var errGone = caddyhttp.Error(proxyhooks.StatusClientClosedRequest, context.Canceled)

// contentError turns a failure to read the request content into an error of the
// chain.
func contentError(err error) error {
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return he
	}
	if errors.Is(err, proxyhooks.ErrSpool) {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
		return caddyhttp.Error(proxyhooks.StatusClientClosedRequest, err)
	}
	return caddyhttp.Error(http.StatusBadRequest, err)
}
