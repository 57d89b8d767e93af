package gateway

import (
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A write whose turn comes after a different write of this node asks the origin as soon as that
// has ended, while the store hears of the end and grants the next claim. What the origin shows
// counts under the claim if that is granted for the epoch that begins with the end of the other
// write and nothing else: then nobody has written since the origin was asked. It counts no longer
// than what the origin shows ahead (ahead.go).

// handover is what a write asks the origin while it takes over from a different one.
type handover struct {
	epoch string // for which the answer counts
	begun time.Time
	done  chan struct{} // closed when there is an answer; then what follows stays as it is

	probed   proxyhooks.Probed
	at       time.Time // of the answer
	panicked any
}

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

// TakeOver implements hold.Successor. It asks the origin. The answer counts for an epoch.
func (t *inTurn) TakeOver(epoch string) {
	h := &handover{epoch: epoch, begun: time.Now(), done: make(chan struct{})}
	t.handover = h
	ctx, r := t.r.Context(), t.origin.inClientsName(t.view)
	go func() {
		defer close(h.done)
		defer func() { h.panicked = recover() }()
		h.probed = proxyhooks.Probe(ctx, t.origin.next, r, t.origin.deriver, t.origin.limit)
		h.at = time.Now()
	}()
}

// answered waits for the answer. If the handlers behind this one have panicked, so does answered.
// The answer may belong to the client's session, so it must be heard even if it doesn't count.
func (h *handover) answered(w *writing) proxyhooks.Probed {
	w.handover = nil
	if <-h.done; h.panicked != nil {
		panic(h.panicked)
	}
	return w.origin.finish(h.begun, h.probed)
}

// takenOver returns what the origin has answered, if that counts under the claim for this view.
func (w confirmer) takenOver(view knowledge.View) (proxyhooks.Probed, bool) {
	h := w.handover
	if h == nil {
		return proxyhooks.Probed{}, false
	}
	p := h.answered(w.writing)
	counts := view.Entry().Epoch == h.epoch && isPlain(view) && time.Since(h.at) <= shownFor && knowledge.Unchanged(view, p.Header)
	return p, counts
}

// dropHandover ends a handover, unless its answer will count for an epoch.
func dropHandover(w *writing, epoch string) {
	if h := w.handover; h != nil && h.epoch != epoch {
		h.answered(w)
	}
}
