package answer

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// s3Codes are the codes by which clients of S3 tell errors apart, by status. A status without
// one has its own name for a code.
var s3Codes = map[int]string{
	http.StatusBadRequest:           "InvalidRequest",
	http.StatusNotFound:             "NoSuchKey",
	http.StatusConflict:             "ConditionalRequestConflict",
	http.StatusPreconditionFailed:   "PreconditionFailed",
	http.StatusPreconditionRequired: "PreconditionRequired",
	http.StatusNotImplemented:       "NotImplemented",
	http.StatusServiceUnavailable:   "ServiceUnavailable",
}

// s3Error is the content of a refusal as S3 sends its errors. The condition counts only in
// a 412.
type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string   `xml:"Code"`
	Message   string   `xml:"Message"`
	Condition string   `xml:"Condition,omitempty"`
	Resource  string   `xml:"Resource"`
	RequestID string   `xml:"RequestId,omitempty"`
}

// forS3 returns a refusal with the status that S3 would give it, and its code.
func forS3(r Refusal, conditional bool) (Refusal, string) {
	missing := r.Outcome == Failed && r.Current.State == validator.Absent && r.Condition == validator.IfMatch
	switch {
	case r.Status == http.StatusPreconditionFailed && missing:
		r.Status = http.StatusNotFound
	case r.waited && conditional:
		r.Status = http.StatusConflict
	case r.Outcome == Conflict:
		return r, "SlowDown"
	case r.Status == http.StatusRequestHeaderFieldsTooLarge:
		r.Status = http.StatusBadRequest
		return r, "RequestHeaderSectionTooLarge"
	}
	if code, ok := s3Codes[r.Status]; ok {
		return r, code
	}
	return r, strings.ReplaceAll(http.StatusText(r.Status), " ", "")
}

// s3Content returns the content of a refusal as S3 sends its errors.
func s3Content(a *Responder, r Refusal, code string) ([]byte, error) {
	path, _, _ := strings.Cut(a.Request.OriginalTarget, "?")
	content := s3Error{Code: code, Message: r.Detail, Resource: path, RequestID: a.Writer.Header().Get("X-Amz-Request-Id")}
	if r.Status == http.StatusPreconditionFailed {
		content.Condition = cmp.Or(r.premise, r.Condition.String())
	}
	text, err := xml.Marshal(content)
	return append([]byte(xml.Header), text...), err
}
