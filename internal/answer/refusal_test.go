package answer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reasons are all reasons that a condition may have. The names end with the first
// number that has none.
func reasons(t *testing.T) (all []validator.Reason) {
	t.Helper()
	for r := validator.NoCondition; r.String() != ""; r++ {
		all = append(all, r)
	}
	if len(all) < 17 {
		t.Fatalf("found only %d", len(all))
	}
	return all
}

// Whatever the reason, the detail is made of sentences and names the field that
// decided. A client that is asked for nothing else can read what to do next.
func TestEveryReasonHasADetail(t *testing.T) {
	a, _ := newResponder(t, "PUT")
	for _, reason := range reasons(t) {
		for _, field := range []validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfUnmodifiedSince} {
			res := validator.Result{Verdict: validator.False, Field: field, Reason: reason, Offset: 3}
			f := a.ConditionFailed(res, validator.Representation{State: validator.Present})
			name := fmt.Sprintf("%s, %s: %q", field, reason, f.Detail)
			switch {
			case !strings.HasSuffix(f.Detail, ".") || strings.Contains(f.Detail, "..") || strings.Contains(f.Detail, "  "):
				t.Errorf("%s isn't a sentence", name)
			case reason != validator.Exists && strings.Count(f.Detail, field.String()) != 1:
				t.Errorf("%s doesn't name the field once", name)
			case strings.Contains(f.Detail, "%"):
				t.Errorf("%s isn't complete", name)
			}
			if !isUpper(f.Detail[0]) {
				t.Errorf("%s doesn't begin like a sentence", name)
			}
			if positioned := reason == validator.Malformed || reason == validator.WildcardInList; positioned != strings.Contains(f.Detail, "offset 3") {
				t.Errorf("%s names a position: %v", name, !positioned)
			}
			want := field.String() + ": " + reason.String()
			if reason == validator.Weakened {
				want += ", perhaps made by a proxy or CDN in front that compresses (see weak_tags)"
			}
			if f.Reason != want {
				t.Errorf("the reason is %q, want %q", f.Reason, want)
			}
			if f.Status != http.StatusPreconditionFailed || f.Outcome != Failed || f.Condition != field {
				t.Errorf("%s: %d, %s, %s", name, f.Status, f.Outcome, f.Condition)
			}
		}
	}
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

// The detail says in other words what the reason says.
func TestDetailFitsTheReason(t *testing.T) {
	for reason, words := range map[validator.Reason]string{
		validator.Matched: "lists the current", validator.NoMatch: "lists no current", validator.Exists: "already exists",
		validator.DoesNotExist: "doesn't exist", validator.EmptyList: "lists no entity tag", validator.Malformed: "is malformed",
		validator.WildcardInList: "* among", validator.WeakCurrent: "current entity tag is weak",
		validator.Weakened: "proxy or CDN", validator.WeakListed: "only weak entity tags", validator.NotKnown: "has no entity tag",
		validator.Modified: "was modified after", validator.WeakDate: "a moment ago", validator.NoDate: "no date",
		validator.InvalidDate: "invalid date", validator.Unmodified: "unmodified",
	} {
		if got := failureDetail(validator.Result{Field: validator.IfMatch, Reason: reason}, "If-Match"); !strings.Contains(got, words) {
			t.Errorf("%s: %q doesn't say %q", reason, got, words)
		}
	}
}

// TestNoTagKept: a client that puts what its language makes of a missing value into a
// condition is told what probably happened. Whatever else is malformed, or isn't current,
// gets the detail of that.
func TestNoTagKept(t *testing.T) {
	current := validator.Representation{State: validator.Present, ETag: validator.ETag{Opaque: "x", Valid: true}}
	missing := []string{"null", "undefined", "None", "nil", "<nil>", "NaN", "[object Object]"}
	for _, text := range missing {
		missing = append(missing, `"`+text+`"`, `W/"`+text+`"`, "'"+text+"'", " "+strings.ToUpper(text))
	}
	for field, texts := range map[string]struct{ told, not []string }{
		"If-Match":      {append(missing, `""`, `W/""`, "''"), []string{`"y"`, "y", `"nullable"`, `null, "y"`, `"null", "y"`, `"null`, "", "W/" + `"y"`}},
		"If-None-Match": {[]string{"null", "undefined", "None", "[object Object]", "''"}, []string{"y", `null, "y"`, "nullable"}},
	} {
		for _, told := range []bool{true, false} {
			list := texts.not
			if told {
				list = texts.told
			}
			for _, text := range list {
				a, _ := newResponder(t, "PUT", field, text)
				res := a.Request.Evaluate(current)
				if res.Verdict != validator.False {
					t.Errorf("%s: %s is %s", field, text, res.Verdict)
				}
				f := a.ConditionFailed(res, current)
				if got := strings.Contains(f.Detail, "seems to have kept none"); got != told || strings.HasSuffix(f.Reason, ", no tag kept") != told || f.Status != 412 {
					t.Errorf("%s: %s gets %d, %q, %q", field, text, f.Status, f.Reason, f.Detail)
				}
				if told && !strings.Contains(f.Detail, strings.Trim(text, " ")+",") {
					t.Errorf("%s: %s isn't in %q", field, text, f.Detail)
				}
			}
		}
	}
	if a, _ := newResponder(t, "PUT", "If-Match", `"none"`); a.Request.Evaluate(validator.Representation{State: validator.Present, ETag: validator.ETag{Opaque: "none", Valid: true}}).Verdict != validator.True {
		t.Error("a tag that looks like a missing one isn't found current")
	}
}

// No two reasons that can refuse a request have the same detail, so a client can
// tell what is wrong.
func TestDetailsDiffer(t *testing.T) {
	seen := make(map[string]validator.Reason)
	for _, reason := range reasons(t) {
		detail := failureDetail(validator.Result{Field: validator.IfMatch, Reason: reason}, "If-Match")
		if other, known := seen[detail]; known {
			t.Errorf("%s and %s: %q", other, reason, detail)
		}
		seen[detail] = reason
	}
}

// A failed condition is a 412. Only the outcome tells whether it was false or
// can't be verified, and what is absent can't be deleted whatever the condition
// (RFC 9110, section 13.2.1).
func TestConditionFailed(t *testing.T) {
	for _, tt := range []struct {
		method  string
		state   validator.State
		verdict validator.Verdict
		status  int
		outcome Outcome
	}{
		{"PUT", validator.Present, validator.False, 412, Failed},
		{"PUT", validator.Absent, validator.False, 412, Failed},
		{"PUT", validator.Present, validator.Unverifiable, 412, Unverifiable},
		{"GET", validator.Present, validator.False, 412, Failed},
		{"DELETE", validator.Present, validator.False, 412, Failed},
		{"DELETE", validator.Unknown, validator.False, 412, Failed},
		{"DELETE", validator.Absent, validator.False, 404, Failed},
		{"POST as DELETE", validator.Absent, validator.False, 404, Failed},
	} {
		method, meaning, overridden := strings.Cut(tt.method, " as ")
		fields := []string{}
		if overridden {
			fields = []string{"X-HTTP-Method-Override", meaning}
		}
		a, _ := newResponder(t, method, fields...)
		current := validator.Representation{State: tt.state, ETag: tag("current")}
		f := a.ConditionFailed(validator.Result{Verdict: tt.verdict, Field: validator.IfMatch, Reason: validator.NoMatch}, current)
		if f.Status != tt.status || f.Outcome != tt.outcome || f.Condition != validator.IfMatch || f.Current != current {
			t.Errorf("%s, %s, %s: %+v", tt.method, tt.state, tt.verdict, f)
		}
	}
}

// Each refusal has its status and outcome, tells client and operator why, and says
// when to try again if, and only if, the same request may then succeed.
func TestRefusals(t *testing.T) {
	a, _ := newResponder(t, "PUT")
	for name, tt := range map[string]struct {
		refusal Refusal
		status  int
		outcome Outcome
		retry   time.Duration
	}{
		"too large (RFC 6585, section 5)":          {TooLarge(), 431, Unverifiable, 0},
		"unclear":                                  {Unclear("x"), 400, Unverifiable, 0},
		"condition required (RFC 6585, section 3)": {a.ConditionRequired(0), 428, Required, 0},
		"write in flight":                          {WriteInFlight(), 503, Conflict, time.Second},
		"older write in flight":                    {OlderWriteInFlight(), 503, Conflict, time.Second},
		"config replaced":                          {a.ConfigReplaced(), 503, Conflict, time.Second},
		"cannot tell":                              {a.CannotTell("the store is out of reach"), 503, Unavailable, a.RetryAfter},
		"lease lost":                               {a.LeaseLost(), 503, Unavailable, a.RetryAfter},
		"not verifiable":                           {a.NotVerifiable(validator.IfMatch, "the origin answered Teapot"), 503, Unverifiable, a.RetryAfter},
	} {
		f := tt.refusal
		if f.Status != tt.status || f.Outcome != tt.outcome || f.RetryAfter != tt.retry {
			t.Errorf("%s: %d, %s, retry after %s", name, f.Status, f.Outcome, f.RetryAfter)
		}
		if !strings.HasSuffix(f.Detail, ".") || !isUpper(f.Detail[0]) {
			t.Errorf("%s: the detail isn't a sentence: %q", name, f.Detail)
		}
		if f.Reason == "" || strings.HasSuffix(f.Reason, ".") || isUpper(f.Reason[0]) {
			t.Errorf("%s: the reason isn't a few words: %q", name, f.Reason)
		}
	}
	if got := a.CannotTell("the store is out of reach").Detail; !strings.Contains(got, "the store is out of reach") {
		t.Errorf("the detail doesn't say why: %q", got)
	}
	if got := a.LeaseLost().Detail; strings.Contains(got, "Nothing was changed") {
		t.Errorf("a write that was forwarded may have been performed: %q", got)
	}
	if got := TooLarge().Detail; !strings.Contains(got, fmt.Sprint(validator.MaxTags)) || !strings.Contains(got, fmt.Sprint(validator.MaxBytes)) {
		t.Errorf("the limits aren't named: %q", got)
	}
}

// Only a request with a condition is told that its condition can't be checked.
func TestCannotTellSaysWhatItIsAbout(t *testing.T) {
	for _, conditional := range []bool{true, false} {
		a, _ := newResponder(t, "PUT")
		a.Request.Conditional = conditional
		want := "This write can't be let through right now: the store is out of reach. "
		if conditional {
			want = "The condition can't be checked right now: the store is out of reach. "
		}
		if got := a.CannotTell("the store is out of reach").Detail; !strings.HasPrefix(got, want) {
			t.Errorf("conditional %v: got %q, want %q", conditional, got, want)
		}
	}
}

// After a change of the keys, nobody knows which resource an older write is about.
func TestOlderWriteMayBeOfAnyResource(t *testing.T) {
	if got := OlderWriteInFlight().Detail; strings.Contains(got, "this resource") || !strings.Contains(got, "before the configuration of the server was replaced") {
		t.Errorf("got %q", got)
	}
}

// A refusal that tells the client to reach the new config ends the connection to the old
// one. HTTP/3 has no such field.
func TestConfigReplacedEndsTheConnection(t *testing.T) {
	for version, want := range map[int]string{1: "close", 2: "close", 3: ""} {
		a, w := newResponder(t, "PUT")
		a.Request.ProtoMajor = version
		a.ConfigReplaced()
		if got := w.Header().Get("Connection"); got != want {
			t.Errorf("HTTP/%d: Connection %q, want %q", version, got, want)
		}
	}
}

// A response says when to come again in seconds or with a date (RFC 9110, section 10.2.3).
func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "Mon, 03 Nov 2025 12:01:00 GMT": time.Minute, "Mon, 03 Nov 2025 11:00:00 GMT": 0,
		"": -1, "-7": -1, "soon": -1, "7, 8": -1, "99999999999999999999": -1,
	} {
		got, ok := RetryAfter(http.Header{"Retry-After": {value}}, now)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// A problem names the field that decided and what the client sent. What is current
// it tells only if it may, and only if a condition was compared with it.
func TestProblem(t *testing.T) {
	date := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	current := validator.Representation{State: validator.Present, ETag: tag("current"), LastModified: date}
	refusal := func(edit func(*Refusal)) Refusal {
		f := Refusal{Status: 412, Detail: "d", Condition: validator.IfMatch, Current: current}
		if edit != nil {
			edit(&f)
		}
		return f
	}
	for _, tt := range []struct {
		name     string
		refusal  Refusal
		disclose bool
		etag     string
		date     string
	}{
		{"disclosed", refusal(nil), true, `"current"`, "Mon, 03 Nov 2025 12:00:00 GMT"},
		{"not disclosed", refusal(nil), false, "", ""},
		{"no condition decided", refusal(func(f *Refusal) { f.Condition = validator.None }), true, "", ""},
		{"a date that isn't strong yet", refusal(func(f *Refusal) { f.Current.WeakDate = true }), true, `"current"`, ""},
		{"no date", refusal(func(f *Refusal) { f.Current.LastModified = time.Time{} }), true, `"current"`, ""},
		{"no tag", refusal(func(f *Refusal) { f.Current.ETag = validator.ETag{} }), true, "", "Mon, 03 Nov 2025 12:00:00 GMT"},
	} {
		p := newProblem(tt.refusal, `"sent"`, tt.disclose)
		if p.CurrentETag != tt.etag || p.LastModified != tt.date {
			t.Errorf("%s: %q, %q", tt.name, p.CurrentETag, p.LastModified)
		}
		if p.Condition != tt.refusal.Condition.String() || p.Provided != `"sent"` || p.Detail != "d" || p.Status != 412 {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
}

// The content of a refusal has the members of RFC 9457, section 3.1, and leaves out
// those that have no value. The type is a heading of the documentation.
func TestProblemJSON(t *testing.T) {
	for _, tt := range []struct {
		problem problem
		want    string
	}{
		{
			newProblem(Refusal{Status: 428, Detail: "Send If-Match."}, "", true),
			`{"type":"https://github.com/caddy-preconditions/preconditions#precondition-required",` +
				`"title":"Precondition Required","status":428,"detail":"Send If-Match."}`,
		},
		{
			newProblem(Refusal{
				Status: 412, Detail: "No.", Condition: validator.IfMatch,
				Current: validator.Representation{ETag: tag("b"), LastModified: time.Unix(0, 0)},
			}, `"a"`, true),
			`{"type":"https://github.com/caddy-preconditions/preconditions#precondition-failed",` +
				`"title":"Precondition Failed","status":412,"detail":"No.","condition":"If-Match","provided":"\"a\"",` +
				`"current_etag":"\"b\"","last_modified":"Thu, 01 Jan 1970 00:00:00 GMT"}`,
		},
	} {
		got, err := json.Marshal(tt.problem)
		if err != nil || string(got) != tt.want {
			t.Errorf("got\n%s, %v, want\n%s", got, err, tt.want)
		}
	}
}

// What the client provided are the lines of the field that decided, and no other.
func TestProvided(t *testing.T) {
	c := validator.Conditions{
		IfMatch: []string{`"a"`, `"b"`}, IfNoneMatch: []string{`"c"`},
		IfModifiedSince: []string{"d"}, IfUnmodifiedSince: []string{"e"},
	}
	for field, want := range map[validator.Field]string{
		validator.None: "", validator.IfMatch: `"a", "b"`, validator.IfNoneMatch: `"c"`,
		validator.IfModifiedSince: "d", validator.IfUnmodifiedSince: "e",
	} {
		if got := provided(&resource.Request{Conditions: c}, field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

// RFC 7240, sections 2 and 4.2.
func TestPrefer(t *testing.T) {
	for _, tt := range []struct {
		lines  []string
		wanted bool
	}{
		{[]string{"return=representation"}, true},
		{[]string{"RETURN = representation"}, true},
		{[]string{`return="representation"`}, true},
		{[]string{"respond-async, wait=10", "return=representation; foo=\"a,b\""}, true},
		{[]string{`foo="a, return=minimal"; x, return=representation`}, true},
		{[]string{`foo="a\", return=minimal", return=representation`}, true},
		{[]string{"return=representation, return=representation"}, true},
		{[]string{"foo; return=minimal, return=representation"}, true},
		{[]string{"return=representation, return=minimal"}, false},
		{[]string{"return=minimal", "return=representation"}, false},
		{[]string{"return=representation", "return=minimal"}, false},
		{[]string{"return=Representation"}, false},
		{[]string{`foo="return=representation"`}, false},
		{[]string{"foo; return=representation"}, false},
		{[]string{"x-return=representation"}, false},
		{[]string{"return=minimal"}, false},
		{[]string{"return"}, false},
		{[]string{""}, false},
		{nil, false},
	} {
		h := http.Header{"Prefer": tt.lines}
		if got := PrefersRepresentation(h); got != tt.wanted {
			t.Errorf("%q: %v", tt.lines, got)
		}
	}
}

// Whatever a client prefers, it is taken apart into pieces that add up to it.
func FuzzUnquoted(f *testing.F) {
	f.Add(`a="b,c", d\,"e\",f"`)
	f.Add(`"`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := strings.Join(slices.Collect(unquoted(s, ',')), ","); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func tag(opaque string) validator.ETag { return validator.ETag{Opaque: opaque, Valid: true} }
