package gateway

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// writing is a write that may reach the backend, with what it holds.
type writing struct {
	*exchange
	holds *hold.Holds
	view  knowledge.View // for which the claim was taken

	// What the origin showed under the claim: before the write, and after it.
	before, after *etagcache.Observation
	receipt       string // of the write, if it succeeded and may be replayed
	proven        bool   // the write's own content proves that after is the present

	decision        decision // to forward it
	invalidateAfter bool     // whether to invalidate at the end what it changes

	// lost answers the client in place of the backend, if a claim or pass was lost
	// and nobody knows what became of the write.
	lost *answer.Refusal

	// For a probe after the write:
	base    *http.Request      // the request before next changed it; nil for no probe
	content *[sha256.Size]byte // digest of the content, if all of it was at hand
	size    int64              // of the content
	digest  string             // of the rest of the request
}

func (x *exchange) newWriting() *writing {
	return &writing{exchange: x, holds: hold.New(x.r.Context(), x.share, x.Terms, x.Logger)}
}

// release gives back what the write holds, unless it was forwarded and settled.
func (w *writing) release() { w.holds.Release(w.before) }

// forward sends the write to the backend. It is settled before the client sees the
// status of the answer.
func (w *writing) forward(d decision) error {
	w.decision = d
	if w.request.Conditional {
		defer proxyhooks.EditHeader(w.r.Header, w.forwardedConditions(d.current))()
	}
	if answer.ExpectsContinue(w.r) && !w.request.Signed {
		// The content is already here.
		defer proxyhooks.EditHeader(w.r.Header, map[string][]string{"Expect": nil})()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer w.holds.OnLost(func() { cancel(proxyhooks.ErrLeaseLost) })()

	w.prepareProbe()
	err := proxyhooks.Forward(ctx, w.next, w.rw, w.r, w.Terms.Lease, w)
	if w.lost != nil {
		return w.responder.SendRefusal(*w.lost)
	}
	return err
}

// forwardedConditions returns the fields to change in a forwarded write, whose
// conditions were found true for the current representation. The backend doesn't
// get conditions on a tag that the handler made. It does get its own tag, in its
// own spelling, so that its own check still counts.
func (x *exchange) forwardedConditions(current validator.Observed) map[string][]string {
	c := x.request.Conditions
	tagged := c.IfMatch != nil || c.IfNoneMatch != nil
	switch {
	case x.request.Signed:
		return nil
	case !x.plan.Guarded && !tagged && !current.LastModified.IsZero():
		return nil // the date is the backend's own
	case x.plan.Guarded, !tagged, !current.Own:
		return map[string][]string{
			validator.IfMatch.String():           nil,
			validator.IfNoneMatch.String():       nil,
			validator.IfUnmodifiedSince.String(): nil,
		}
	case c.IfMatch != nil:
		if res := x.request.Evaluate(current.Representation); res.Matched.Valid && res.Field == validator.IfMatch {
			return map[string][]string{validator.IfMatch.String(): {current.ETag.String()}}
		}
	}
	return nil
}

// BufferLimit implements proxyhooks.Writing. Forward waits for the whole answer if
// its content shows the new representation, or if a probe follows: a backend that
// handles one request at a time can't be probed before. It waits however long that
// takes, because a backend may still be working on the write.
func (w *writing) BufferLimit(status int, header http.Header) (limit int64, patience time.Duration) {
	succeeded := status/100 == 2 && status != http.StatusAccepted && status != http.StatusMultiStatus
	if succeeded && (w.base != nil || w.represents(status, header)) {
		return w.Buffer, math.MaxInt64
	}
	return -1, 0
}

// Settle implements proxyhooks.Writing.
func (w *writing) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) bool {
	w.invalidateNamed(a)
	w.observeResult(a, fate)
	lost := w.holds.Lost()
	if w.invalidateAfter {
		w.invalidate(w.plan.ChangedKeys())
	}
	w.holds.Settle(fate, w.settlement(fate))
	// An answer goes to the client even if a lease was lost in the meantime.
	if lost && fate == proxyhooks.Unanswered {
		refusal := w.responder.LeaseLost()
		w.responder.Report(refusal.Outcome, refusal.Reason)
		w.lost = &refusal
		return false
	}
	w.responder.Report(w.decision.outcome, w.decision.reason)
	w.responder.ReportCondition(w.decision.field, w.decision.current.ETag)
	return true
}

// settlement returns what to tell the store about the subject.
func (w *writing) settlement(fate proxyhooks.Fate) etagcache.Settlement {
	if fate == proxyhooks.Refused {
		return etagcache.Settlement{Unchanged: true, Observation: w.before}
	}
	s := etagcache.Settlement{Observation: w.after, Receipt: w.receipt, Proven: w.proven}
	if id := w.decision.current.Identity(); id != "" {
		s.Replaced = []string{id}
	}
	return s
}

// maxInvalidations is how many resources are invalidated at once.
const maxInvalidations = 8

// invalidateNamed invalidates what else the write has changed according to its
// answer, unless that is an error (RFC 9111, section 4.4). Settle calls it, so
// nobody can have seen the answer yet.
func (w *writing) invalidateNamed(a proxyhooks.Answer) {
	if a.Status/100 != 2 && a.Status/100 != 3 {
		return
	}
	changed := w.Rules.ChangedBy(w.request, w.plan.Subject, a.Header)
	if changed.MoreTargets {
		w.Logger.Warn("the answer to a write names more changed resources than are invalidated",
			zap.Int("invalidated", relation.MaxTargets), zap.String("resource", w.plan.Subject.Key))
	}
	if changed.MoreGroups {
		w.Logger.Warn("the answer to a write names more groups than are invalidated",
			zap.Int("invalidated", relation.MaxGroups), zap.String("resource", w.plan.Subject.Key))
	}
	concurrently.Do(maxInvalidations, changed.Keys, func(key string) {
		if err := w.share.InvalidateOrJournal(w.r.Context(), key, w.Terms); err != nil {
			w.Logger.Warn("a change could not be stored", zap.String("resource", key), zap.Error(err))
		}
	})
}
