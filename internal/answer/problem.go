package answer

import (
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

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

	current string // the current tag, for whoever may learn it
}

const problemTypes = "https://github.com/caddy-preconditions/preconditions#"

// usualTypes are the types of the problems that occur, from status 400 on.
var usualTypes = func() (types [200]string) {
	for i := range types {
		types[i] = makeType(400 + i)
	}
	return types
}()

// typeOf returns the type of problems with a status.
func typeOf(status int) string {
	if i := status - 400; i >= 0 && i < len(usualTypes) {
		return usualTypes[i]
	}
	return makeType(status)
}

func makeType(status int) string {
	return problemTypes + strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "-")
}

// newProblem describes a refusal. It contains what the condition was compared with
// only if disclose is true.
func newProblem(refusal Refusal, provided string, disclose bool) problem {
	title := http.StatusText(refusal.Status)
	p := problem{
		Type:      typeOf(refusal.Status),
		Title:     title,
		Status:    refusal.Status,
		Detail:    refusal.Detail,
		Condition: refusal.Condition.String(),
		Provided:  provided,
	}
	if disclose {
		p.current = refusal.Current.ETag.String()
	}
	if disclose && refusal.Condition != validator.None {
		if refusal.Current.ETag.Valid {
			p.CurrentETag = p.current
		}
		if !refusal.Current.LastModified.IsZero() && !refusal.Current.WeakDate {
			p.LastModified = validator.FormatDate(refusal.Current.LastModified)
		}
	}
	return p
}

// provided returns the value of a field as the client sent it, perhaps elsewhere.
func provided(r *resource.Request, f validator.Field) string {
	if f == validator.IfMatch && r.Place.Kind != "" {
		return r.Sent
	}
	return strings.Join(r.Conditions.Lines(f), ", ")
}
