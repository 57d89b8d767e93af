package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A write that the origin must confirm asks it before it takes a place in the queue and a
// claim: a condition that can't hold, and a client to whom the origin doesn't show the
// resource, keep nobody waiting. What the origin shows counts under a claim if the
// resource's epoch and those of its groups are still the ones that were read before the
// origin was asked. Otherwise the origin is asked again, under the claim.

// ahead is what became of asking the origin before the claim.
type ahead struct {
	tries   int
	waited  bool          // until a write was over that was in flight
	earned  bool          // the write has earned a turn
	shown   *confirmation // what lets the write pass, if that may count under the claim
	at      time.Time     // when it was shown
	refuted *decision     // by an origin that shows the present, or nothing; what follows may tell more
}

// turn decides about a write, by and by, until its turn is over.
type turn struct{ *writing }

// maxAhead is how often a write asks the origin whether it earns a turn, while other
// writes come in between.
const maxAhead = 3

// shownFor is how long it counts under a claim what the origin showed before. Somebody who
// bypasses the handler may have written since.
const shownFor = time.Second

// mustAsk reports whether the write must find out more before it takes its turn: unless what
// is stored refutes the condition, or lets the write pass without a word from the origin.
// While a conditional write is in flight, what that leads to will be known. The write waits
// for the first such write, and asks the origin if it then finds a different one. If that
// leaves the question open, it takes its turn in order to look.
func (w turn) mustAsk(view knowledge.View, stored etagcache.Stored, res validator.Result) bool {
	confirms := w.Verify.Passing && w.mayAsk()
	switch {
	case w.ahead.earned, w.refutes(res):
		return false
	case conditionalInFlight(view):
		return confirms && (!w.ahead.waited || w.ahead.tries == 0)
	case view.Busy():
		return true
	case res.Verdict == validator.True:
		return confirms && w.Verify.needed(stored.Age)
	default:
		return true
	}
}

// mayAsk reports whether a probe can tell whether the origin lets this client see the
// resource: it can't if only the write itself carries the client's credentials.
func (w turn) mayAsk() bool { return w.request.OneTime == nil }

// conditionalInFlight reports whether a conditional write is in flight, as far as anybody
// can tell: writes without a condition hide what is known.
func conditionalInFlight(view knowledge.View) bool {
	return view.Busy() && len(view.Entry().Variants) > 0
}

// mayAskNow reports whether the write may ask the origin in the present state. While
// writes are in flight, it does so only once, to find out whether it may wait in line.
func (w turn) mayAskNow(view knowledge.View) bool {
	switch {
	case !view.Busy():
		return true
	case conditionalInFlight(view) && !w.ahead.waited:
		return false
	default:
		return w.ahead.tries == 0 && w.mayAsk()
	}
}

// decideAhead finds out, if it must, whether the write earns a turn, and returns the
// decision if it doesn't. Otherwise it returns the view to go on with. It reserves nothing
// while it waits for others.
func (w turn) decideAhead(view knowledge.View) (knowledge.View, *decision) {
	for {
		selected, stored, res := evaluate(w.exchange, view)
		switch {
		case !w.mustAsk(view, stored, res):
			return view, nil
		case !view.Busy() && w.ahead.tries == maxAhead && w.ahead.refuted != nil:
			return view, w.ahead.refuted
		case !view.Busy() && w.ahead.tries == maxAhead:
			return view, new(refuseWith(answer.WriteInFlight()))
		}
		var now knowledge.View
		var d *decision
		var err error
		if w.mayAskNow(view) {
			w.ahead.tries++
			now, d, err = w.askAhead(view, selected, stored, res)
		} else {
			now, err = w.waitAhead(view)
		}
		switch {
		case err != nil:
			return now, new(w.decideOnError(err))
		case d != nil:
			return now, d
		}
		view = now
	}
}

// waitAhead waits until the writes in flight are over, or others are in flight, and returns
// the view as it is then.
func (w turn) waitAhead(view knowledge.View) (knowledge.View, error) {
	key, entry := w.plan.Subject.Key, view.Entry()
	begun := time.Now()
	waiting, stop := w.share.Losses.Patiently(w.r.Context(), w.Wait, w.waited)
	err := w.share.Lobby.Wait(waiting, key, entry.Epoch, w.client, func(ctx context.Context) error {
		return w.share.Wait(ctx, key, *entry)
	})
	w.waited = stop()
	w.responder.Course.Waited(telemetry.WaitFor(entry.Grace.Left), begun)
	if err != nil {
		return view, err
	}
	now, err := w.reader.Read()
	w.ahead.waited = w.ahead.waited || now.Entry().Epoch != entry.Epoch
	return now, err
}

// askAhead asks the origin about the condition. It returns a decision if the write doesn't
// earn a turn, and otherwise the view to go on with.
func (w turn) askAhead(view, selected knowledge.View, stored etagcache.Stored, res validator.Result) (now knowledge.View, d *decision, err error) {
	w.before = nil
	c := confirmer(w).confirm(selected, stored, res)
	switch {
	case c.silent() && (view.Busy() && !conditionalInFlight(view) || c.undecided.kind != refuse):
		return view, c.undecided, nil
	case c.holds() && c.res.Verdict == validator.Unconditional && w.mustBeConditional():
		return view, new(refuseWith(w.responder.ConditionRequired(c.res.Ignored))), nil
	case c.holds():
		w.ahead.earned = true
		if !view.Busy() && c.confirmed && c.ownTag() {
			w.ahead.shown, w.ahead.at = &c, time.Now()
		}
		return view, nil, nil
	}
	if c.silent() {
		w.ahead.refuted = c.undecided // unless the origin is broken only while others write
	}
	d, refuted := new(w.concluded(c)), c.undecided == nil
	if refuted && w.Terms.Lag == 0 && !view.Remembered {
		if !w.Replay {
			w.remember(view)
			return view, d, nil
		}
		w.ahead.refuted = d
	}
	now, still, err := w.lookAgain(view, refuted)
	if err != nil || !still {
		return now, nil, err
	}
	return now, d, nil
}

// ownTag reports whether the tag that the origin showed doesn't depend on the epoch, or is
// what was stored of the version before.
func (c confirmation) ownTag() bool {
	known := c.view.Stored()
	return !c.probed.Versioned || known.State == validator.Present && known.ETag.Valid
}

// remember stores what the origin showed, if it can, so that later writes need not ask it.
func (w turn) remember(view knowledge.View) {
	if w.before != nil && !view.Busy() && view.Store(*w.before) == nil {
		checkPromise(w.exchange, view, w.before)
	}
}

// concluded returns the decision about a write that a confirmation doesn't let pass.
func (w turn) concluded(c confirmation) decision {
	if c.undecided != nil {
		return *c.undecided
	}
	d := refutedBy(c.view, c.res, c.current)
	d.shown = w.before
	return d
}

// lookAgain reports whether the resource is still as in a view that was read before the
// origin was asked, and no write is in flight. Otherwise it returns a new view. If store is
// true, it stores what the origin showed.
func (w turn) lookAgain(view knowledge.View, store bool) (now knowledge.View, still bool, err error) {
	if store && w.before != nil && !view.Busy() {
		err := view.Store(*w.before)
		switch {
		case err == nil:
			checkPromise(w.exchange, view, w.before)
			return view, true, nil
		case !errors.Is(err, etagcache.ErrStale) && !errors.Is(err, etagcache.ErrBusy) && !errors.Is(err, etagcache.ErrSpent):
			return view, false, err
		}
	}
	now, err = w.reader.Read()
	return now, !view.Busy() && !now.Busy() && now.Entry().Epoch == view.Entry().Epoch, err
}

// shownAhead returns what the origin showed before the claim was taken for this view, if
// that still counts.
func (w turn) shownAhead(view knowledge.View) (confirmation, bool) {
	c := w.ahead.shown
	if c == nil || time.Since(w.ahead.at) > shownFor || c.view.Entry().Epoch != view.Entry().Epoch || !knowledge.Unchanged(c.view, c.probed.Header) {
		return confirmation{}, false
	}
	return *c, true
}

// holds reports whether the origin lets the write pass.
func (c confirmation) holds() bool {
	return c.undecided == nil && (c.res.Verdict == validator.True || c.res.Verdict == validator.Unconditional)
}

// silent reports whether the origin didn't show the resource, so that nobody can tell
// whether the condition holds, whatever happens to the resource in the meantime.
func (c confirmation) silent() bool {
	return c.undecided != nil && !c.probed.Known && c.undecided.refusalIfAny().Status != http.StatusPreconditionFailed
}
