package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Refused is what a template can show of a refusal. A text without a value is empty.
type Refused struct {
	Status       int    // such as 412
	Title        string // the status in words
	Type         string // the URL that names the kind of refusal
	Detail       string // what is wrong, and what to do next
	Outcome      string // such as failed
	Condition    string // the field that decided, such as If-Match
	Provided     Tag    // that field's value, as sent
	CurrentETag  Tag
	LastModified Date
	RetryAfter   int    // in seconds, or 0
	Method       string // of the request
	Target       string // its path and query, as sent
	Now          Date
}

// newRefused returns what a template can show of a refusal of a request.
func newRefused(r *resource.Request, refusal Refusal, p problem) Refused {
	return Refused{
		Status:       p.Status,
		Title:        p.Title,
		Type:         p.Type,
		Detail:       strings.ToValidUTF8(p.Detail, "\ufffd"),
		Outcome:      string(refusal.Outcome),
		Condition:    p.Condition,
		Provided:     Tag(strings.ToValidUTF8(p.Provided, "\ufffd")),
		CurrentETag:  Tag(strings.ToValidUTF8(p.CurrentETag, "\ufffd")),
		LastModified: Date(p.LastModified),
		RetryAfter:   refusal.retryAfter(),
		Method:       r.Method,
		Target:       strings.ToValidUTF8(r.OriginalTarget, "\ufffd"),
		Now:          Date(validator.FormatDate(time.Now())),
	}
}

// Tag is an entity tag as it is sent, or another value of a field with a condition.
type Tag string

// Opaque returns the tag without its quotes and without W/. If t isn't one tag, it returns t.
func (t Tag) Opaque() string {
	if tag, ok := validator.ParseETag(string(t)); ok {
		return tag.Opaque
	}
	return string(t)
}

// Date is an HTTP-date (RFC 9110, section 5.6.7), or empty.
type Date string

// ISO returns the date as RFC 3339 writes it, such as 2025-11-03T12:00:00Z.
func (d Date) ISO() string {
	t, err := http.ParseTime(string(d))
	if err != nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Unix returns the seconds since 1970, or 0 without a date.
func (d Date) Unix() int64 {
	t, err := http.ParseTime(string(d))
	if err != nil {
		return 0
	}
	return t.Unix()
}

// sampleRefusals are refusals of every kind, with and without all that may be missing. What
// clients and backends choose is in them as awkward as can be.
func sampleRefusals() (all []Refused) {
	for _, kind := range []struct {
		status  int
		outcome Outcome
	}{
		{http.StatusBadRequest, Unverifiable},
		{http.StatusNotFound, Failed},
		{http.StatusPreconditionFailed, Failed},
		{http.StatusPreconditionFailed, Unverifiable},
		{http.StatusPreconditionRequired, Required},
		{http.StatusRequestHeaderFieldsTooLarge, Unverifiable},
		{http.StatusServiceUnavailable, Conflict},
		{http.StatusServiceUnavailable, Unavailable},
		{http.StatusServiceUnavailable, Unverifiable},
	} {
		bare := Refused{
			Status: kind.status, Title: http.StatusText(kind.status), Type: problemTypes, Detail: "No.",
			Outcome: string(kind.outcome), Method: http.MethodPut, Target: "/", Now: exampleDate,
		}
		full := bare
		full.Condition, full.Provided, full.CurrentETag = "If-Match", "\"\\\", W/\"<&'\", \u2028", `W/"\'<&"`
		full.LastModified, full.RetryAfter, full.Target = exampleDate, 5, "/a?b=<&\"'\\"
		plain := full
		plain.Provided, plain.CurrentETag = `"a"`, `"b"`
		all = append(all, bare, full, plain)
	}
	return all
}
