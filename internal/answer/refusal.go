package answer

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Refusal is an answer that the handler gives in place of the backend.
type Refusal struct {
	Status  int
	Outcome Outcome

	// Detail tells the client what is wrong and what to do next. Reason tells
	// the operator the same in a few words.
	Detail string
	Reason string

	// Code is the reason as one of a fixed set.
	Code telemetry.Reason

	// Condition is the field that decided, or None. Current is what it was compared
	// with.
	Condition validator.Field
	Current   validator.Representation

	// RetryAfter says when to try again. It is sent if it is above zero.
	RetryAfter time.Duration

	waited bool // in vain, for another write

	// premise is the name of the field that decided, if its condition is about another resource
	// than the target.
	premise string
}

// retryAfter returns the value of Retry-After in seconds, or 0.
func (r Refusal) retryAfter() int {
	return int((max(0, r.RetryAfter) + time.Second - 1) / time.Second)
}

// As returns the refusal with a reason of the fixed set.
func (r Refusal) As(code telemetry.Reason) Refusal {
	r.Code = code
	return r
}

// code returns the reason as one of a fixed set.
func (r Refusal) code() telemetry.Reason { return cmp.Or(r.Code, telemetry.Unspecified) }

// codes are the reasons of conditions that don't hold.
var codes = func() (list [validator.ReadsOnly + 1]telemetry.Reason) {
	for r := range list {
		list[r] = telemetry.Reason(strings.ReplaceAll(validator.Reason(r).String(), " ", "_"))
	}
	return list
}()

// TooLarge refuses more conditions than any honest client sends (RFC 6585,
// section 5).
func TooLarge() Refusal {
	return Refusal{
		Status:  http.StatusRequestHeaderFieldsTooLarge,
		Outcome: Unverifiable,
		Reason:  "too many conditions",
		Code:    telemetry.TooManyConditions,
		Detail: fmt.Sprintf("The conditional request fields hold more than %d entity tags or %d bytes. Send only the tags that you need.",
			validator.MaxTags, validator.MaxBytes),
	}
}

// Unclear refuses a request that the backend may take for something else than the handler
// does, and says why.
func Unclear(why string) Refusal {
	return Refusal{
		Status:  http.StatusBadRequest,
		Outcome: Unverifiable,
		Reason:  why,
		Code:    telemetry.UnclearRequest,
		Detail:  "Nobody can tell what this request would change: " + why + ". Nothing was changed.",
	}
}

// NotUnderstood refuses a write because nobody can tell what its condition is or is about, and
// says why.
func NotUnderstood(status int, why string) Refusal {
	return Refusal{
		Status:  status,
		Outcome: Unverifiable,
		Reason:  why,
		Code:    telemetry.UnclearRequest,
		Detail:  "Nobody can tell whether this write may be performed: " + why + ". Nothing was changed.",
	}
}

// NoVersion refuses a write whose version can't be a tag, and so is nobody's.
func NoVersion(p resource.Place) Refusal {
	return Refusal{
		Status:    http.StatusPreconditionFailed,
		Outcome:   Failed,
		Reason:    "If-Match (" + p.String() + "): " + validator.Malformed.String(),
		Code:      codes[validator.Malformed],
		Detail:    sentence(p.Text() + " is no version: send one entity tag, with its quotes or without them."),
		Condition: validator.IfMatch,
	}
}

// Contradiction refuses a write with two versions, which can't both be the current one.
func Contradiction(p resource.Place) Refusal {
	return Refusal{
		Status:    http.StatusPreconditionFailed,
		Outcome:   Failed,
		Reason:    "If-Match (" + p.String() + "): another version than elsewhere in the request",
		Code:      telemetry.Contradiction,
		Detail:    sentence(p.Text() + " and the rest of the request name different versions, and both can't be current. Read the resource again, and send its version once."),
		Condition: validator.IfMatch,
	}
}

// sentence returns a sentence with a capital letter at its beginning.
func sentence(text string) string {
	if text == "" || text[0] >= 'A' && text[0] <= 'Z' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// orElsewhere names the other places in which clients may send a version.
func orElsewhere(places []resource.Place) (text string) {
	for _, p := range places {
		text += " or " + p.Text()
	}
	return text
}

// nameOf names a field of conditions in a sentence, and for the log.
func (a *Responder) nameOf(field validator.Field) (text, short string) {
	place := a.Request.Place
	if field != validator.IfMatch || place.Kind == "" {
		return field.String(), field.String()
	}
	return place.Text() + ", which counts as If-Match,", "If-Match (" + place.String() + ")"
}

// ConditionRequired refuses a write without a condition (RFC 6585, section 3), or with
// nothing but conditions that had to be ignored.
func (a *Responder) ConditionRequired(ignored validator.Fields) Refusal {
	refusal := Refusal{
		Status:  http.StatusPreconditionRequired,
		Outcome: Required,
		Reason:  "no condition",
		Code:    telemetry.NoCondition,
		Detail: "This request must be conditional. Read the resource, and send its ETag in If-Match" + orElsewhere(a.Places) + "; " +
			"to create it, send If-None-Match: *.",
	}
	if reason, detail := a.ignored(ignored); reason != "" {
		refusal.Reason, refusal.Detail = reason, detail+" "+refusal.Detail
		refusal.Code = telemetry.ConditionIgnored
	}
	return refusal
}

// WriteInFlight refuses a write that waited in vain for another write.
func WriteInFlight() Refusal {
	return Refusal{
		Status:     http.StatusServiceUnavailable,
		Outcome:    Conflict,
		Reason:     "another write is in flight",
		Code:       telemetry.WriteInFlight,
		Detail:     "Another write of this resource may still be under way. Nothing was changed; try again later.",
		RetryAfter: time.Second,
		waited:     true,
	}
}

// GraceRunning refuses a write that can't wait until a grace is over: the store has lost
// data, and may have forgotten writes that are under way.
func GraceRunning(loss string, left time.Duration) Refusal {
	left = (left + time.Second - 1).Truncate(time.Second)
	until := time.Now().Add(left).UTC().Format(time.TimeOnly + " UTC")
	return Refusal{
		Status:  http.StatusServiceUnavailable,
		Outcome: Conflict,
		Reason:  "the store may have lost its data (" + loss + "): no write passes until " + until,
		Code:    telemetry.GraceRunning,
		Detail: "The store of this gateway may have lost its data, and until " + until + " a write that it has forgotten may still be under way. " +
			"Nothing was changed; try again then.",
		RetryAfter: left,
	}
}

// OlderWriteInFlight refuses a write that waited in vain for writes from before a
// reload of the config that has changed the keys of resources: one of them may be a
// write of the same resource.
func OlderWriteInFlight() Refusal {
	refusal := WriteInFlight().As(telemetry.OlderWrites)
	refusal.Reason = "writes from before the last reload, which changed the keys of resources, are in flight"
	refusal.Detail = "Writes that began before the configuration of the server was replaced may still be under way. Nothing was changed; try again later."
	return refusal
}

// ConfigReplaced refuses a write that comes in under a config that was replaced. The
// new config names resources differently, and its writes are already being let
// through. The client's next request must reach the new config, so its connection
// ends.
func (a *Responder) ConfigReplaced() Refusal {
	if a.Request.ProtoMajor <= 2 { // HTTP/2 makes a GOAWAY of it
		a.Writer.Header().Set("Connection", "close")
	}
	refusal := WriteInFlight().As(telemetry.ConfigReplaced)
	refusal.waited = false
	refusal.Reason = "the connection belongs to the config before the last reload, which changed the keys of resources"
	refusal.Detail = "The configuration of the server has just been replaced. Nothing was changed; send the request again."
	return refusal
}

// CannotTell refuses a write because the store or the origin can't be asked. The
// reason goes to the operator and to the client.
func (a *Responder) CannotTell(reason string) Refusal {
	what := "This write can't be let through right now: "
	if resource.HasConditions(a.Request) {
		what = "The condition can't be checked right now: "
	}
	return Refusal{
		Status:     http.StatusServiceUnavailable,
		Outcome:    Unavailable,
		Reason:     reason,
		Detail:     what + reason + ". Nothing was changed; try again later.",
		RetryAfter: a.RetryAfter,
	}
}

// LeaseLost answers a forwarded write that the backend hasn't answered. Nobody knows
// whether it was performed.
func (a *Responder) LeaseLost() Refusal {
	refusal := a.CannotTell("the claim was lost while the backend worked").As(telemetry.ClaimLost)
	refusal.Detail = "The claim on this resource was lost while the backend worked: nobody knows whether the request was performed. Read the resource before you try again."
	return refusal
}

// ConditionFailed refuses a request whose condition is false or can't be verified.
func (a *Responder) ConditionFailed(res validator.Result, current validator.Representation) Refusal {
	text, short := a.nameOf(res.Field)
	refusal := Refusal{
		Status:    http.StatusPreconditionFailed,
		Outcome:   Failed,
		Reason:    short + ": " + failureReason(res),
		Code:      codes[res.Reason],
		Detail:    sentence(failureDetail(res, text)),
		Condition: res.Field,
		Current:   current,
	}
	if res.Verdict == validator.Unverifiable {
		refusal.Outcome = Unverifiable
	}
	if sent := noTagKept(res, a.Request.Conditions.Lines(res.Field)); sent != "" {
		refusal.Reason += ", no tag kept"
		refusal.Code = telemetry.NoTagKept
		refusal.Detail = sentence(text) + " is " + sent + ", which is no entity tag of this resource: the client seems to have kept none of the last answer. " +
			"Not every answer to a write has an ETag. Read the resource, and send its ETag as it came, quotes included."
	}
	if current.State == validator.Absent && a.Request.Meaning == http.MethodDelete {
		// What is absent can't be deleted, whatever the condition (RFC 9110,
		// section 13.2.1).
		refusal.Status = http.StatusNotFound
		refusal.Detail = "There is nothing to delete."
	}
	return refusal
}

// Replaced refuses the request because its condition is about a state that a later
// write has replaced. Nothing is known of the present: the origin doesn't show it yet.
func (a *Responder) Replaced(field validator.Field) Refusal {
	text, short := a.nameOf(field)
	return Refusal{
		Status:  http.StatusPreconditionFailed,
		Outcome: Failed,
		Reason:  short + ": replaced",
		Code:    telemetry.Replaced,
		Detail: sentence(text) + " is about a state that a later write has replaced. " +
			"The origin may still show that state for a moment. Read the resource again, merge your change, and send it with the new ETag.",
		Condition: field,
	}
}

// OriginLags refuses a write because the origin still shows a state that a write has
// replaced, so nobody can tell whether the condition holds.
func (a *Responder) OriginLags() Refusal {
	refusal := a.CannotTell("the origin may still show an older state").As(telemetry.OriginLags)
	refusal.RetryAfter = time.Second
	return refusal
}

// NotVerifiable refuses a write because nobody can tell whether the condition in a field
// holds, and says why.
func (a *Responder) NotVerifiable(field validator.Field, why string) Refusal {
	refusal := a.CannotTell(why)
	refusal.Outcome, refusal.Condition = Unverifiable, field
	refusal.Detail = "The condition can't be checked right now: " + why + ". Nothing was changed; try again later."
	return refusal
}

// failureReason says to the operator why a condition failed.
func failureReason(res validator.Result) string {
	reason := res.Reason.String()
	if res.Reason == validator.Weakened {
		reason += ", perhaps made by a proxy or CDN in front that compresses (see weak_tags)"
	}
	return reason
}

// failureDetail says which condition failed, and what to do next.
func failureDetail(res validator.Result, field string) string {
	const again = " Read the resource again, merge your change, and send it with the new ETag."
	switch res.Reason {
	case validator.NoMatch:
		return field + " lists no current entity tag." + again
	case validator.Matched:
		return field + " lists the current entity tag." + again
	case validator.Exists:
		return "The resource already exists." + again
	case validator.DoesNotExist:
		return "The resource doesn't exist, or no longer exists, so " + field + " can't hold."
	case validator.Modified:
		return "The resource was modified after the date in " + field + "." + again
	case validator.EmptyList:
		return field + " is present but lists no entity tag, so it can't hold."
	case validator.Malformed:
		return fmt.Sprintf("%s is malformed at offset %d: send a list of quoted entity tags, or a single *.", field, res.Offset)
	case validator.WildcardInList:
		return fmt.Sprintf("%s contains * among other members, at offset %d: a * counts only alone.", field, res.Offset)
	case validator.WeakListed:
		return field + " lists only weak entity tags, which never match here (strong comparison)."
	case validator.Weakened:
		return field + " lists the current entity tag in its weak form, which never matches here (strong comparison). " +
			"A proxy or CDN in front that compresses responses has probably weakened it on the way; the operator can accept that with the option weak_tags."
	case validator.WeakCurrent:
		return "The current entity tag is weak, so " + field + " can't hold (strong comparison)."
	case validator.WeakDate:
		return "The resource's modification date is from a moment ago, or lies in the future, so " + field + " proves nothing yet." + again
	case validator.NotKnown:
		return "The resource has no entity tag, so " + field + " can't be verified."
	default:
		return field + " doesn't hold: " + res.Reason.String() + "."
	}
}
