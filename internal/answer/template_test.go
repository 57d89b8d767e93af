package answer

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// parsed parses a template that must be right.
func parsed(t testing.TB, name, text string) *Template {
	t.Helper()
	template, err := ParseTemplate(name, text, "")
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// The content of a refusal is what the template makes. Everything else is as with problem
// details.
func TestTemplate(t *testing.T) {
	a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
	a.Template = parsed(t, "/etc/caddy/refusals.json", `{"message": "{{.Detail}}", "tag": {{.CurrentETag}}, "opaque": {{.CurrentETag.Opaque}},
		"sent": "{{.Provided}}", "date": {{.LastModified.ISO}}, "http": {{.LastModified}}, "unix": {{.LastModified.Unix}}, "retry": {{.RetryAfter}},
		"all": [{{.Status}}, {{.Title}}, {{.Type}}, {{.Outcome}}, {{.Condition}}, {{.Method}}, {{.Target}}]}`)
	refusal := failed("current")
	refusal.RetryAfter = 1500 * time.Millisecond
	if err := a.Refuse(refusal); err != nil {
		t.Fatal(err)
	}
	want := `{"message": "No.", "tag": "\"current\"", "opaque": "current",
		"sent": "\"sent\"", "date": "1970-01-01T00:00:00Z", "http": "Thu, 01 Jan 1970 00:00:00 GMT", "unix": 0, "retry": 2,
		"all": [412, "Precondition Failed", "` + problemTypes + `precondition-failed", "failed", "If-Match", "PUT", "/page"]}`
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "ETag": `"current"`,
		"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "Retry-After": "2",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if shown, _ := placeholder(a, "problem"); !strings.Contains(shown, `"provided":"\"sent\""`) {
		t.Errorf("the placeholder with the problem is %s", shown)
	}
}

// What isn't there is null, or nothing within a text. With disclose off, the current
// validators aren't there.
func TestTemplateWithoutValues(t *testing.T) {
	const text = `[{{.CurrentETag}}, {{.CurrentETag.Opaque}}, {{.LastModified.ISO}}, "{{.LastModified}}", {{.Condition}}, {{.RetryAfter}}]`
	for _, tt := range []struct {
		name    string
		refusal Refusal
		hide    bool
		want    string
	}{
		{"no condition", Refusal{Status: 428, Outcome: Required}, false, `[null, null, null, "", null, 0]`},
		{"undisclosed", failed("current"), true, `[null, null, null, "", "If-Match", 0]`},
		{"disclosed", failed("current"), false, `["\"current\"", "current", "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT", "If-Match", 0]`},
	} {
		a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
		a.Template, a.Disclose = parsed(t, "a.json", text), !tt.hide
		if err := a.Refuse(tt.refusal); err != nil {
			t.Fatal(err)
		}
		if got := w.Body.String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// HEAD gets the fields of a refusal without its content.
func TestTemplateOfHead(t *testing.T) {
	a, w := newResponder(t, "HEAD", "If-Match", `"sent"`)
	a.Template = parsed(t, "a.txt", "four")
	if err := a.Refuse(failed("current")); err != nil {
		t.Fatal(err)
	}
	if w.Body.Len() != 0 || w.Header().Get("Content-Length") != "4" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %q, %v", w.Body.String(), w.Header())
	}
}

// No value ends the text that it stands in, or the file: the content has the same members,
// elements and attributes for all of them.
func TestTemplateEscapes(t *testing.T) {
	render := func(t *testing.T, name, text, value string) string {
		t.Helper()
		a, w := newResponder(t, "PUT")
		a.Request.Conditions.IfMatch = []string{value}
		a.Template = parsed(t, name, text)
		if err := a.Refuse(failed(strings.ReplaceAll(value, `"`, ""))); err != nil {
			t.Fatal(err)
		}
		if got, want := w.Header().Get("Content-Type"), a.Template.contentType; got != want {
			t.Errorf("%q: Content-Type %s", value, got)
		}
		return w.Body.String()
	}
	for _, value := range hostile {
		seen := strings.ToValidUTF8(value, "\ufffd") // a run of invalid bytes is replaced by one character
		content := render(t, "a.json", `{"a": {{.Provided}}, "b": "<{{.Provided}}>", "c": {{printf "%s" .Provided}}, "d\\": ["\"{{.Provided.Opaque}}\""], "e": {{.CurrentETag}}}`, value)
		var object map[string]any
		if err := json.Unmarshal([]byte(content), &object); err != nil || len(object) != 5 {
			t.Errorf("%q: %v: %s", value, err, content)
			continue
		}
		if a, _ := object["a"].(string); a != seen || object["b"] != "<"+seen+">" {
			t.Errorf("%q: got %q", value, object)
		}

		content = render(t, "a.xml", `<?xml version="1.0"?><e a="{{.Provided}}" b='{{.CurrentETag}}'><c>{{.Provided}}</c></e>`, value)
		var element struct {
			A string `xml:"a,attr"`
			C string `xml:"c"`
		}
		if err := xml.Unmarshal([]byte(content), &element); err != nil || strings.Count(content, "<") != 5 || element.A != element.C {
			t.Errorf("%q: %v: %s", value, err, content)
		}

		content = render(t, "a.html", `<p title="{{.Provided}}">{{.Provided}}</p><script>const tag = {{.Provided}};</script>`, value)
		if strings.Count(content, "<") != 4 || strings.Count(content, ">") != 4 {
			t.Errorf("%q: %s", value, content)
		}

		if content = render(t, "a.txt", "{{.Provided}} {{.Status}}", value); content != seen+" 412" {
			t.Errorf("%q: got %q", value, content)
		}
	}
}

func FuzzTemplateEscapes(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	const text = `{"a": {{.Provided}}, "b": "{{.Provided}}{{.CurrentETag}}", "c": [{{.Target}}], "d": "{{.Detail}}"}`
	template := parsed(f, "a.json", text)
	f.Fuzz(func(t *testing.T, value string) {
		content, err := template.render(Refused{Provided: Tag(value), CurrentETag: Tag(value), Target: value, Detail: value})
		var object map[string]any
		if err != nil || json.Unmarshal(content, &object) != nil || len(object) != 4 || len(object["c"].([]any)) != 1 {
			t.Errorf("%q: %v: %s", value, err, content)
		}
	})
}

// A template that can't show every refusal is refused, and the message says where it is
// wrong.
func TestWrongTemplates(t *testing.T) {
	for _, tt := range []struct{ name, text, mediaType, message string }{
		{"a.json", "{\n{{.Nothing}}}", "", "a.json:2:2: executing \"a.json\" at <.Nothing>: there is no value Nothing (for a 400)"},
		{"a.json", "{\"a\": {{.Detial}}}", "", "there is no value Detial (did you mean Detail?) (for a 400)"},
		{"a.json", "{\"a\": {{.CurrentETag.opaque}}}", "", "there is no value opaque (did you mean Opaque?) (for a 400)"},
		{"a.json", "{\n\"a\": {{json .Detail}}}", "", `a.json:2: function "json" not defined (leave it out: values are escaped already)`},
		{"/etc/a.json", "{\n{{.Detail}", "", "a.json:2: "},
		{"a.json", `{"a": {{.Detail}}`, "", `a.json: a 400 would be "{\"a\": \"No.\"", which isn't JSON: unexpected end`},
		{"a.json", `{"a": "{{.Detail}}}`, "", "a.json: a text lacks its closing quote"},
		{"a.json", `{"a": {{if eq .Status 503}}}{{else}}1}{{end}}`, "", "a 503 would be"},
		{"a.json", `{"a": {{if .CurrentETag}}1}{{end}}`, "", "a 400 would be"},
		{"a.json", `{"a": "{{if .CurrentETag}}"{{end}}}`, "", `a.json:1:12: {{if .CurrentETag}}"{{end}}: the branches must end alike`},
		{"a.json", `{"a": "\{{.Detail}}"}`, "", "a.json:1:10: {{.Detail}}: a value can't follow a backslash"},
		{"a.json", `[{{range 3}}1{{end}}]`, "", "only values, variables, if and with are possible here"},
		{"a.json", `{{define "x"}}1{{end}}{{template "x"}}`, "", "only values, variables, if and with are possible here"},
		{"a.json", `{"a": {{slice .CurrentETag.Opaque 0 2}}}`, "", "out of range"},
		{"a.json", "", "", `a.json: a 400 would be ""`},
		{"a.xml", "<a>{{.Detail}}", "", `a.xml: a 400 would be "<a>No.", which isn't XML: XML syntax error`},
		{"a.xml", "{{.Detail}}", "", "it has no element"},
		{"a.html", "<a href='{{if .Status}}'{{end}}>", "", "a.html:1"},
		{"a.html", "{{.Nothing}}", "", "a.html:1:2: executing"},
		{"a.txt", "{{.Nothing}}", "", "a.txt:1:2: executing"},
		{"a.tmpl", "", "", `"a.tmpl" doesn't tell the media type: give it after the file`},
		{"a", "", "", `"a" doesn't tell the media type`},
		{"a.json", "{}", "application/octet-stream", "neither JSON, XML, HTML nor plain text"},
		{"a.json", "{}", "json", `"json" is not a media type`},
		{"a.xml", "<svg/>", "image/svg+xml", "write text/html"},
		{"a.xml", "<html/>", "application/xhtml+xml; charset=utf-8", "write text/html"},
		{"a.xml", `<html xmlns="http://www.w3.org/1999/xhtml"><script>a="{{.Target}}"</script></html>`, "", "write text/html"},
		{"a.xml", `<a xmlns:s="http://www.w3.org/2000/svg"><s:script>a="{{.Target}}"</s:script></a>`, "application/problem+xml", "write text/html"},
		{"a.json", "{}", "application/json; charset=latin1", "is not a media type in UTF-8"},
	} {
		_, err := ParseTemplate(tt.name, tt.text, tt.mediaType)
		if err == nil || !strings.Contains(err.Error(), tt.message) || strings.HasPrefix(err.Error(), "template") {
			t.Errorf("%s %s: got  %v\nwant %s", tt.name, tt.text, err, tt.message)
		}
	}
}

// A given media type counts, whatever the name of the file.
func TestTemplateType(t *testing.T) {
	for _, tt := range []struct {
		name, mediaType, want string
		language              language
	}{
		{"a.json", "", "application/json", inJSON},
		{"A.JSON", "", "application/json", inJSON},
		{"a.xml", "", "application/xml", inXML},
		{"a.html", "", "text/html; charset=utf-8", inHTML},
		{"a.txt", "", "text/plain; charset=utf-8", inPlain},
		{"a.tmpl", "application/problem+json", "application/problem+json", inJSON},
		{"a.txt", "application/vnd.example+json; charset=UTF-8", "application/vnd.example+json; charset=UTF-8", inJSON},
		{"a.html", "application/vnd.example+xml", "application/vnd.example+xml", inXML},
		{"a.json", "text/xml", "text/xml", inXML},
		{"a.json", "text/html", "text/html", inHTML},
	} {
		if got, language, err := TemplateType(tt.name, tt.mediaType); err != nil || got != tt.want || language != tt.language {
			t.Errorf("%s %s: got %s, %s, %v", tt.name, tt.mediaType, got, language, err)
		}
	}
}

// If a template fails on what no sample has shown, the client gets problem details, and the
// operator a message without what the client sent.
func TestTemplateThatFails(t *testing.T) {
	for _, text := range []string{
		`{{if eq .Provided "\"sent\""}}{{slice .Provided 0 100}}{{end}}{}`,
		`{{if eq .Provided "\"sent\""}}{{.Provided}}{{end}}{}`,
	} {
		a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
		core, logs := observer.New(zapcore.ErrorLevel)
		a.Logger, a.Template = zap.New(core), parsed(t, "a.json", text)
		if err := a.Refuse(failed("current")); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Content-Type"); w.Code != 412 || got != "application/problem+json" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d, %s, %s", text, w.Code, got, w.Body)
		}
		said := logs.All()
		if len(said) != 1 || !strings.Contains(said[0].Message, "the template of refusals failed") {
			t.Errorf("%s: %v", text, said)
		}
	}
}

// The examples in examples/refusals are what the documentation says that clients read.
func TestExampleTemplates(t *testing.T) {
	for _, tt := range []struct{ file, refused, required string }{
		{
			"details.json",
			`{"error": "Precondition Failed", "message": "No.", "details": {"currentETag": "\"current\"", "providedETag": "\"sent\""}}`,
			`{"error": "Precondition Required", "message": "No.", "details": {"currentETag": null, "providedETag": null}}`,
		},
		{"current.json", `{"status": 412, "currentETag": "current"}`, `{"status": 428, "currentETag": null}`},
		{
			"expected.json",
			`{"detail": "No.", "expected_etag": "sent", "current_etag": "current", "last_modified": "1970-01-01T00:00:00Z", "timestamp": "now"}`,
			`{"detail": "No.", "timestamp": "now"}`,
		},
	} {
		text, err := os.ReadFile(filepath.Join("../../examples/refusals", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		for want, refusal := range map[string]Refusal{
			tt.refused:  failed("current"),
			tt.required: {Status: http.StatusPreconditionRequired, Outcome: Required, Detail: "No."},
		} {
			a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
			a.Template = parsed(t, tt.file, string(text))
			if err := a.Refuse(refusal); err != nil {
				t.Fatal(err)
			}
			content, _ := io.ReadAll(w.Body)
			var got map[string]any
			if err := json.Unmarshal(content, &got); err != nil {
				t.Fatal(err)
			}
			if _, ok := got["timestamp"]; ok {
				if at, err := time.Parse(time.RFC3339, got["timestamp"].(string)); err != nil || time.Since(at).Abs() > time.Minute {
					t.Errorf("timestamp: %v", err)
				}
				got["timestamp"] = "now"
			}
			var wanted map[string]any
			if err := json.Unmarshal([]byte(want), &wanted); err != nil {
				t.Fatal(err)
			}
			if a, b := compact(t, got), compact(t, wanted); a != b {
				t.Errorf("%s:\ngot  %s\nwant %s", tt.file, a, b)
			}
		}
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
