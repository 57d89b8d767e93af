package answer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// failed is a 412 about a tag.
func failed(current string) Refusal {
	return Refusal{
		Status: 412, Outcome: Failed, Detail: "No.", Reason: "why", Condition: validator.IfMatch,
		Current: validator.Representation{State: validator.Present, ETag: tag(current), LastModified: time.Unix(0, 0)},
	}
}

// hostile are values that clients may send, or backends. Each could end a text somewhere.
var hostile = []string{
	`"`, `\`, `\"`, `","admin":"`, `"}`, `{{.Status}}`, `{http.request.host}`, "</script>", "<a>&amp;", "'", "]]>", "-->",
	"\u2028\u2029", "\xff\xfe", "\xc0\xaf", "\x00\x01\x1f", "\t\r\n", "\u202e", `\u0022`, "null", "", "\xed\xa0\x80", "😀",
}

// Under its name with .json at the end, every placeholder is valid JSON.
func TestPlaceholdersInJSON(t *testing.T) {
	for _, value := range hostile {
		a, _ := newResponder(t, "PUT")
		repl := a.Request.Replacer
		MapPlaceholders(a)
		placeholdersOf(repl) // of a handler within
		if got := repl.ReplaceKnown(`{http.preconditions.outcome.json}`, ""); got != "null" {
			t.Errorf("before anything is known: %s", got)
		}
		a.Request.Conditions.IfMatch = []string{value}
		if err := a.Refuse(failed("current")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"outcome", "reason", "condition", "provided_etag", "current_etag", "resource", "problem"} {
			content := repl.ReplaceKnown(`{"a": {http.preconditions.`+name+`.json}}`, "")
			plain, _ := placeholder(a, name)
			var got struct{ A *string }
			if err := json.Unmarshal([]byte(content), &got); err != nil || (got.A == nil) != (plain == "") {
				t.Errorf("%s: %v: %s", name, err, content)
			} else if got.A != nil && *got.A != string([]rune(plain)) {
				t.Errorf("%s: got %q, want %q", name, *got.A, plain)
			}
		}
		if _, known := repl.Get("http.request.unknown.json"); known {
			t.Error("a placeholder of somebody else is taken")
		}
	}
}

// What handlers report of one request shows in the placeholders of that request, whichever of
// them reports it. What they report of a probe doesn't, and the probe has its own.
func TestPlaceholdersOfAProbe(t *testing.T) {
	a, w := newResponder(t, "PUT")
	MapPlaceholders(a)
	a.Report(Passed, "of the request")

	r := proxyhooks.Isolate(a.Request.Request, w)
	probe := &Responder{Config: a.Config, Writer: w, Request: resource.NewRequest(r), Key: "probed"}
	MapPlaceholders(probe)
	if text, known := placeholder(probe, "outcome"); known {
		t.Errorf("the probe has the outcome %q before anything was reported of it", text)
	}
	probe.Report(Read, "of the probe")
	if reason, _ := placeholder(a, "reason"); reason != "of the request" {
		t.Errorf("the request has the reason %q", reason)
	}
	if reason, _ := placeholder(probe, "reason"); reason != "of the probe" {
		t.Errorf("the probe has the reason %q", reason)
	}
	within := &Responder{Config: a.Config, Writer: w, Request: a.Request, Key: "within"}
	within.Report(Failed, "within")
	if reason, _ := placeholder(a, "reason"); reason != "within" {
		t.Errorf("what a handler within reports isn't seen: %q", reason)
	}
}
