package preconditions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// refusal is an answer that the handler gives instead of the backend.
type refusal struct {
	status     int
	outcome    outcome
	detail     string          // for the client: what is wrong and what to do next
	reason     string          // for logs: the same in a few words
	condition  validator.Field // the condition that decided, if one did
	current    validator.Representation
	retryAfter time.Duration // sent if above zero
}

// problem is the content of a refusal (RFC 9457).
type problem struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Detail       string `json:"detail"`
	Condition    string `json:"condition,omitempty"`
	Provided     string `json:"provided,omitempty"`
	CurrentETag  string `json:"current_etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

const problemTypes = "https://github.com/caddy-preconditions/preconditions#"

// refuse answers the request. The answer goes out before the request content
// is read.
func (x *exchange) refuse(f refusal) error {
	x.report(f.outcome, f.reason)
	return x.sendRefusal(f)
}

func (x *exchange) sendRefusal(f refusal) error {
	x.reportCondition(f.condition, f.current.ETag)
	title := http.StatusText(f.status)
	p := problem{
		Type:      problemTypes + strings.ReplaceAll(strings.ToLower(title), " ", "-"),
		Title:     title,
		Status:    f.status,
		Detail:    f.detail,
		Condition: f.condition.String(),
		Provided:  provided(x.conditions, f.condition),
	}
	header := x.w.Header()
	removeRepresentationMetadata(header)
	header.Set("Cache-Control", "no-store")
	if f.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((f.retryAfter+time.Second-1)/time.Second), 10))
	}
	if *x.h.Disclose && f.condition != validator.None {
		if f.current.ETag.Valid {
			p.CurrentETag = f.current.ETag.String()
			header.Set("ETag", p.CurrentETag)
		}
		if !f.current.LastModified.IsZero() && !f.current.WeakDate {
			p.LastModified = validator.FormatDate(f.current.LastModified)
			header.Set("Last-Modified", p.LastModified)
		}
	}
	content, err := json.Marshal(p)
	if err != nil {
		return err
	}
	x.repl.Set("http.preconditions.problem", string(content))
	content = append(content, '\n')
	if x.h.Errors == errorsCaddy {
		x.answerBeforeContent()
		return caddyhttp.Error(f.status, errors.New(f.detail))
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(content)))
	return x.sendFinal(f.status, content)
}

// sendFinal sends an answer of the handler's own, and then takes care that it
// arrives.
func (x *exchange) sendFinal(status int, content []byte) error {
	x.answerBeforeContent()
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead && content != nil {
		if _, err := x.w.Write(content); err != nil {
			return nil // the client is gone
		}
	}
	readOff(x.w, x.r)
	return nil
}

// removeRepresentationMetadata removes what describes a representation that is
// not sent.
func removeRepresentationMetadata(h http.Header) {
	for name := range h {
		switch {
		case strings.HasPrefix(name, "Content-Security-Policy"): // describes nothing
		case strings.HasPrefix(name, "Content-"), strings.HasPrefix(name, "X-Amz-Checksum-"),
			name == "Etag", name == "Last-Modified", name == "Accept-Ranges", name == "Digest",
			name == "Repr-Digest", name == "Transfer-Encoding", name == "Trailer":
			delete(h, name)
		}
	}
}

// provided returns what the client sent in a field.
func provided(c validator.Conditions, f validator.Field) string {
	var lines []string
	switch f {
	case validator.IfMatch:
		lines = c.IfMatch
	case validator.IfNoneMatch:
		lines = c.IfNoneMatch
	case validator.IfModifiedSince:
		lines = c.IfModifiedSince
	case validator.IfUnmodifiedSince:
		lines = c.IfUnmodifiedSince
	}
	return strings.Join(lines, ", ")
}

// What is read of a request that was refused, so that the answer arrives: a
// connection that is closed with unread content is reset, and the client may
// lose the answer with it.
const (
	maxReadOff     = 16 << 20
	maxReadOffTime = 5 * time.Second
	// a client that waits for 100 (Continue) sends nothing any more
	maxReadOffExpect = 500 * time.Millisecond
)

// answerBeforeContent has the answer sent at once: Caddy's HTTP/1 server would
// hold it back until the content has come, of which a client that expects 100
// (Continue) sends nothing (RFC 9110, section 10.1.1). Then it is for readOff to
// see to the content; where that isn't called or can't end, the connection must,
// lest what is left be taken for another request (RFC 9112, section 9.3).
func (x *exchange) answerBeforeContent() {
	if x.r.ProtoMajor != 1 || !proxyhooks.Awaited(x.r) {
		return
	}
	_ = http.NewResponseController(x.w).EnableFullDuplex() // without it, the answer is late
	if x.h.Errors == errorsCaddy || expectsContinue(x.r) || x.r.ContentLength > maxReadOff {
		x.w.Header().Set("Connection", "close")
	}
}

// readOff sends what was written and discards what the client still sends,
// within bounds.
func readOff(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || !proxyhooks.Awaited(r) {
		return
	}
	c := http.NewResponseController(w)
	patience := maxReadOffTime
	if expectsContinue(r) {
		patience = maxReadOffExpect
	}
	if c.Flush() == nil && c.SetReadDeadline(time.Now().Add(patience)) == nil {
		n, err := io.CopyN(io.Discard, r.Body, maxReadOff)
		if err == io.EOF && n < maxReadOff {
			_ = c.SetReadDeadline(time.Time{}) // the connection can go on
			return
		}
	}
	closeAfterAnswer(w)
}

// closeAfterAnswer has net/http close an HTTP/1 connection once the answer is
// complete. With full duplex it doesn't do so by itself when content is left
// that did not come in time, or is malformed. What it offers for this is a
// MaxBytesReader that has hit its limit.
func closeAfterAnswer(w http.ResponseWriter) {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	tooLarge := http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = io.Copy(io.Discard, tooLarge)
}

func expectsContinue(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// tooMany reports whether there are more conditions than any honest client sends.
func (x *exchange) tooMany() bool { return x.conditions.CheckSize() != nil }

// tooLarge refuses more conditions than any honest client sends (RFC 6585,
// section 5).
func (x *exchange) tooLarge() refusal {
	return refusal{
		status:  http.StatusRequestHeaderFieldsTooLarge,
		outcome: outcomeUnverifiable,
		reason:  "too many conditions",
		detail: fmt.Sprintf("The conditional request fields hold more than %d entity tags or %d bytes. Send the tags that you need.",
			validator.MaxTags, validator.MaxBytes),
	}
}

// required refuses a write that has no condition (RFC 6585, section 3).
func (x *exchange) required() refusal {
	return refusal{
		status:  http.StatusPreconditionRequired,
		outcome: outcomeRequired,
		reason:  "no condition",
		detail: "This request must be conditional. Read the resource, and send its ETag in If-Match; " +
			"to create it, send If-None-Match: *.",
	}
}

// conflict refuses a write that waited in vain for another one, or for the time in
// which the store, having lost its data, can't know of one.
func (x *exchange) conflict() refusal {
	return refusal{
		status:     http.StatusServiceUnavailable,
		outcome:    outcomeConflict,
		reason:     "another write is in flight",
		detail:     "Another write of this resource may still be under way. Nothing was changed; try again later.",
		retryAfter: time.Second,
	}
}

// unavailable refuses a write because somebody can't be asked.
func (x *exchange) unavailable(reason string) refusal {
	return refusal{
		status:     http.StatusServiceUnavailable,
		outcome:    outcomeUnavailable,
		reason:     reason,
		detail:     "It can't be told now whether this request may be performed: " + reason + ". Nothing was changed; try again later.",
		retryAfter: time.Duration(x.h.StoreDown.RetryAfter),
	}
}

// leaseLost answers a write that was forwarded, and of which nobody knows whether
// it was made.
func (x *exchange) leaseLost() refusal {
	f := x.unavailable("the claim was lost while the backend worked")
	f.detail = "The claim on this resource was lost while the backend worked: whether the request was performed is unknown. Read the resource before you try again."
	return f
}

// failed refuses a request whose condition is false or can't be verified.
func (x *exchange) failed(res validator.Result, current validator.Representation) refusal {
	f := refusal{
		status:    http.StatusPreconditionFailed,
		outcome:   outcomeFailed,
		reason:    res.Field.String() + ": " + res.Reason.String(),
		detail:    failureDetail(res),
		condition: res.Field,
		current:   current,
	}
	if res.Verdict == validator.Unverifiable {
		f.outcome = outcomeUnverifiable
	}
	if current.State == validator.Absent && x.method == http.MethodDelete {
		// What is absent can't be deleted, whatever the condition (RFC 9110,
		// section 13.2.1).
		f.status = http.StatusNotFound
		f.detail = "There is nothing to delete."
	}
	return f
}

// unverifiable refuses a write whose condition can't be decided because of what
// the origin answered.
func (x *exchange) unverifiable(field validator.Field, why string) refusal {
	return refusal{
		status:    http.StatusPreconditionFailed,
		outcome:   outcomeUnverifiable,
		reason:    why,
		detail:    "The condition can't be verified: " + why + ".",
		condition: field,
	}
}

func failureDetail(res validator.Result) string {
	const again = " Read the resource again, merge your change, and send it with the new ETag."
	field := res.Field.String()
	switch res.Reason {
	case validator.NoMatch:
		return field + " lists no entity tag that is current." + again
	case validator.Matched:
		return field + " lists the current entity tag." + again
	case validator.Exists:
		return "The resource exists already." + again
	case validator.DoesNotExist:
		return "The resource doesn't exist (any more), so that " + field + " can't hold."
	case validator.Modified:
		return "The resource was modified after the date in " + field + "." + again
	case validator.EmptyList:
		return field + " is present but lists no entity tag, so that it can't hold."
	case validator.Malformed:
		return fmt.Sprintf("%s is malformed at offset %d: a list of quoted entity tags or a single * is needed.", field, res.Offset)
	case validator.WildcardInList:
		return fmt.Sprintf("%s has * among other members at offset %d: it counts only alone.", field, res.Offset)
	case validator.WeakListed:
		return field + " lists only weak entity tags, which never match here (strong comparison)."
	case validator.WeakCurrent:
		return "The current entity tag is weak, so that " + field + " can't hold (strong comparison)."
	case validator.WeakDate:
		return "The resource was modified a moment ago, so that " + field + " proves nothing yet." + again
	case validator.NotKnown:
		return "The resource has no entity tag, so that " + field + " can't be verified."
	default:
		return field + " doesn't hold: " + res.Reason.String() + "."
	}
}
