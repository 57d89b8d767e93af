package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// conclude carries out a decision other than forward.
func (d decision) conclude(x *exchange) error {
	switch d.kind {
	case refuse:
		return x.refuse(d.refusalIfAny())
	case refuted:
		return d.answerRefuted(x)
	case relay:
		return d.relay(x)
	case withoutStore:
		return x.writeWithoutStore()
	default: // clientGone
		return errGone
	}
}

// relay sends the answer with which the origin refused to show the resource.
func (d decision) relay(x *exchange) error {
	p := d.probed
	x.responder.ReportRefusal(answer.Refusal{
		Status: p.Status, Outcome: answer.Unverifiable, Reason: "the origin answered " + statusText(p.Status), Code: telemetry.OriginRefused,
	})
	header := x.rw.Header()
	x.origin.session.answered(p.Header)
	x.origin.session.tell(header)
	for name, lines := range p.Header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Etag", "Last-Modified":
		case "Server", "Date", allowOrigin, allowCredentials:
			header[name] = lines // one of a kind, and there may be Caddy's own
		default:
			header[name] = append(header[name], lines...)
		}
	}
	status := p.Status
	if x.request.Does(http.MethodPost) {
		status = withSameMethod(status)
	}
	return x.responder.Send(status, p.Body)
}

// withSameMethod returns the redirection that keeps the method. Clients make a GET of a
// POST that is redirected otherwise (RFC 9110, sections 15.4.2 and 15.4.3), and would
// take the answer to that for a success of the POST.
func withSameMethod(status int) int {
	switch status {
	case http.StatusMovedPermanently:
		return http.StatusPermanentRedirect
	case http.StatusFound:
		return http.StatusTemporaryRedirect
	default:
		return status
	}
}

// answerRefuted answers a conditional write whose condition is false, or can't be
// verified, for the current representation. The answer is 412, unless the client
// repeats a write because it lost the answer (RFC 9110, section 13.1.1).
func (d decision) answerRefuted(x *exchange) error {
	status, err := d.replayedStatus(x)
	if err != nil {
		return err
	}
	if status == 0 && nothingToDelete(x, d) {
		return answerNothingToDelete(x, d)
	}
	if status == 0 {
		current := d.view.Dated(d.current, d.view.Stored())
		refusal := x.responder.ConditionFailed(d.result, current)
		refusal.Detail += d.negotiationAdvice() + creationAdvice(x, d.result)
		return d.refuseWithRepresentation(x, refusal)
	}
	x.responder.Report(answer.Passed, "sent again")
	x.responder.ReportCondition(d.result.Field, d.current.ETag)
	header := x.rw.Header()
	x.origin.session.tell(header)
	setETag(header, d.current.ETag)
	if status != http.StatusNoContent {
		header["Content-Length"] = []string{"0"}
	}
	x.cross.Ask()
	x.cross.Allow(header)
	return x.responder.Send(status, nil)
}

// refuseWithRepresentation refuses a write. If the condition is false and the
// client prefers it, the answer carries the current representation: the client can
// then merge its change without another round trip (RFC 8144, section 3.2).
func (d decision) refuseWithRepresentation(x *exchange, refusal answer.Refusal) error {
	if refusal.Status != http.StatusPreconditionFailed || x.Answers.ErrorRoutes || !x.Answers.Disclose ||
		x.request.Signed || !answer.PrefersRepresentation(x.request.Fields) {
		return x.refuse(refusal)
	}
	content := &boundedBuffer{left: x.Buffer, memory: x.memory}
	p := x.origin.probeContent(x.r.Context(), knowledge.Own(d.view), content)
	past := p.Cached || d.view.Past(p.Observed) != knowledge.NotPast
	if !p.Known || past || p.Status != http.StatusOK || content.left < 0 {
		return x.refuse(refusal)
	}
	x.responder.ReportRefusal(refusal)
	current := p.Observed.ETag
	if p.Versioned {
		current = refusal.Current.ETag
	}
	x.responder.ReportCondition(refusal.Condition, current)
	header := x.rw.Header()
	x.origin.session.tell(header)
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
	x.cross.Ask()
	x.cross.Allow(header)
	return x.responder.Send(refusal.Status, content.kept.Bytes())
}

// boundedBuffer buffers content up to a limit.
type boundedBuffer struct {
	kept   bytes.Buffer // not embedded: its other methods know no limit
	left   int64        // below zero if there was more
	memory *proxyhooks.Memory
}

var errTooMuch = errors.New("too much content")

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 || !b.memory.Take(int64(len(p))) {
		b.left = -1
		return 0, errTooMuch
	}
	return b.kept.Write(p)
}
