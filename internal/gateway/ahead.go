package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A write whose condition isn't known to hold asks the origin before it takes a place in
// the queue and a claim: a condition that can't hold then keeps nobody waiting. What the
// origin shows counts under a claim if the resource's epoch and those of its groups are
// still the ones that were read before the origin was asked.

// ahead is what became of asking the origin before the claim.
type ahead struct {
	tries   int
	earned  bool          // the write has earned a turn
	shown   *confirmation // what lets the write pass, if that may count under the claim
	refuted *decision     // by an origin that shows the present; the write may have been sent again
}

// turn decides about a write, by and by, until its turn is over.
type turn struct{ *writing }

// maxAhead is how often a write asks the origin whether it earns a turn, while other
// writes come in between.
const maxAhead = 3

// mustAsk reports whether the write must find out more before it takes its turn. If there are
// variants while a different write is in flight, that is a conditional one: what it leads to
// will be known.
func (w turn) mustAsk(view knowledge.View, res validator.Result) bool {
	switch {
	case w.ahead.earned, res.Verdict == validator.True, w.refutes(res):
		return false
	case view.Busy():
		return len(view.Entry().Variants) == 0
	default:
		return true
	}
}

// decideAhead finds out, if it must, whether the write earns a turn, and returns the
// decision if it doesn't. Otherwise it returns the view to go on with. It reserves nothing
// while it waits for others.
func (w turn) decideAhead(view knowledge.View) (knowledge.View, *decision) {
	for {
		selected, stored, res := evaluate(w.exchange, view)
		switch {
		case !w.mustAsk(view, res):
			return view, nil
		case w.ahead.tries == maxAhead && w.ahead.refuted != nil:
			return view, w.ahead.refuted
		case w.ahead.tries == maxAhead:
			return view, new(refuseWith(answer.WriteInFlight()))
		}
		now, d, err := view, (*decision)(nil), error(nil)
		if !view.Busy() || w.ahead.tries == 0 && w.request.OneTime == nil {
			w.ahead.tries++
			now, d, err = w.askAhead(view, selected, stored, res)
		}
		if err == nil && d == nil && !w.ahead.earned && now.Busy() {
			err = w.patiently(func(waiting context.Context) error {
				return w.share.Wait(waiting, w.plan.Subject.Key, now.Entry())
			})
			if err == nil {
				now, err = w.reader.Read()
			}
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

// askAhead asks the origin about the condition. It returns a decision if the write doesn't
// earn a turn, and otherwise the view to go on with.
func (w turn) askAhead(view, selected knowledge.View, stored etagcache.Stored, res validator.Result) (now knowledge.View, d *decision, err error) {
	w.before = nil
	c := confirmer(w).confirm(selected, stored, res)
	switch {
	case c.silent():
		return view, c.undecided, nil
	case c.holds() && c.res.Verdict == validator.Unconditional && w.mustBeConditional():
		return view, new(refuseWith(w.responder.ConditionRequired(c.res.Ignored))), nil
	case c.holds():
		w.ahead.earned = true
		if !view.Busy() && c.confirmed && !c.probed.Versioned {
			w.ahead.shown = &c
		}
		return view, nil, nil
	}
	d, refuted := new(w.concluded(c)), c.undecided == nil
	if refuted && w.Terms.Lag == 0 {
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

// remember stores what the origin showed, if it can, so that later writes need not ask it.
func (w turn) remember(view knowledge.View) {
	if w.before != nil && !view.Busy() {
		_ = view.Store(*w.before)
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
	if c == nil || c.view.Entry().Epoch != view.Entry().Epoch || !knowledge.Unchanged(c.view, c.probed.Header) {
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
	return c.undecided != nil && !c.probed.Known && c.undecided.refusal.Status != http.StatusPreconditionFailed
}
