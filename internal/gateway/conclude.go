package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// conclude answers a write that isn't forwarded under a claim or pass.
func (d decision) conclude(x *exchange) error {
	switch d.kind {
	case refuse:
		return x.answer.Refuse(d.refusal)
	case refuted:
		return d.answerRefuted(x)
	case relay:
		return d.relay(x)
	case withoutStore:
		return x.writeWithoutStore()
	default:
		return errGone
	}
}

// relay sends the origin's own refusal to show the resource.
func (d decision) relay(x *exchange) error {
	p := d.probed
	x.answer.Report(answer.Unverifiable, "the origin answered "+http.StatusText(p.Status))
	header := x.w.Header()
	for name, lines := range p.Header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Etag", "Last-Modified":
		default:
			header[name] = append(header[name], lines...)
		}
	}
	return x.answer.Send(p.Status, p.Body)
}

// answerRefuted answers a conditional write whose condition is false, or can't be
// verified, for what is current: with 412, unless the write is the repetition of
// one whose answer the client has lost (RFC 9110, section 13.1.1).
func (d decision) answerRefuted(x *exchange) error {
	status, err := d.replayedStatus(x)
	if err != nil {
		return err
	}
	if status == 0 {
		current := d.view.Dated(d.current, d.view.Stored())
		return d.refuseWithRepresentation(x, x.answer.ConditionFailed(d.result, current))
	}
	x.answer.Report(answer.Passed, "sent again")
	x.answer.ReportCondition(d.result.Field, d.current.ETag)
	header := x.w.Header()
	setETag(header, d.current.ETag)
	if status != http.StatusNoContent {
		header["Content-Length"] = []string{"0"}
	}
	return x.answer.Send(status, nil)
}

// refuseWithRepresentation refuses a write. If the client prefers that, and the
// condition is false, the answer carries the current representation, so that the
// client can merge its change without another round trip (RFC 8144, section 3.2).
func (d decision) refuseWithRepresentation(x *exchange, f answer.Refusal) error {
	if f.Status != http.StatusPreconditionFailed || x.Answers.ErrorRoutes || !x.Answers.Disclose ||
		x.request.Signed || !answer.PrefersRepresentation(x.request.Fields) {
		return x.answer.Refuse(f)
	}
	content := &boundedBuffer{left: x.Buffer}
	p := proxyhooks.ProbeContent(x.r.Context(), x.next, x.plan.Subject.Request(x.r), x.Deriver, content)
	if !p.Known || p.Status != http.StatusOK || content.left < 0 {
		return x.answer.Refuse(f)
	}
	x.answer.Report(f.Outcome, f.Reason)
	current := p.Observed.ETag
	if p.Versioned {
		current = f.Current.ETag
	}
	x.answer.ReportCondition(f.Condition, current)
	header := x.w.Header()
	answer.RemoveRepresentationMetadata(header)
	for name, lines := range p.Header {
		if strings.HasPrefix(name, "Content-") && name != "Content-Length" && name != "Content-Location" || name == "Vary" {
			header[name] = append(header[name], lines...)
		}
	}
	header["Vary"] = append(header["Vary"], "Prefer")
	header["Cache-Control"] = []string{"no-store"}
	header["Content-Length"] = []string{strconv.Itoa(content.kept.Len())}
	header["Content-Location"] = []string{x.plan.Subject.OriginalTarget}
	header["Preference-Applied"] = []string{"return=representation"}
	setETag(header, current)
	if r := d.view.Dated(p.Observed, d.view.Stored()); r.State == validator.Present {
		answer.SetDate(header, r, time.Now())
	}
	return x.answer.Send(f.Status, content.kept.Bytes())
}

// boundedBuffer keeps content up to a limit.
type boundedBuffer struct {
	kept bytes.Buffer // not embedded: its other methods know no limit
	left int64        // below zero if there was more
}

var errTooMuch = errors.New("too much content")

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errTooMuch
	}
	return b.kept.Write(p)
}

// writeWithoutStore goes on without the store, if the configuration says so, and
// refuses otherwise.
func (x *exchange) writeWithoutStore() error {
	down := x.answer.CannotTell("the store is out of reach")
	if !x.request.Conditional {
		if !x.StoreDown.ForwardUnconditional {
			return x.answer.Refuse(down)
		}
		return x.forwardJournaled(decision{outcome: answer.Unconditional})
	}
	if !x.StoreDown.ForwardConditional || x.request.Signed {
		return x.answer.Refuse(down)
	}
	// Another write can slip in after this check. The operator has chosen a racy
	// check over none.
	p := x.probe(x.r.Context())
	if !p.Known {
		return x.notProbed(p, validator.None).conclude(x)
	}
	res := x.request.Evaluate(p.Observed.Representation)
	switch {
	case res.Verdict == validator.False, res.Verdict == validator.Unverifiable:
		return x.answer.Refuse(x.answer.ConditionFailed(res, p.Observed.Representation))
	case res.Verdict == validator.Unconditional && x.mustBeConditional():
		return x.answer.Refuse(answer.ConditionRequired())
	}
	return x.forwardJournaled(decision{outcome: answer.Passed, current: p.Observed})
}

// forwardJournaled forwards a write that the store isn't told of. The node
// remembers it.
func (x *exchange) forwardJournaled(d decision) error {
	defer x.share.WriteWithoutStore(x.plan.ChangedKeys())()
	return x.newWriting().forward(d)
}

// forwardMarked forwards a write without waiting for anybody, and marks what it
// changes before and after.
func (x *exchange) forwardMarked() error {
	if err := x.share.CatchUp(x.r.Context(), x.Terms); err != nil {
		return x.writeWithoutStore()
	}
	for _, key := range x.plan.ChangedKeys() {
		if err := x.share.Invalidate(x.r.Context(), key, x.Terms); err != nil {
			return x.writeWithoutStore()
		}
	}
	w := x.newWriting()
	w.marks = true
	return w.forward(decision{outcome: answer.Unconditional})
}
