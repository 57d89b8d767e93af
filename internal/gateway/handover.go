package gateway

import (
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A write whose turn comes after a different write of this node asks the origin as soon as the
// other has ended, while the store hears of the end and grants the next claim. What the origin
// shows counts under the claim if that is granted for the epoch that begins with the end of the
// other write and nothing else: then nobody has written since the origin was asked. It counts for
// as long as an answer from before the claim does (ahead.go).

// handover is what a write asks the origin while it takes over from a different one.
type handover struct {
	seen  etagcache.Entry // while the other write was in flight
	apart uint64          // the writes without the store until then
	done  chan struct{}   // closed when there is an answer; then what follows stays as it is

	probed   proxyhooks.Probed
	at       time.Time // of the answer
	panicked any
}

// epoch returns the epoch for which the answer counts.
func (h *handover) epoch() string { return etagcache.SettledEpoch(h.seen.Epoch) }

// successor returns what takes over from a different write, or nil if the write must have its
// claim before it asks the origin: if the answer may depend on more than the claim, such as other
// claims, or groups. A write that takes over has asked the origin before.
func (t *inTurn) successor() hold.Successor {
	if !t.ahead.earned || t.handover != nil || len(t.plan.Others) > 0 || !isPlain(t.view) || t.origin.mayUseHead() {
		return nil
	}
	return t
}

// isPlain reports whether a view is about the representation that the request itself selects, and
// depends on no group.
func isPlain(view knowledge.View) bool { return !view.Negotiated() && !knowledge.InGroups(view) }

// Wants implements hold.Successor. The write will have to ask the origin, unless what is known by
// then decides.
func (t *inTurn) Wants(o *etagcache.Observation) bool {
	return o == nil || t.Verify.needed(0) && t.request.Evaluate(o.Representation).Verdict != validator.False
}

// TakeOver implements hold.Successor. It asks the origin. Nobody else uses the client's session
// until there is an answer.
func (t *inTurn) TakeOver(seen etagcache.Entry) {
	h := &handover{seen: seen, apart: storeshare.Apart(t.share), done: make(chan struct{})}
	t.handover = h
	ctx, view := t.r.Context(), t.view
	go func() {
		defer close(h.done)
		defer func() { h.panicked = recover() }()
		h.probed = t.origin.probe(ctx, view)
		h.at = time.Now()
	}()
}

// answer waits for the answer. If the handlers behind this one have panicked, so does answer.
func (h *handover) answer() proxyhooks.Probed {
	if <-h.done; h.panicked != nil {
		panic(h.panicked)
	}
	return h.probed
}

// takenOver returns what the origin has answered, if that counts under the claim for this view. The
// states that were spent when the origin was asked needn't be spent any more.
func (w confirmer) takenOver(view knowledge.View) (proxyhooks.Probed, bool) {
	h := w.handover
	if h == nil {
		return proxyhooks.Probed{}, false
	}
	w.handover = nil
	p := h.answer()
	counts := view.Entry().Epoch == h.epoch() && storeshare.Apart(w.share) == h.apart && isPlain(view) &&
		time.Since(h.at) <= shownFor && !h.seen.IsSpent(p.Observed) && knowledge.Unchanged(view, p.Header)
	return p, counts
}

// dropHandover ends a handover, unless its answer will count for an epoch. It waits for the answer,
// which may belong to the client's session.
func dropHandover(w *writing, epoch string) {
	if h := w.handover; h != nil && h.epoch() != epoch {
		w.handover = nil
		h.answer()
	}
}
