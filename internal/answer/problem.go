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
}

const problemTypes = "https://github.com/caddy-preconditions/preconditions#"

// newProblem describes a refusal. It contains what the condition was compared with
// only if disclose is true.
func newProblem(refusal Refusal, provided string, disclose bool) problem {
	title := http.StatusText(refusal.Status)
	p := problem{
		Type:      problemTypes + strings.ReplaceAll(strings.ToLower(title), " ", "-"),
		Title:     title,
		Status:    refusal.Status,
		Detail:    refusal.Detail,
		Condition: refusal.Condition.String(),
		Provided:  provided,
	}
	if disclose && refusal.Condition != validator.None {
		if refusal.Current.ETag.Valid {
			p.CurrentETag = refusal.Current.ETag.String()
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
