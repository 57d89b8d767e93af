package answer

import (
	"encoding/xml"
	"io"
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/validator"
)

// A refusal for clients of WebDAV is a DAV:error that names the condition (RFC 4918, section 16),
// whatever the rest of it contains.
func TestWebDAVRefusals(t *testing.T) {
	t.Parallel()
	current := validator.Representation{State: validator.Present, ETag: validator.ETag{Opaque: "2<&", Valid: true}}
	for name, refusal := range map[string]Refusal{
		"precondition-failed":             {Status: 412, Outcome: Failed, Condition: validator.IfMatch, Current: current, Detail: "a < b & \x00\xff"},
		"precondition-required":           {Status: 428, Outcome: Required, Detail: "x"},
		"service-unavailable":             WriteInFlight(),
		"request-header-fields-too-large": TooLarge(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, w := newResponder(t, http.MethodPut)
			a.WebDAV = true
			if err := a.Refuse(refusal); err != nil {
				t.Fatal(err)
			}
			response := w.Result()
			defer response.Body.Close()
			content, _ := io.ReadAll(response.Body)
			const ours = "https://github.com/caddy-preconditions/preconditions#"
			var got struct {
				XMLName   xml.Name `xml:"DAV: error"`
				Detail    string   `xml:"https://github.com/caddy-preconditions/preconditions# detail"`
				Condition string   `xml:"https://github.com/caddy-preconditions/preconditions# condition"`
				Tag       string   `xml:"https://github.com/caddy-preconditions/preconditions# current-etag"`
				Elements  []struct {
					XMLName xml.Name
				} `xml:",any"`
			}
			if err := xml.Unmarshal(content, &got); err != nil || response.StatusCode != refusal.Status || response.Header.Get("Content-Type") != "application/xml; charset=utf-8" {
				t.Fatalf("%d, %s, %v: %s", response.StatusCode, response.Header.Get("Content-Type"), err, content)
			}
			if len(got.Elements) != 1 || got.Elements[0].XMLName != (xml.Name{Space: ours, Local: name}) || got.Detail == "" ||
				got.Condition != refusal.Condition.String() || refusal.Status == 412 && got.Tag != `"2<&"` {
				t.Errorf("%+v in %s", got, content)
			}
		})
	}
}
