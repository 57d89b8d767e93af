package gateway

import (
	"context"
	"maps"
	"math"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/history"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// writing is a write that may reach the backend, with what it holds.
type writing struct {
	*exchange
	client   storeshare.Client
	holds    *hold.Holds
	view     knowledge.View // for which the claim was taken
	ahead    ahead          // what the origin said before the claim
	handover *handover      // nil unless the write takes over from a different one
	gate     gate           // how it had redirected the client by then

	waited time.Duration // for other writes, before the claim

	watched *history.Write // in mode report; see report.go

	before *etagcache.Observation // what the origin showed under the claim, or counts under it
	fields http.Header            // with which it showed that for the write's own fields
	result aftermath

	others others // what the If field is about besides the subject

	decision        decision // to forward it
	sent            condition
	header          http.Header // of the answer, before the backend heard of the write
	invalidateAfter bool        // whether to invalidate at the end what it changes

	// What to do in place of the backend's answer: lost answers the client, if a claim or
	// pass was lost and nobody knows what became of the write; refusedAs is the status
	// with which the backend refused a condition that may only have been put badly.
	lost      *answer.Refusal
	refusedAs int
}

func (x *exchange) newWriting() *writing {
	w := &writing{exchange: x, client: clientOf(x)}
	w.holds = noHolds(w)
	w.result.writing = w
	return w
}

// noHolds returns the holds of a write that hasn't taken any yet.
func noHolds(w *writing) *hold.Holds {
	return hold.New(w.r.Context(), w.share, w.client, w.Terms, w.Logger, w.responder.Course)
}

// release gives back what the write holds, unless it was forwarded and settled.
func (w *writing) release() { w.holds.Release(w.before) }

// forward sends the write to the backend, and again if the backend has refused nothing but
// the form of the condition.
func (w *writing) forward(d decision) error {
	w.decision = d
	w.announces.passed = d.outcome == answer.Passed
	ctx, stop := w.holds.UntilLost()
	defer stop()

	w.result.prepareProbe()
	w.sent = w.conditionFor(d, d.outcome == answer.Passed && w.holds.Claimed() && !w.plan.Guarded &&
		w.request.OneTime == nil && !proxyhooks.ContentPending(w.r))
	if lines, changed := (lists{w}).stateField(d); changed {
		w.sent.fields = proxyhooks.With(w.sent.fields, ifField, lines)
	}
	r := w.r
	if w.sent.negotiable || w.result.probes {
		w.r = untouched(r)
		w.origin.base = w.r
		w.cross.forwardedAs(w.r)
	}
	if w.sent.negotiable {
		w.header = w.rw.Header().Clone()
	}
	err := w.send(ctx, r)
	for w.refusedAs != 0 {
		if d := w.reconsider(); d.kind != forward || !proxyhooks.Reopen(w.r) {
			return d.giveUp(w)
		}
		err = w.send(ctx, proxyhooks.Isolate(w.r, w.rw))
	}
	return w.concludeForward(err)
}

// untouched returns a copy of r as it is before the handlers behind this one change it, with
// their variables.
func untouched(r *http.Request) *http.Request {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return r.Clone(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, maps.Clone(vars)))
}

// send sends the write to the backend as r.
func (w *writing) send(ctx context.Context, r *http.Request) error {
	edits := make([]proxyhooks.Edit, 0, 8) // no field is in it twice
	change := func(name string, lines []string) { edits = append(edits, proxyhooks.Edit{Name: name, Lines: lines}) }
	if !w.request.Signed {
		for name, lines := range w.origin.session.renewals() {
			change(name, lines)
		}
	}
	for name, lines := range w.sent.fields {
		change(name, lines)
	}
	if !w.enforces() {
		w.announces.withheld = linesNow(r.Header, w.sent.fields)
	}
	if lines := holder(w); lines != nil {
		change(holderField, lines)
	}
	if !w.request.Signed {
		if w.WriteETag == WriteETagAnswer {
			change("Accept-Encoding", []string{"identity"}) // as reads
		}
		change(proxyhooks.SettledField, nil) // a backend may repeat it in its answer
		if answer.ExpectsContinue(r) {
			change("Expect", nil) // the content is already here
		}
	}
	defer w.carried.putBack(r)()
	proxyhooks.Swap(r.Header, edits)
	defer proxyhooks.Swap(r.Header, edits)
	begun := time.Now()
	err := proxyhooks.Forward(ctx, w.next, w.rw, r, forwarding(w.exchange), w)
	w.responder.Course.Forwarded(r, begun, err)
	return err
}

// linesNow returns the lines that a header has of the fields that are about to be changed.
func linesNow(h http.Header, changed map[string][]string) map[string][]string {
	now := make(map[string][]string)
	for name := range changed {
		if h[name] != nil {
			now[name] = h[name]
		}
	}
	return now
}

// forwarding says how the write is forwarded. A handler further out must hear what the
// backend says about the end of the write.
func forwarding(x *exchange) proxyhooks.Forwarding {
	return proxyhooks.Forwarding{Linger: x.Terms.Lease, Unanswered: x.Unanswered, KeepSettled: x.responder.Inner, Memory: x.memory}
}

// concludeForward ends a write that was forwarded.
func (w *writing) concludeForward(err error) error {
	if w.lost != nil {
		w.origin.session.tell(w.rw.Header())
		return w.responder.SendRefusal(*w.lost)
	}
	return err
}

// BufferLimit implements proxyhooks.Writing. The write is settled before the client sees
// the answer, if that is complete soon. Forward waits however long it takes if the content
// shows the new representation, or if a probe follows: a backend that handles one request
// at a time can't be probed before.
func (w *writing) BufferLimit(status int, header http.Header) (limit int64, patience time.Duration) {
	if limit, patience, ok := (object{w}).bufferLimit(status); ok {
		return limit, patience
	}
	if isDone(status) && (w.result.probes || (listener{&w.result}).awaits(status, header)) {
		return w.Buffer, math.MaxInt64
	}
	return w.Buffer, 0
}

// Held implements proxyhooks.Writing.
func (w *writing) Held() bool { return !w.holds.Lost() }

// Pass implements proxyhooks.Writing.
func (w *writing) Pass(a proxyhooks.Answer) {
	defer w.responder.Course.Suspend(w.responder.Course.Resume())
	w.result.meet(a)
	w.result.removeValidators(a)
	w.origin.session.tell(a.Header)
	w.report()
}

// meet looks at the header section of an answer that nobody has seen.
func (w *aftermath) meet(a proxyhooks.Answer) {
	w.Learned.learnClock(a.Header, time.Now())
	w.origin.session.answered(a.Header)
	w.invalidateNamed(a)
}

// report reports the outcome of a write that was forwarded.
func (w *writing) report() {
	if refusal := w.decision.refusalIfAny(); refusal.Status != 0 {
		w.responder.ReportRefusal(refusal)
	} else {
		w.responder.Report(w.decision.outcome, w.decision.reason)
	}
	w.responder.ReportCondition(w.decision.field, w.decision.current.ETag)
}

// Settle implements proxyhooks.Writing.
func (w *writing) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) bool {
	defer w.responder.Course.Suspend(w.responder.Course.Resume())
	lost := w.holds.Lost()
	if !lost && fate == proxyhooks.Refused && !a.Passed && w.sent.mayBeAtFault(a.Status) && !w.request.Gone() {
		w.refusedAs = a.Status
		w.origin.session.absorb(without(a.Header, w.header), w.request.OriginalTarget)
		return false // the claim stays
	}
	status, fate := object{w}.outcome(a, fate)
	if a.Redirected && fate == proxyhooks.Applied {
		fate = redirection{w}.fate(a)
	}
	if fate != proxyhooks.Refused {
		redirection{w}.forgetSeen()
	}
	if a.Passed {
		w.result.invalidateNamed(a) // again: the backend was still at work the first time
	} else {
		w.result.meet(a)
	}
	w.result.observe(a, fate)
	object{w}.observe(a, status, fate)
	fate = locking{w}.fate(a, fate)
	w.origin.session.tell(a.Header)
	lost = w.holds.Lost()
	if w.invalidateAfter && fate != proxyhooks.Refused {
		w.invalidate(w.plan.ChangedKeys())
	}
	lostSince := w.holds.Settle(fate, w.settlement(status, fate))
	w.watched.End(fate == proxyhooks.Applied && isDone(status), w.decision.proof())
	if fate == proxyhooks.Unanswered {
		w.begun.EndAfter(w.Terms.Lease) // when its leases are over
	} else {
		w.begun.End()
	}
	switch {
	case a.Passed:
		return true
	case lostSince:
		w.result.removeValidators(a) // somebody else may have written since
	}
	// An answer goes to the client even if a lease was lost in the meantime.
	if lost && (fate == proxyhooks.Unanswered || a.Status == 0) {
		w.lost = reportLost(w.responder, fate)
		return false
	}
	w.report()
	return true
}

// reportLost reports that the claim of a write was lost, and returns what the client gets
// in place of an answer.
func reportLost(r *answer.Responder, fate proxyhooks.Fate) *answer.Refusal {
	refusal := r.LeaseLost()
	if fate == proxyhooks.Refused {
		refusal = r.CannotTell("the claim was lost before the request was forwarded").As(telemetry.ClaimLost)
	}
	r.ReportRefusal(refusal)
	return &refusal
}

// settlement returns what to tell the store about the subject. Only a write that was done as
// a whole has certainly replaced what was there.
func (w *writing) settlement(status int, fate proxyhooks.Fate) etagcache.Settlement {
	if fate == proxyhooks.Refused {
		return etagcache.Settlement{Unchanged: true, Observation: w.before}
	}
	s := etagcache.Settlement{Observation: w.result.after, Receipt: w.result.receipt, Proven: w.result.proven}
	switch id := w.decision.current.Identity(); {
	case id == "":
	case fate == proxyhooks.Applied && isDone(status) && w.replaces():
		s.Replaced = knowledge.Replaces(id)
	default:
		s.Replaced = []string{id}
	}
	return s
}

// maxInvalidations is how many resources are invalidated at once.
const maxInvalidations = 8

// invalidateNamed invalidates what else the write has changed according to its
// answer, unless that is an error (RFC 9111, section 4.4).
func (w *aftermath) invalidateNamed(a proxyhooks.Answer) {
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
