package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writeConditional lets a write through if its condition holds for the state that
// it replaces.
func (x *exchange) writeConditional() error {
	// A condition that can't hold in any state needs the store only to say why.
	if res := x.request.Evaluate(validator.Representation{}); res.Verdict == validator.False {
		return x.responder.Refuse(x.responder.ConditionFailed(explain(x, res)))
	}
	if x.plan.Guarded && x.request.Conditions.If != nil {
		return x.responder.Refuse(answer.NotUnderstood(http.StatusBadRequest, "its If field has entity tags, and the option guards says that conditions are about another resource"))
	}

	// Refuse on what is stored if that suffices: it is cheapest before the content
	// is read.
	view, err := x.lookUp()
	if err != nil {
		return x.decideOnError(err).conclude(x)
	}
	if selected, stored, res := evaluate(x, view); x.refutes(res) {
		return refutedBy(selected, res, stored.Observed).conclude(x)
	}

	// A client that sends slowly, or never finishes, must not keep others waiting.
	done, err := readAhead(x, true)
	if err != nil {
		return contentError(err)
	}
	defer done()

	err = begin(x)
	defer x.begun.End()
	if err != nil {
		return x.decideOnError(err).conclude(x)
	}
	w := x.newWriting()
	defer w.release()
	return w.carryOut(w.decide(view))
}

// explain returns the result for a condition that can't hold in any state, and what is known
// of the present. If the client has the current tag in its weak form, the result says so,
// unless clients may learn nothing before the origin was asked.
func explain(x *exchange, res validator.Result) (validator.Result, validator.Representation) {
	if res.Reason != validator.WeakListed || x.Verify.Refused {
		return res, validator.Representation{}
	}
	view, err := x.reader.Read()
	if err != nil {
		return res, validator.Representation{}
	}
	current, ok := knowledge.Weakened(view)
	if !ok {
		return res, validator.Representation{}
	}
	return x.request.Evaluate(current), current
}

// begin begins a write, once no other is in flight under names that a reload has
// removed.
func begin(x *exchange) (err error) {
	waiting, stop := x.waiting()
	defer stop()
	begun := time.Now()
	x.begun, err = x.Store.Begin(waiting, x.request.HostName(), x.share)
	if errors.Is(err, storeshare.ErrOlderWrites) {
		x.responder.Course.Waited(telemetry.ForWrite, begun)
	}
	return err
}

// writeUnconditional forwards a write that has no condition. Any number of them
// may be in flight at once, but none together with a conditional write.
func (x *exchange) writeUnconditional() error {
	done, err := readAhead(x, !x.ForwardUnconditional)
	if err != nil {
		return contentError(err)
	}
	defer done()
	err = begin(x)
	defer x.begun.End()
	if err != nil {
		return x.decideOnError(err).conclude(x)
	}
	if x.ForwardUnconditional && x.request.Premises == nil {
		return x.forwardAtOnce()
	}
	w := x.newWriting()
	defer w.release()
	return w.carryOut(w.decideUnconditional())
}

// forwardAtOnce forwards a write without waiting for others, and invalidates what
// it changes before and after.
func (x *exchange) forwardAtOnce() error {
	if err := x.share.CatchUp(x.r.Context(), x.Terms); err != nil {
		return x.decideOnError(err).conclude(x)
	}
	// Afterwards the store no longer knows what the write may have replaced.
	terms := x.Terms
	if terms.Lag > 0 {
		terms.Lag += terms.Lease
	}
	for _, key := range x.plan.ChangedKeys() {
		if err := x.share.Invalidate(x.r.Context(), key, terms); err != nil {
			return x.decideOnError(err).conclude(x)
		}
	}
	w := x.newWriting()
	w.invalidateAfter = true
	return w.forward(forwardUnconditionally(x))
}

// carryOut does what was decided. A write that isn't forwarded is released before
// it is answered: the client may be slow, and others wait.
func (w *writing) carryOut(d decision) error {
	if d.kind == forward {
		return w.forward(d)
	}
	return d.giveUp(w)
}

// giveUp ends a write that isn't forwarded, and does what was decided.
func (d decision) giveUp(w *writing) error {
	w.release()
	if d.kind != withoutStore {
		w.begun.End()
	}
	return d.conclude(w.exchange)
}

// decision is what becomes of a write. The other fields depend on its kind.
type decision struct {
	kind kind

	// For forward: what to report, and the field that decided. In mode report, also the
	// refusal that the write would get.
	outcome answer.Outcome
	reason  string
	field   validator.Field

	// For forward and refuted: what the condition was compared with, and whether the
	// origin has just shown it.
	current   validator.Observed
	confirmed bool

	// For refuted: how the condition was evaluated. The view is also set for forward.
	result validator.Result
	view   knowledge.View
	shown  *etagcache.Observation // what the origin has shown, if it was asked

	refusal *answer.Refusal    // for refuse, and for forward in mode report
	probed  *proxyhooks.Probed // for relay
}

// refusalIfAny returns the decision's refusal, or an empty one if the decision has none.
func (d decision) refusalIfAny() answer.Refusal {
	if d.refusal == nil {
		return answer.Refusal{}
	}
	return *d.refusal
}

type kind uint8

const (
	forward      kind = iota // to the backend
	refuse                   // answer with a refusal
	refuted                  // answer that the condition doesn't hold, or replay
	relay                    // answer as the origin answered a probe
	withoutStore             // go on without the store, or refuse, as configured
	clientGone               // nobody is left to answer
)

func refuseWith(refusal answer.Refusal) decision { return decision{kind: refuse, refusal: &refusal} }

func refutedBy(v knowledge.View, res validator.Result, current validator.Observed) decision {
	return decision{kind: refuted, view: v, result: res, current: current}
}

// lookUp returns what this node saw last if the condition holds for it: the claim
// then tells whether that is current. Otherwise it reads the store.
func (x *exchange) lookUp() (knowledge.View, error) {
	if view, ok := x.reader.Recent(); ok {
		if _, _, res := view.EvaluateStored(); res.Verdict == validator.True {
			telemetry.CountNearCacheHit()
			return view, nil
		}
	}
	return x.reader.Read()
}

// refutes reports whether res, the result for what is stored, is enough to refuse
// the write.
func (x *exchange) refutes(res validator.Result) bool {
	return res.Verdict == validator.False && !x.Verify.Refused
}

// decide takes the claim, unless what is known by then refutes the condition, and decides
// under the claim. If it takes the origin to tell whether the condition holds, the origin
// is asked first (ahead.go).
func (w *writing) decide(view knowledge.View) decision {
	redirection{w}.look(view)
	for {
		var d *decision
		if view, d = (turn{w}).decideAhead(view); d != nil {
			return *d
		}
		if view, d = (turn{w}).decideInTurn(view); d != nil {
			return *d
		}
		w.release()
		w.holds = noHolds(w)
	}
}

// decideInTurn takes the claim and decides under it. If the write must find out more before
// it takes its turn, it returns no decision, but the view that says so.
func (w turn) decideInTurn(view knowledge.View) (knowledge.View, *decision) {
	t := &inTurn{turn: w, view: view}
	defer dropHandover(w.writing, "")
	waiting, stop := w.share.Losses.Patiently(w.r.Context(), w.Wait, w.waited)
	claimed, err := w.holds.AcquireClaim(waiting, w.plan, *view.Entry(), t.check)
	w.waited = stop()
	switch {
	case err != nil:
		return t.view, new(w.decideOnError(err))
	case claimed:
		return t.view, new(w.decideClaimed(t.selected, t.stored, t.res))
	case t.refuted:
		return t.view, new(refutedBy(t.selected, t.res, t.stored.Observed))
	default:
		return t.view, nil
	}
}

// inTurn is what a write knows when it asks for its claim.
type inTurn struct {
	turn
	view     knowledge.View
	selected knowledge.View // of the representation that the condition is about
	stored   etagcache.Stored
	res      validator.Result
	refuted  bool // by what is stored
}

// check implements hold.Check.
func (t *inTurn) check(entry *etagcache.Entry) (_ hold.Wish, err error) {
	switch {
	case entry == nil:
		t.view, err = t.lookUp()
	case entry.Epoch != t.view.Entry().Epoch:
		t.view, err = t.reader.View(*entry)
	}
	if err != nil {
		return hold.Wish{}, err
	}
	dropHandover(t.writing, t.view.Entry().Epoch)
	t.selected, t.stored, t.res = evaluate(t.exchange, t.view)
	t.refuted = t.refutes(t.res)
	if t.refuted || t.mustAsk(t.view, t.stored, t.res) {
		return hold.Wish{}, nil
	}
	return hold.Wish{Wanted: true, Epoch: t.view.Entry().Epoch, Replaces: t.replacesAhead(t.view), Successor: t.successor()}, nil
}

// decideClaimed decides under the claim. It confirms what is stored, by reading the groups
// again or by asking the origin, and evaluates the condition again. What the origin showed
// before the claim counts if nothing has changed since.
func (w *writing) decideClaimed(view knowledge.View, stored etagcache.Stored, res validator.Result) decision {
	shown, ok := turn{w}.shownAhead(view)
	if !ok {
		w.before = nil // it may be what was there before a different write
	}
	// If what is stored is all that lets the write pass, make sure that no group of
	// the resource has changed since it was read.
	if res.Verdict == validator.True && !w.Verify.needed(stored.Age) {
		if !storeshare.Trusted(w.share) {
			return refuseWith(w.responder.CannotTell(untrusted).As(telemetry.StoreEvicts))
		}
		var err error
		if view, err = view.Confirm(); err != nil {
			return w.decideOnError(err)
		}
		view, stored, res = view.EvaluateStored()
	}
	w.view = view
	current, confirmed := stored.Observed, false
	if res.Verdict != validator.True || w.Verify.needed(stored.Age) {
		c := shown
		if !ok {
			c = confirmer{w}.confirm(view, stored, res)
		}
		if c.undecided != nil {
			return *c.undecided
		}
		view, current, res, confirmed = c.view, c.current, c.res, c.confirmed
		w.fields = c.ownFields()
		if !ok && confirmed && w.before != nil {
			checkPromise(w.exchange, view, w.before)
		}
		w.view = view
	}
	d := decision{kind: forward, outcome: answer.Passed, field: res.Field, current: current, confirmed: confirmed, view: view}
	d.reason = w.responder.Ignored(res.Ignored)
	switch res.Verdict {
	case validator.True:
		if refusal, refused := (lists{w}).askOthers(current.Representation); refused {
			return refuseWith(refusal)
		}
		if refusal, refused := (premises{w.exchange}).refusal(); refused {
			return refuseWith(refusal)
		}
	case validator.Unconditional:
		// The origin has no modification date, so the condition must be ignored (RFC
		// 9110, section 13.1.4), and the write has no other.
		if w.mustBeConditional() {
			return refuseWith(w.responder.ConditionRequired(res.Ignored))
		}
		if refusal, refused := (premises{w.exchange}).refusal(); refused {
			return refuseWith(refusal)
		}
		d.outcome = answer.Unconditional
	default:
		d = refutedBy(view, res, current)
		d.shown = w.before
		return d
	}
	if err := w.announce(current, view.Stored()); err != nil {
		return w.decideOnError(err)
	}
	return w.decideFinally(d)
}

// untrusted is the reason why what is stored doesn't let a write pass by itself.
const untrusted = "the store may evict what it knows, claims included"

// decideFinally moves the subtree epochs, unless the client has gone.
func (w *writing) decideFinally(d decision) decision {
	if w.request.Gone() {
		return decision{kind: clientGone}
	}
	if len(w.plan.Subtrees) > 0 {
		waiting, stop := w.waiting()
		defer stop()
		if err := w.holds.AcquireSubtrees(waiting, w.plan); err != nil {
			return w.decideOnError(err)
		}
	}
	return w.ifHeld(d)
}

// ifHeld returns d if the client is still there and the write still holds everything
// that it has taken.
func (w *writing) ifHeld(d decision) decision {
	switch {
	case w.request.Gone():
		return decision{kind: clientGone}
	case w.holds.Lost():
		return refuseWith(w.responder.CannotTell("the claim was lost before the request was forwarded").As(telemetry.ClaimLost))
	default:
		return d
	}
}

// decideUnconditional takes passes on the subject and on what the write also
// changes.
func (w *writing) decideUnconditional() decision {
	if (redirection{w}).expected() {
		if view, err := w.reader.Read(); err == nil {
			redirection{w}.look(view)
		}
	}
	waiting, stop := w.waiting()
	defer stop()
	switch err := (object{w}).acquire(waiting); {
	case err != nil:
		return w.decideOnError(err)
	case w.request.Gone():
		return decision{kind: clientGone}
	case w.holds.Lost():
		return refuseWith(w.responder.CannotTell("the pass was lost before the request was forwarded").As(telemetry.ClaimLost))
	}
	if refusal, refused := (premises{w.exchange}).refusal(); refused {
		return refuseWith(refusal)
	}
	d := forwardUnconditionally(w.exchange)
	if w.request.Premises != nil {
		d.outcome = answer.Passed
	}
	return w.ifHeld(d)
}

// forwardUnconditionally returns the decision to forward a write that has no condition, or
// none that counts.
func forwardUnconditionally(x *exchange) decision {
	return decision{kind: forward, outcome: answer.Unconditional, reason: x.responder.Ignored(x.request.Ignored)}
}

// decideOnError decides about a write that got no claim or pass, or whose resource
// couldn't be read: it waited in vain for another write, or the store is out of
// reach.
func (x *exchange) decideOnError(err error) decision {
	switch {
	case x.request.Gone():
		return decision{kind: clientGone}
	case errors.Is(err, storeshare.ErrReplacedConfig):
		return refuseWith(x.responder.ConfigReplaced())
	case errors.Is(err, storeshare.ErrOlderWrites):
		return refuseWith(answer.OlderWriteInFlight())
	case errors.Is(err, etagcache.ErrUnavailable): // also if one call took too long
		return decision{kind: withoutStore}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, storeshare.ErrQueueFull), errors.Is(err, hold.ErrKeepsChanging):
		if grace, running := x.share.Losses.Grace(); running {
			return refuseWith(answer.GraceRunning(grace.Loss.String(), grace.Left))
		}
		return refuseWith(answer.WriteInFlight())
	case errors.Is(err, etagcache.ErrIncompatible):
		return refuseWith(x.responder.CannotTell("a different version of the handler uses the store").As(telemetry.StoreIncompatible))
	default:
		return decision{kind: withoutStore}
	}
}

// errGone ends the request of a client that went away before anything was
// forwarded.
var errGone = caddyhttp.Error(proxyhooks.StatusClientClosedRequest, context.Canceled)

// contentError turns a failure to read the request content into an error for
// Caddy's error routes.
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
