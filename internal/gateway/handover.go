package gateway

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// A write whose turn comes after a different write of this node asks the origin as soon as that
// has ended, while the store hears of the end and grants the next claim. What the origin shows
// counts under the claim if that is granted for the epoch that begins with the end of the other
// write and nothing else: then nobody has written since the origin was asked. It counts no longer
// than what the origin shows ahead (ahead.go).

// handover is what a write asks the origin while it takes over from a different one.
type handover struct {
	epoch  string // for which the answer counts
	begun  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when there is an answer; then what follows stays as it is

	probed   proxyhooks.Probed
	at       time.Time // of the answer
	panicked any
}

// mayTakeOver reports whether the write may ask the origin before it has its claim, and will
// need the answer. That must not depend on anything but the claim: not on other claims, nor on
// groups.
func (w turn) mayTakeOver(view knowledge.View) bool {
	unknown := len(view.Entry().Variants) == 0
	return w.ahead.earned && (unknown || w.Verify.needed(0)) && len(w.plan.Others) == 0 && isPlain(view) &&
		!w.request.Unasked && !w.origin.mayUseHead()
}

// isPlain reports whether a view is about the representation that the request itself selects, and
// depends on no group.
func isPlain(view knowledge.View) bool { return !view.Negotiated() && !knowledge.InGroups(view) }

// takeOver asks the origin, because a different write has ended. The answer counts for an epoch.
func (t *inTurn) takeOver(epoch string) {
	dropHandover(t.writing)
	ctx, cancel := context.WithCancel(t.r.Context())
	h := &handover{epoch: epoch, begun: time.Now(), cancel: cancel, done: make(chan struct{})}
	t.handover = h
	r := t.origin.inClientsName(t.view)
	go func() {
		defer close(h.done)
		defer func() { h.panicked = recover() }()
		h.probed = proxyhooks.Probe(ctx, t.origin.next, r, t.origin.deriver, t.origin.limit)
		h.at = time.Now()
	}()
}

// answer waits for the answer. If the handlers behind this one panic, so does answer.
func (h *handover) answer() proxyhooks.Probed {
	<-h.done
	h.cancel()
	if h.panicked != nil {
		panic(h.panicked)
	}
	return h.probed
}

// takenOver returns what the origin has answered, if that counts under a claim for this view.
func (w confirmer) takenOver(view knowledge.View) (proxyhooks.Probed, bool) {
	h := w.handover
	if h == nil || !w.holds.Claimed() || view.Entry().Epoch != h.epoch || !isPlain(view) {
		return proxyhooks.Probed{}, false
	}
	w.handover = nil
	p := w.origin.finish(h.begun, h.answer())
	return p, time.Since(h.at) <= shownFor
}

// dropHandover ends a question that nobody needs answered any more. It doesn't panic: the claim
// may be on its way.
func dropHandover(w *writing) {
	h := w.handover
	if h == nil {
		return
	}
	w.handover = nil
	h.cancel()
	if <-h.done; h.panicked != nil {
		w.Logger.Error("a handler panicked when the origin was asked", zap.Any("panic", h.panicked), zap.String("resource", w.plan.Subject.Key))
	}
}
