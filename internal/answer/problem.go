package answer

import (
	"encoding/json"
	"net/http"
	"strings"

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

// newProblem describes a refusal. What the condition was compared with is told
// only if disclose is true.
func newProblem(f Refusal, provided string, disclose bool) problem {
	title := http.StatusText(f.Status)
	p := problem{
		Type:      problemTypes + strings.ReplaceAll(strings.ToLower(title), " ", "-"),
		Title:     title,
		Status:    f.Status,
		Detail:    f.Detail,
		Condition: f.Condition.String(),
		Provided:  provided,
	}
	if disclose && f.Condition != validator.None {
		if f.Current.ETag.Valid {
			p.CurrentETag = f.Current.ETag.String()
		}
		if !f.Current.LastModified.IsZero() && !f.Current.WeakDate {
			p.LastModified = validator.FormatDate(f.Current.LastModified)
		}
	}
	return p
}

func (p problem) json() ([]byte, error) { return json.Marshal(p) }

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
