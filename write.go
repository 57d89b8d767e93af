package preconditions

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// conditional reports whether the request has a condition that may keep it from
// being performed. A field that must be ignored whatever the state of the
// resource (RFC 9110, section 13.1) is none.
func (x *exchange) conditional() bool {
	return x.conditions.GuardsWrite() &&
		x.evaluate(validator.Representation{}).Verdict != validator.Unconditional
}

// writeConditional lets a write through if its condition holds for the state
// that it replaces.
func (x *exchange) writeConditional() error {
	// A condition that can't hold in any state needs no store.
	if res := x.evaluate(validator.Representation{}); res.Verdict == validator.False {
		return x.refuse(x.failed(res, validator.Representation{}))
	}
	if err := x.recall(); err != nil {
		return x.gaveUp(err)
	}
	known := x.selected()
	if res := x.evaluate(x.dated(known.Observed, known)); x.entry.Busy == 0 && x.refutes(res) {
		return x.refuted(res, known.Observed)
	}
	// Somebody who sends slowly, or never ends, must not keep others waiting.
	done, err := proxyhooks.ReadAhead(x.r, x.h.Buffer, true)
	if err != nil {
		return contentError(err)
	}
	defer done()
	wr := &writing{exchange: x}
	defer wr.release()
	c, err := wr.takeAll()
	switch {
	case err != nil:
		wr.release()
		return x.gaveUp(err)
	case x.refutes(c.res):
		wr.release()
		return x.refuted(c.res, c.known.Observed)
	}
	return wr.writeClaimed(c)
}

// takeAll takes the claim on the write's own resource, unless that is refuted, and
// passes on the others.
func (wr *writing) takeAll() (c claimed, err error) {
	waiting, cancel := wr.waiting()
	defer cancel()
	if err = wr.take(waiting, wr.othersBefore()); err != nil {
		return c, err
	}
	if c, err = wr.claim(waiting); err != nil || wr.refutes(c.res) {
		return c, err
	}
	wr.held = wr.keepAlive(c.grant, c.taken)
	return c, wr.take(waiting, wr.othersAfter())
}

// takeAges has what is known about anything below what the write changes count for
// nothing. Its own resource may be below that, too, so that it comes when its
// condition was found true. Nobody has an age alone: there is nobody to wait for.
func (wr *writing) takeAges() error {
	waiting, cancel := wr.waiting()
	defer cancel()
	return wr.take(waiting, wr.ages)
}

// waiting returns the context of all that a write waits for.
func (x *exchange) waiting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.r.Context(), time.Duration(x.h.Wait))
}

// refutes reports whether a write is refused for what is stored, of which res is
// the evaluation.
func (x *exchange) refutes(res validator.Result) bool {
	return res.Verdict == validator.False && !x.h.verify.refused
}

// claimed is a claim, and what was known of the variant when it was taken.
type claimed struct {
	grant etagcache.Grant
	taken time.Time // the claim is no older than this
	known etagcache.Stored
	res   validator.Result // what the condition comes to for known
}

// claim takes the claim as soon as no other write is in flight, unless what is
// known by then refutes the condition.
func (x *exchange) claim(waiting context.Context) (c claimed, err error) {
	leave, waited, err := x.h.store.queues.enter(waiting, x.key)
	if err != nil {
		return c, err
	}
	defer leave()
	if waited {
		err = x.readEntry()
	}
	for tries := 0; err == nil; tries++ {
		if tries == maxTries {
			return c, errTooLively
		}
		c.known = etagcache.Stored{}
		if x.entry.Busy == 0 {
			c.known = x.selected()
		}
		if c.res = x.evaluate(x.dated(c.known.Observed, c.known)); x.refutes(c.res) {
			return c, nil
		}
		c.taken = time.Now()
		var now etagcache.Entry
		c.grant, now, err = x.h.store.Claim(x.detached(), x.key, x.entry.Epoch, x.h.terms)
		switch {
		case errors.Is(err, etagcache.ErrBusy):
			// Having asked, it has its turn before passes that are asked for now.
			if err = x.h.store.Wait(waiting, x.key, now); err == nil {
				err = x.readEntry()
			}
		case errors.Is(err, etagcache.ErrStale):
			x.entry = now // look again
			err = x.readGroups()
		default:
			return c, err
		}
	}
	return c, err
}

// maxTries bounds how often a claim is tried while the entry is always another
// one when the claim comes.
const maxTries = 1000

var errTooLively = errors.New("the resource changes all the time")

// recall takes the entry that this node saw last if the condition holds for it,
// as the claim will tell whether it is current. Otherwise it reads the entry.
func (x *exchange) recall() error {
	var ok bool
	if x.entry, ok = x.h.store.recent.recall(x.key); ok && x.readGroups() == nil {
		if known := x.selected(); x.evaluate(x.dated(known.Observed, known)).Verdict == validator.True {
			return nil
		}
	}
	return x.readEntry()
}

// readEntry reads the entry, and the groups that it names.
func (x *exchange) readEntry() (err error) {
	if x.entry, err = x.h.store.Read(x.r.Context(), x.key, x.h.terms); err != nil {
		return err
	}
	return x.readGroups()
}

// writeClaimed goes on with a conditional write that has the claim.
func (wr *writing) writeClaimed(c claimed) error {
	x := wr.exchange
	if err := x.confirmGroups(&c); err != nil {
		wr.release()
		return x.gaveUp(err)
	}
	current, res := c.known.Observed, c.res
	if x.signed {
		if res.Verdict != validator.True {
			wr.release()
			return x.refuse(x.unverifiable(res.Field, "nobody but its signer can ask the origin about a signed request. Read the resource first"))
		}
	} else if res.Verdict != validator.True || x.h.verify.needed(c.known.Age) {
		p := proxyhooks.Probe(x.r.Context(), x.next, x.subject, x.h.deriver, 0)
		if !p.Known {
			wr.release()
			return x.cannotProbe(p, res.Field)
		}
		current = p.Observed
		if p.Versioned {
			current = x.versioned(current, p.Header, c.known.Observed, c.grant.Token)
		}
		if o, ok := x.observation(current, p.Header); ok {
			wr.seen = &o
		}
		res = x.evaluate(x.dated(current, c.known))
	}
	switch res.Verdict {
	case validator.True:
		wr.outcome = outcomePassed
	case validator.Unconditional:
		// The origin has no modification date: the condition must be ignored
		// (RFC 9110, section 13.1.4), which makes it none.
		if x.mustBeConditional() {
			wr.release()
			return x.refuse(x.required())
		}
		wr.outcome = outcomeUnconditional
	default:
		wr.release()
		return x.refuted(res, current)
	}
	if x.gone() {
		return errGone
	}
	if err := wr.takeAges(); err != nil {
		wr.release()
		return x.gaveUp(err)
	}
	if wr.lost() {
		wr.release()
		return x.refuse(x.unavailable("the claim was lost before the request was forwarded"))
	}
	wr.field, wr.current = res.Field, current.ETag
	defer proxyhooks.Edit(x.r.Header, x.forwardedConditions(current))()
	return wr.forward()
}

// forwardedConditions returns how the conditions go to the backend after they
// were found true for the current representation: not at all, if they were
// compared with a tag that the backend has never heard of. Its own tag goes
// along, in its own spelling, so that its own check still counts.
func (x *exchange) forwardedConditions(current validator.Observed) map[string][]string {
	c := x.conditions
	switch {
	case x.signed:
		return nil
	case !x.guarded && c.IfMatch == nil && c.IfNoneMatch == nil && !current.LastModified.IsZero():
		return nil // the date is the backend's own
	case x.guarded, c.IfMatch == nil && c.IfNoneMatch == nil, !current.Own:
		return map[string][]string{
			validator.IfMatch.String():           nil,
			validator.IfNoneMatch.String():       nil,
			validator.IfUnmodifiedSince.String(): nil,
		}
	case c.IfMatch != nil:
		if res := x.evaluate(current.Representation); res.Matched.Valid && res.Field == validator.IfMatch {
			return map[string][]string{validator.IfMatch.String(): {current.ETag.String()}}
		}
	}
	return nil
}

// cannotProbe answers a write whose condition the origin left undecided.
func (x *exchange) cannotProbe(p proxyhooks.Probed, field validator.Field) error {
	switch {
	case x.gone():
		return errGone
	case p.Err != nil || p.Status >= 500:
		x.h.logger.Warn("the origin could not be asked", zap.String("resource", x.key), zap.Int("status", p.Status), zap.Error(p.Err))
		return x.refuse(x.unavailable("the origin could not be asked for the current state"))
	case p.Status == http.StatusUnauthorized, p.Status == http.StatusForbidden, p.Status == http.StatusProxyAuthRequired:
		return x.relay(p)
	default:
		return x.refuse(x.unverifiable(field, "the origin answered "+http.StatusText(p.Status)+" to a GET"))
	}
}

// relay sends the origin's own refusal to show the resource.
func (x *exchange) relay(p proxyhooks.Probed) error {
	x.report(outcomeUnverifiable, "the origin answered "+http.StatusText(p.Status))
	header := x.w.Header()
	for name, lines := range p.Header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Etag", "Last-Modified":
		default:
			header[name] = append(header[name], lines...)
		}
	}
	return x.sendFinal(p.Status, p.Body)
}

// gaveUp answers a write that could not get a claim or pass: it waited in vain
// for another one, or the store can't be asked.
func (x *exchange) gaveUp(err error) error {
	switch {
	case x.gone():
		return errGone
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errQueueFull), errors.Is(err, errTooLively):
		return x.refuse(x.conflict())
	default:
		return x.withoutStore()
	}
}

// withoutStore answers a conditional write that the store can't be asked about.
func (x *exchange) withoutStore() error {
	if x.h.StoreDown.Conditional != storeDownForward || x.signed {
		return x.refuse(x.unavailable("the store is out of reach"))
	}
	// The user prefers a check that another write can slip past to none.
	p := proxyhooks.Probe(x.r.Context(), x.next, x.subject, x.h.deriver, 0)
	if !p.Known {
		return x.cannotProbe(p, validator.None)
	}
	res := x.evaluate(p.Observed.Representation)
	switch {
	case res.Verdict == validator.False, res.Verdict == validator.Unverifiable:
		return x.refuse(x.failed(res, p.Observed.Representation))
	case res.Verdict == validator.Unconditional && x.mustBeConditional():
		return x.refuse(x.required())
	}
	defer proxyhooks.Edit(x.r.Header, x.forwardedConditions(p.Observed))()
	return x.writeJournaled(outcomePassed)
}

// writeUnconditional forwards a write that has no condition: any number at
// once, but none together with a conditional one.
func (x *exchange) writeUnconditional() error {
	done, err := proxyhooks.ReadAhead(x.r, x.h.Buffer, x.h.Unconditional != unconditionalForward)
	if err != nil {
		return contentError(err)
	}
	defer done()
	if x.h.Unconditional == unconditionalForward {
		return x.writeMarked()
	}
	wr := &writing{exchange: x, outcome: outcomeUnconditional}
	defer wr.release()
	switch err := wr.passAll(); {
	case err == nil && x.gone():
		return errGone
	case err == nil && wr.lost():
		wr.release()
		return x.refuse(x.unavailable("the pass was lost before the request was forwarded"))
	case err == nil:
		return wr.forward()
	case x.gone() || !errors.Is(err, etagcache.ErrUnavailable):
		return x.gaveUp(err)
	default:
		return x.unconditionalWithoutStore()
	}
}

// passAll takes passes on the write's own resource and the others.
func (wr *writing) passAll() error {
	waiting, cancel := wr.waiting()
	defer cancel()
	if err := wr.take(waiting, wr.othersBefore()); err != nil {
		return err
	}
	grant, entry, taken, err := wr.pass(waiting, wr.key)
	if wr.entry = entry; err != nil {
		return err
	}
	wr.held = wr.keepAlive(grant, taken)
	if err := wr.take(waiting, wr.othersAfter()); err != nil {
		return err
	}
	return wr.take(waiting, wr.ages)
}

// pass takes a pass as soon as no conditional write is in flight.
func (x *exchange) pass(waiting context.Context, key string) (grant etagcache.Grant, entry etagcache.Entry, taken time.Time, err error) {
	leave, _, err := x.h.store.queues.enter(waiting, key)
	if err != nil {
		return grant, entry, taken, err
	}
	defer leave()
	for {
		taken = time.Now()
		grant, entry, err = x.h.store.Pass(x.detached(), key, x.h.terms)
		if !errors.Is(err, etagcache.ErrBusy) {
			return grant, entry, taken, err
		}
		if err = x.h.store.Wait(waiting, key, entry); err != nil {
			return grant, entry, taken, err
		}
	}
}

// writeMarked forwards a write without waiting for anybody, and marks the
// resource as changed before and after.
func (x *exchange) writeMarked() error {
	if err := x.h.store.catchUp(x.r.Context(), x.h.terms); err != nil {
		return x.unconditionalWithoutStore()
	}
	for _, key := range x.changes() {
		if err := x.h.store.Invalidate(x.r.Context(), key, x.h.terms); err != nil {
			return x.unconditionalWithoutStore()
		}
	}
	wr := &writing{exchange: x, outcome: outcomeUnconditional, mark: true}
	return wr.forward()
}

func (x *exchange) unconditionalWithoutStore() error {
	if x.h.StoreDown.Unconditional != storeDownForward {
		return x.refuse(x.unavailable("the store is out of reach"))
	}
	return x.writeJournaled(outcomeUnconditional)
}

// writeJournaled forwards a write that the store doesn't know of, and has the
// node remember it.
func (x *exchange) writeJournaled(o outcome) error {
	defer x.journalAll()()
	wr := &writing{exchange: x, outcome: o}
	return wr.forward()
}

// errGone ends the request of a client that went away before anything was
// forwarded.
var errGone = caddyhttp.Error(statusClientClosedRequest, context.Canceled)

// statusClientClosedRequest is what Caddy logs for such a request.
const statusClientClosedRequest = 499

// gone reports whether the client went away.
func (x *exchange) gone() bool { return x.r.Context().Err() != nil }

// contentError turns the failure to read the request content into an error of
// the chain.
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
		return caddyhttp.Error(statusClientClosedRequest, err)
	}
	return caddyhttp.Error(http.StatusBadRequest, err)
}
