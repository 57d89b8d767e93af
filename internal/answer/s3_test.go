package answer

import (
	"encoding/xml"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// A refusal for clients of S3 has the status and the code by which they tell errors apart,
// whatever the rest of it contains.
func TestS3Refusals(t *testing.T) {
	t.Parallel()
	absent := validator.Representation{State: validator.Absent}
	failed := Refusal{Status: 412, Outcome: Failed, Condition: validator.IfMatch, Detail: "a < b & \x00\xff"}
	missing := failed
	missing.Current = absent
	grace := GraceRunning("restarted", 2*time.Second)
	for _, tt := range []struct {
		name            string
		refusal         Refusal
		conditional     bool
		status          int
		code, condition string
	}{
		{"another tag", failed, true, 412, "PreconditionFailed", "If-Match"},
		{"no such object", missing, true, 404, "NoSuchKey", ""},
		{"nothing to delete", Refusal{Status: 404, Outcome: Failed, Condition: validator.IfMatch, Current: absent}, true, 404, "NoSuchKey", ""},
		{"it exists", Refusal{Status: 412, Outcome: Failed, Condition: validator.IfNoneMatch}, true, 412, "PreconditionFailed", "If-None-Match"},
		{"waited in vain", WriteInFlight(), true, 409, "ConditionalRequestConflict", ""},
		{"waited in vain after a reload", OlderWriteInFlight(), true, 409, "ConditionalRequestConflict", ""},
		{"waited in vain without a condition", WriteInFlight(), false, 503, "SlowDown", ""},
		{"grace", grace, true, 503, "SlowDown", ""},
		{"the store is away", Refusal{Status: 503, Outcome: Unavailable}, true, 503, "ServiceUnavailable", ""},
		{"can't be verified", Refusal{Status: 503, Outcome: Unverifiable, Condition: validator.IfMatch}, true, 503, "ServiceUnavailable", ""},
		{"no condition", Refusal{Status: 428, Outcome: Required}, false, 428, "PreconditionRequired", ""},
		{"unclear", Unclear("why"), true, 400, "InvalidRequest", ""},
		{"too many tags", TooLarge(), true, 400, "RequestHeaderSectionTooLarge", ""},
		{"not implemented", NotUnderstood(501, "why"), true, 501, "NotImplemented", ""},
		{"too long", NotUnderstood(413, "why"), true, 413, "RequestEntityTooLarge", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, w := newResponder(t, http.MethodPut)
			a.S3, a.Request.Conditional = true, tt.conditional
			a.Request.OriginalTarget = "/b/k%20<&?x-id=PutObject"
			w.Header().Set("X-Amz-Request-Id", "R1")
			if err := a.Refuse(tt.refusal); err != nil {
				t.Fatal(err)
			}
			response := w.Result()
			defer response.Body.Close()
			content, _ := io.ReadAll(response.Body)
			var got struct {
				XMLName                                       xml.Name `xml:"Error"`
				Code, Message, Condition, Resource, RequestID string
			}
			if err := xml.Unmarshal(content, &got); err != nil {
				t.Fatalf("%v: %q", err, content)
			}
			if response.StatusCode != tt.status || got.Code != tt.code || got.Condition != tt.condition || got.Resource != "/b/k%20<&" {
				t.Errorf("status %d: %s", response.StatusCode, content)
			}
			if response.Header.Get("Content-Type") != "application/xml" || response.Header.Get("X-Amz-Request-Id") != "R1" {
				t.Errorf("%v", response.Header)
			}
		})
	}
}

// A refused HEAD has no content.
func TestS3RefusedHead(t *testing.T) {
	t.Parallel()
	a, w := newResponder(t, http.MethodHead)
	a.S3 = true
	if err := a.Refuse(Refusal{Status: 412, Outcome: Failed, Condition: validator.IfMatch}); err != nil || w.Body.Len() > 0 || w.Code != 412 {
		t.Errorf("status %d, %v: %s", w.Code, err, w.Body)
	}
}
