package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// refusalTemplate is a template of refusals that tests use.
const refusalTemplate = `{"error": "{{.Title}}", "details": {"currentETag": {{.CurrentETag}}, "providedETag": {{.Provided}}}, "date": {{.LastModified.ISO}}}`

// templateFile writes a template of refusals and returns the option that names it.
func templateFile(t testing.TB, name, text string) (option string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "errors template " + file
}

// templated is what clients read in the content of refusalTemplate.
type templated struct {
	Error   string
	Details struct{ CurrentETag, ProvidedETag *string }
	Date    *string
}

func templatedOf(t testing.TB, a caddytest.Answer) (content templated) {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %s", got)
	}
	if err := json.Unmarshal([]byte(a.Content), &content); err != nil {
		t.Fatalf("%v in %q", err, a.Content)
	}
	return content
}

// TestTemplateOfRefusals: with errors template, refusals have the content that a template
// makes, whatever clients send. Their fields are those of problem details.
func TestTemplateOfRefusals(t *testing.T) {
	t.Parallel()
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	backend := caddytest.Page("content", "Last-Modified", date)
	option := templateFile(t, "refusals.json", refusalTemplate)
	url := caddytest.Site(t, option+"\nrequire", backend) + "/page"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	for _, value := range hostileFields {
		a := caddytest.Send(t, "PUT", url, "x", "If-Match", value).Expect(t, 412)
		content := templatedOf(t, a)
		want := strings.ToValidUTF8(value, "\ufffd")
		if content.Error != "Precondition Failed" || content.Details.ProvidedETag == nil || *content.Details.ProvidedETag != want {
			t.Errorf("%q: got %s", value, a.Content)
		}
		shown, dated := "", a.Header.Get("Last-Modified")
		if content.Details.CurrentETag != nil {
			shown = *content.Details.CurrentETag
		}
		if shown != a.Header.Get("ETag") || a.Header.Get("Cache-Control") != "no-store" || (content.Date != nil) != (dated != "") {
			t.Errorf("%q: got %v %s", value, a.Header, a.Content)
		}
		if value == `"stale"` && (shown != tag || *content.Date != "2026-01-01T00:00:00Z") {
			t.Errorf("%q: got %s", value, a.Content)
		}
	}
	if content := templatedOf(t, caddytest.Send(t, "PUT", url, "x").Expect(t, 428)); content.Details.CurrentETag != nil || content.Details.ProvidedETag != nil {
		t.Errorf("428: got %+v", content)
	}
	if a := caddytest.Send(t, "HEAD", url, "", "If-Match", `"stale"`).Expect(t, 412); a.Content != "" || a.ContentLength <= 0 || a.Header.Get("ETag") != tag {
		t.Errorf("HEAD: got %v %q", a.Header, a.Content)
	}
	if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`, "Prefer", "return=representation").Expect(t, 412); a.Content != "content" {
		t.Errorf("with Prefer: got %q", a.Content)
	}
	backend.Unwritten(t)

	t.Run("disclose off", func(t *testing.T) {
		t.Parallel()
		url := caddytest.Site(t, option+"\ndisclose off", caddytest.Page("content", "Last-Modified", date)) + "/page"
		caddytest.Send(t, "GET", url, "").Expect(t, 200)
		a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412)
		if content := templatedOf(t, a); content.Details.CurrentETag != nil || content.Date != nil || a.Header["Etag"] != nil || a.Header["Last-Modified"] != nil {
			t.Errorf("got %v %s", a.Header, a.Content)
		}
	})
	t.Run("the store is away", func(t *testing.T) {
		t.Parallel()
		url := caddytest.Site(t, templateFile(t, "refusals.json", `{"retry": {{.RetryAfter}}}`)+"\nstore redis redis://127.0.0.1:1", caddytest.Page("content")) + "/page"
		if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 503); a.Content != `{"retry": 5}` || a.Header.Get("Retry-After") != "5" {
			t.Errorf("got %v %s", a.Header, a.Content)
		}
	})
	t.Run("a media type", func(t *testing.T) {
		t.Parallel()
		url := caddytest.Site(t, templateFile(t, "refusals", "{}")+" application/problem+json", caddytest.Page("content")) + "/page"
		if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412); a.Content != "{}" || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("got %v %s", a.Header, a.Content)
		}
	})
}

// TestUnreadableTemplate: a config whose template is missing or wrong isn't loaded, and the
// message names the file, and the line in it.
func TestUnreadableTemplate(t *testing.T) {
	t.Parallel()
	caddyfile := func(option string) string { return "http://:80 {\npreconditions {\n" + option + "\n}\n}\n" }
	asJSON := func(members string) string {
		return `{"apps": {"http": {"servers": {"s": {"routes": [{"handle": [{"handler": "preconditions", ` + members + `}]}]}}}}}`
	}
	for _, tt := range []struct{ name, config, message string }{
		{"no file", caddyfile("errors template " + filepath.Join(t.TempDir(), "refusals.json")), "errors: reading the template: open "},
		{"a misspelt value", caddyfile(templateFile(t, "refusals.json", "{\n\"a\": {{.CurrentTag}}\n}")), "errors: refusals.json:2:"},
		{"no JSON", caddyfile(templateFile(t, "refusals.json", "{")), "errors: refusals.json: a 400 would be"},
		{"no name", asJSON(`"errors": "template"`), "errors: template takes a file, such as /etc/caddy/refusals.json (in JSON, as errors_file)"},
		{"a name without its use", asJSON(`"errors_file": "a.json"`), "errors: errors_file and errors_type are for the value template, not problem"},
		{"a type without its use", asJSON(`"errors": "caddy", "errors_type": "text/html"`), "are for the value template, not caddy"},
		{"a different type", asJSON(`"errors": "template", "errors_file": "a.json", "errors_type": "image/png"`), "neither JSON, XML, HTML nor plain text"},
		{"a misspelt word", asJSON(`"errors": "templates"`), "did you mean template?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config, adapter := filepath.Join(dir, "config"), "caddyfile"
			if err := os.WriteFile(config, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.config[0] == '{' {
				adapter = ""
			}
			out, err := caddytest.Command(t, dir, "validate", "--config", config, "--adapter", adapter).CombinedOutput()
			if said := strings.ReplaceAll(string(out), `\"`, `"`); err == nil || !strings.Contains(said, tt.message) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestTemplateIsReadWithTheConfig: placeholders in the name of the file are replaced, a relative one
// begins at the working directory, and the file may be gone later.
func TestTemplateIsReadWithTheConfig(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TEST_REFUSALS", dir)
	t.Chdir(dir)
	file := filepath.Join(dir, "refusals.json")
	for _, name := range []string{"{env.TEST_REFUSALS}/refusals.json", "refusals.json"} {
		if err := os.WriteFile(file, []byte(`{"read": true}`), 0o600); err != nil {
			t.Fatal(err)
		}
		url := caddytest.Site(t, "errors template "+name, caddytest.Page("content")) + "/page"
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412); a.Content != `{"read": true}` {
			t.Errorf("%s: got %s", name, a.Content)
		}
	}
}

// TestCrossOriginTemplate: pages of other origins can read what a template makes.
func TestCrossOriginTemplate(t *testing.T) {
	t.Parallel()
	url := caddytest.Site(t, templateFile(t, "refusals.json", refusalTemplate), service(reflect)) + "/doc"
	a := caddytest.Send(t, "PUT", url, "x", "Origin", app, "If-Match", `"stale"`).Expect(t, 412)
	if got := corsFields(a.Header); got != "Allow-Origin: "+app+"; Allow-Credentials: true; Expose-Headers: "+exposed {
		t.Errorf("got %s", got)
	}
	templatedOf(t, a)
}

// TestWithheldContentAndTemplate: a refusal with a template comes before the content, as
// problem details do.
func TestWithheldContentAndTemplate(t *testing.T) {
	t.Parallel()
	base := caddytest.Site(t, templateFile(t, "refusals.json", refusalTemplate), caddytest.Page("content"))
	caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	c := dialWire(t, base)
	c.send("PUT /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), `If-Match: "stale"`, "Content-Length: 5", "Expect: 100-continue", "")
	templatedOf(t, c.answer("PUT").Expect(t, 412))
}
