package clients

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// With errors s3, clients of S3 read refusals as they read those of S3, whatever the backend is.
func TestErrorsS3(t *testing.T) {
	t.Parallel()
	backend := caddytest.Page("content", "X-Amz-Request-Id", "R1", "X-Amz-Checksum-Crc32", "AAAAAA==")
	url := caddytest.Site(t, "errors s3\nwait 1ms\nrequire PATCH", backend) + "/bucket/key"
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	expect := func(a caddytest.Answer, status int, code, condition string) {
		t.Helper()
		var got struct {
			XMLName                   xml.Name `xml:"Error"`
			Code, Condition, Resource string
		}
		if err := xml.Unmarshal([]byte(a.Expect(t, status).Content), &got); err != nil || got.Code != code || got.Condition != condition || !strings.HasPrefix(got.Resource, "/bucket/") {
			t.Errorf("%v: %s", err, a.Content)
		}
		if a.Header.Get("Content-Type") != "application/xml" {
			t.Errorf("%v", a.Header)
		}
	}
	expect(caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`), 412, "PreconditionFailed", "If-Match")
	expect(caddytest.Send(t, "PUT", url, "x", "If-None-Match", "*"), 412, "PreconditionFailed", "If-None-Match")
	expect(caddytest.Send(t, "PATCH", url, "x"), 428, "PreconditionRequired", "")
	read := caddytest.Send(t, "GET", url, "", "If-Match", `"stale"`)
	expect(read, 412, "PreconditionFailed", "If-Match")
	if read.Header.Get("X-Amz-Request-Id") != "R1" {
		t.Errorf("%v", read.Header)
	}
	bare := caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304)
	if bare.Content != "" || bare.Header.Get("Content-Type")+bare.Header.Get("X-Amz-Checksum-Crc32") != "" {
		t.Errorf("%v %s", bare.Header, bare.Content)
	}
	if head := caddytest.Send(t, "HEAD", url, "", "If-Match", `"stale"`).Expect(t, 412); head.Content != "" {
		t.Errorf("%s", head.Content)
	}

	backend.Answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	absent := caddytest.Site(t, "errors s3", backend) + "/bucket/absent"
	expect(caddytest.Send(t, "PUT", absent, "x", "If-Match", `"x"`), 404, "NoSuchKey", "")
	expect(caddytest.Send(t, "DELETE", absent, "", "If-Match", `"x"`), 404, "NoSuchKey", "")
	away := caddytest.Site(t, "errors s3\nstore redis redis://127.0.0.1:1", backend) + "/bucket/key"
	expect(caddytest.Send(t, "PUT", away, "x", "If-Match", `"x"`), 503, "ServiceUnavailable", "")
}

// A write that waited in vain for another one is told so in a way that clients of S3 know: it
// is a conflict if the write has a condition.
func TestErrorsS3Conflict(t *testing.T) {
	t.Parallel()
	gate := caddytest.NewGate()
	backend := caddytest.Page("content")
	page := backend.Answer
	backend.Answer = func(w http.ResponseWriter, r *http.Request) {
		gate.Pass(r)
		page(w, r)
	}
	url := caddytest.Site(t, "errors s3\nwait 1ms", backend) + "/bucket/key"
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	done := gate.SendHolding(t.Context(), t, "PUT", "PUT", url, "x", "If-Match", tag)
	caddytest.Send(t, "PUT", url, "y", "If-Match", tag).Expect(t, 409)
	caddytest.Send(t, "PUT", url, "y").Expect(t, 503)
	gate.Open()
	caddytest.ExpectResult(t, done, 204)
}
