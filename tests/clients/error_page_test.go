package clients

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// hostileFields are values of If-Match that would end a JSON text if they weren't escaped.
var hostileFields = []string{
	`"stale"`, `W/"stale"`, `"a", "b"`, `","admin":"`, `"\"`, `\"`, `"}`, `"{http.request.host}"`, `"{{.Status}}"`,
	"\"\u2028\"", "\"\xff\xfe\"", "</script>", `"a	b"`,
}

// TestErrorPageInJSON: with the placeholders that end in .json, an error page of one's own is
// JSON, whatever clients send.
func TestErrorPageInJSON(t *testing.T) {
	t.Parallel()
	url := caddytest.OneNodeAt(t, caddytest.Guarded("errors caddy\nrequire", caddytest.Serve(t, caddytest.Page("content")))+`
handle_errors {
	header Content-Type application/json
	respond <<JSON
		{"currentETag": {http.preconditions.current_etag.json}, "sent": {http.preconditions.provided_etag.json},
		 "why": {http.preconditions.reason.json}, "outcome": {http.preconditions.outcome.json}, "condition": {http.preconditions.condition.json},
		 "resource": {http.preconditions.resource.json}, "problem": {http.preconditions.problem.json}}
		JSON
}`).First()
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	pages := func(value string, status int) (page map[string]any) {
		var fields []string
		if value != "" {
			fields = []string{"If-Match", value}
		}
		a := caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, status)
		if err := json.Unmarshal([]byte(a.Content), &page); err != nil || len(page) != 7 {
			t.Fatalf("%q: %v in %s", value, err, a.Content)
		}
		return page
	}
	for _, value := range hostileFields {
		page := pages(value, 412)
		if page["currentETag"] != nil && page["currentETag"] != tag || page["sent"] != strings.ToValidUTF8(value, "\ufffd") && !strings.Contains(value, "\xff") {
			t.Errorf("%q: got %v", value, page)
		}
	}
	if page := pages("", 428); page["sent"] != nil || page["currentETag"] != nil || page["outcome"] != "required" {
		t.Errorf("without a condition: got %v", page)
	}
}
