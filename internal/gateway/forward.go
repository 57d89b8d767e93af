package gateway

import (
	"context"
	"crypto/sha256"
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

	// What the origin showed under the claim, before the write and after it.
	before, after *etagcache.Observation
	receipt       string // of the write, if it succeeded and may be replayed

	decision decision // to forward it
	marks    bool     // whether to invalidate what it changes at the end

	// lost answers the client in place of the backend, if the claim was lost and
	// nobody knows what became of the write.
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

// release ends what is held by a write that wasn't forwarded. After a settlement
// it does nothing.
func (w *writing) release() { w.holds.Release(w.before) }

// forward lets the backend have the write. It is settled by the time the client
// sees the status of the answer.
func (w *writing) forward(d decision) error {
	w.decision = d
	if w.request.Conditional {
		defer proxyhooks.EditHeader(w.r.Header, forwardedConditions(w.exchange, d.current))()
	}
	if answer.ExpectsContinue(w.r) && !w.request.Signed {
		// The content is already here.
		defer proxyhooks.EditHeader(w.r.Header, map[string][]string{"Expect": nil})()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer w.holds.OnLost(func() { cancel(proxyhooks.ErrLeaseLost) })()

	w.prepareProbe()
	err := proxyhooks.Forward(ctx, w.next, w.w, w.r, w.Terms.Lease, w)
	if w.lost != nil {
		return w.answer.SendRefusal(*w.lost)
	}
	return err
}

// forwardedConditions returns how the conditions go to the backend after they
// were found true for the current representation. Conditions that were compared
// with a tag that the backend has never heard of don't go along. The backend's
// own tag does, in its own spelling, so that its own check still counts.
func forwardedConditions(x *exchange, current validator.Observed) map[string][]string {
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

// BufferLimit implements proxyhooks.Writing. A backend that does one thing at a time can
// be probed only once its answer is complete.
func (w *writing) BufferLimit(status int, header http.Header) (limit int64, patience time.Duration) {
	succeeded := status/100 == 2 && status != http.StatusAccepted && status != http.StatusMultiStatus
	if succeeded && (w.base != nil || w.represents(status, header)) {
		return w.Buffer, proxyhooks.DefaultPatience
	}
	return -1, 0
}

// Settle implements proxyhooks.Writing.
func (w *writing) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) bool {
	w.invalidate(a)
	w.observe(a, fate)
	lost := w.holds.Lost()
	if w.marks {
		w.markChanged(w.plan.ChangedKeys())
	}
	w.holds.Settle(fate, w.settlement(fate))
	if lost && fate == proxyhooks.Unanswered {
		f := w.answer.LeaseLost()
		w.answer.Report(f.Outcome, f.Reason)
		w.lost = &f
		return false
	}
	w.answer.Report(w.decision.outcome, w.decision.reason)
	w.answer.ReportCondition(w.decision.field, w.decision.current.ETag)
	return true
}

// settlement is what the store is told about the subject at the end of the write.
func (w *writing) settlement(fate proxyhooks.Fate) etagcache.Settlement {
	if fate == proxyhooks.Refused {
		return etagcache.Settlement{Unchanged: true, Observation: w.before}
	}
	return etagcache.Settlement{Observation: w.after, Receipt: w.receipt}
}

// maxInvalidations is how many resources are invalidated at once.
const maxInvalidations = 8

// invalidate invalidates what the answer to a write says that it has also
// changed, unless the answer is an error (RFC 9111, section 4.4). It comes before
// the settlement, so before anybody can see the answer.
func (w *writing) invalidate(a proxyhooks.Answer) {
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
		if err := w.share.MarkChanged(w.r.Context(), key, w.Terms); err != nil {
			w.Logger.Warn("a change could not be stored", zap.String("resource", key), zap.Error(err))
		}
	})
}
