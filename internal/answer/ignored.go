package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// ignored says which conditions of the request RFC 9110 tells servers to ignore, and why: to
// the operator in a few words, and to the client in sentences.
func (a *Responder) ignored(fields validator.Fields) (reason, detail string) {
	var reasons, details []string
	for _, field := range [...]validator.Field{validator.IfUnmodifiedSince, validator.IfModifiedSince, validator.IfNoneMatch} {
		if !fields.Has(field) {
			continue
		}
		if reason, detail := whyIgnored(a, field); reason != "" {
			reasons, details = append(reasons, field.String()+": ignored, "+reason), append(details, detail)
		}
	}
	return strings.Join(reasons, "; "), strings.Join(details, " ")
}

// whyIgnored says why a field of the request had to be ignored. It says nothing of an
// If-Modified-Since that every browser sends beside If-None-Match.
func whyIgnored(a *Responder, field validator.Field) (reason, detail string) {
	c, name := a.Request.Conditions, field.String()
	read := a.Request.Meaning == http.MethodGet || a.Request.Meaning == http.MethodHead
	switch {
	case field == validator.IfNoneMatch:
		return "lists no entity tag", name + " lists no entity tag, so it is no condition."
	case field == validator.IfModifiedSince && !read:
		return "for GET and HEAD only", name + " is for GET and HEAD only (RFC 9110, section 13.1.3), so it had to be ignored."
	case field == validator.IfModifiedSince && c.IfNoneMatch != nil:
		return "", ""
	case field == validator.IfUnmodifiedSince && c.IfMatch != nil:
		return "If-Match decides", name + " had to be ignored beside If-Match (RFC 9110, section 13.1.4)."
	case c.HasDate(field, time.Now()):
		return "no modification date", "There is no modification date to compare " + name + " with, so it had to be ignored (RFC 9110, section 13.1)."
	case len(c.Lines(field)) > 1:
		return "several field lines", name + " has several field lines, so it had to be ignored: send one HTTP-date (RFC 9110, section 5.6.7)."
	default:
		return "not an HTTP-date", name + " isn't an HTTP-date (RFC 9110, section 5.6.7), so it had to be ignored; write it like " + exampleDate + "."
	}
}

// exampleDate is the example of RFC 9110, section 5.6.7.
const exampleDate = "Sun, 06 Nov 1994 08:49:37 GMT"

// Ignored says in a few words which conditions of the request had to be ignored, and why. It
// returns nothing if there are none.
func (a *Responder) Ignored(fields validator.Fields) string {
	reason, _ := a.ignored(fields)
	return reason
}
