package answer

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/validator"
)

// newResponder returns what answers a request, and where it answers. Fields are
// pairs of a name and a value.
func newResponder(t *testing.T, method string, fields ...string) (*Responder, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest(method, "http://example.com/page", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r.WithContext(t.Context()), caddy.NewReplacer(), w, nil)
	config := &Config{Mode: Enforce, Disclose: true, RetryAfter: 5 * time.Second, Logger: zap.NewNop()}
	return &Responder{Config: config, Writer: w, Request: resource.NewRequest(r), Key: "example.com/page"}, w
}

// placeholder returns the value of a placeholder, and whether it has one.
func placeholder(a *Responder, name string) (string, bool) {
	value, ok := a.Request.Replacer.Get("http.preconditions." + name)
	text, _ := value.(string)
	return text, ok
}

// A refusal is sent as problem details (RFC 9457), which no cache keeps. Nothing of
// the representation that would have been sent stays.
func TestRefuse(t *testing.T) {
	a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("X-Kept", "yes")
	f := Refusal{
		Status: 412, Outcome: Failed, Detail: "No.", Reason: "why", Condition: validator.IfMatch,
		Current: validator.Representation{State: validator.Present, ETag: tag("current"), LastModified: time.Unix(0, 0)},
	}
	if err := a.Refuse(f); err != nil {
		t.Fatal(err)
	}
	response := w.Result()
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store", "ETag": `"current"`,
		"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Encoding": "", "X-Kept": "yes", "Retry-After": "",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if response.StatusCode != 412 || response.ContentLength != int64(len(content)) {
		t.Errorf("status %d, %d bytes announced, %d sent", response.StatusCode, response.ContentLength, len(content))
	}
	var p map[string]any
	if err := json.Unmarshal(content, &p); err != nil || p["status"] != 412.0 || p["provided"] != `"sent"` {
		t.Errorf("%v, %s", err, content)
	}
	if shown, _ := placeholder(a, "problem"); shown+"\n" != string(content) {
		t.Errorf("the placeholder is %s", shown)
	}
}

// With disclose off, neither the answer nor a placeholder tells what is current.
func TestDisclose(t *testing.T) {
	a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
	a.Disclose = false
	f := Refusal{
		Status: 412, Outcome: Failed, Condition: validator.IfMatch,
		Current: validator.Representation{ETag: tag("secret"), LastModified: time.Unix(0, 0)},
	}
	if err := a.Refuse(f); err != nil {
		t.Fatal(err)
	}
	current, _ := placeholder(a, "current_etag")
	shown, _ := placeholder(a, "problem")
	for _, text := range []string{w.Body.String(), current, shown} {
		if strings.Contains(text, "secret") || strings.Contains(text, "1970") {
			t.Errorf("told: %s", text)
		}
	}
	if w.Header()["Etag"] != nil || w.Header()["Last-Modified"] != nil {
		t.Errorf("told: %v", w.Header())
	}
}

// A modification date that isn't strong yet doesn't go out: a second change may
// share it (RFC 9110, section 8.8.2.2).
func TestWeakDateIsNotSent(t *testing.T) {
	a, w := newResponder(t, "PUT")
	f := Refusal{Status: 412, Outcome: Unverifiable, Condition: validator.IfUnmodifiedSince}
	f.Current = validator.Representation{LastModified: time.Unix(0, 0), WeakDate: true}
	if err := a.Refuse(f); err != nil {
		t.Fatal(err)
	}
	if w.Header()["Last-Modified"] != nil || strings.Contains(w.Body.String(), "1970") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// Retry-After counts whole seconds (RFC 9110, section 10.2.3). They are rounded up,
// so no client comes back early.
func TestRetryAfter(t *testing.T) {
	for after, want := range map[time.Duration]string{
		0: "", -time.Second: "", 1: "1", time.Millisecond: "1", time.Second: "1", time.Second + 1: "2",
		1500 * time.Millisecond: "2", 2 * time.Second: "2", time.Hour: "3600",
	} {
		a, w := newResponder(t, "PUT")
		if err := a.Refuse(Refusal{Status: 503, Outcome: Unavailable, RetryAfter: after}); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%s: %q, want %q", after, got, want)
		}
	}
}

// With error routes, nothing is sent: Caddy gets the error, with the fields that
// the refusal has and the problem as a placeholder.
func TestErrorRoutes(t *testing.T) {
	a, w := newResponder(t, "PUT", "If-Match", `"sent"`)
	a.ErrorRoutes = true
	f := Refusal{
		Status: 503, Outcome: Unavailable, Detail: "Not now.", RetryAfter: time.Second,
		Condition: validator.IfMatch, Current: validator.Representation{ETag: tag("current")},
	}
	err := a.Refuse(f)
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok || he.StatusCode != 503 || he.Err.Error() != "Not now." {
		t.Errorf("got %v", err)
	}
	if w.Body.Len() != 0 || w.Header()["Content-Type"] != nil || w.Header()["Content-Length"] != nil {
		t.Errorf("sent: %v %s", w.Header(), w.Body)
	}
	if h := w.Header(); h.Get("Retry-After") != "1" || h.Get("ETag") != `"current"` || h.Get("Cache-Control") != "no-store" {
		t.Errorf("header %v", h)
	}
	if shown, _ := placeholder(a, "problem"); !strings.Contains(shown, `"detail":"Not now."`) {
		t.Errorf("the placeholder is %s", shown)
	}
}

// A report sets every placeholder, if only to nothing: the name of one that isn't
// set would be printed. It doesn't overwrite those that were set before.
func TestReportSetsEveryPlaceholder(t *testing.T) {
	a, _ := newResponder(t, "PUT", "If-Match", `"sent"`)
	all := []string{"outcome", "reason", "resource", "condition", "provided_etag", "current_etag", "problem"}
	for _, name := range all {
		if _, set := placeholder(a, name); set {
			t.Errorf("%s is set before", name)
		}
	}
	a.Report(Passed, "")
	for _, name := range all {
		value, set := placeholder(a, name)
		want := map[string]string{"outcome": "passed", "resource": "example.com/page"}[name]
		if !set || value != want {
			t.Errorf("%s: %v, %q, want %q", name, set, value, want)
		}
	}
	a.ReportCondition(validator.IfMatch, tag("current"))
	a.Report(Failed, "why")
	for name, want := range map[string]string{
		"outcome": "failed", "reason": "why", "condition": "If-Match", "provided_etag": `"sent"`, "current_etag": `"current"`,
	} {
		if got, _ := placeholder(a, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Every outcome is counted under its own name, in both modes, from the start: a
// metric that first appears with its first event can't be compared with before.
func TestEveryOutcomeIsLabelled(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 { // a second handler of the same config
		if err := telemetry.Register(registry); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []Mode{Enforce, ReportOnly} {
		observer := NewObserver(t.Name(), mode, zap.NewNop(), nil)
		for _, o := range declaredOutcomes(t) {
			before, ok := count(t, registry, o, mode)
			if !ok {
				t.Errorf("%s %s isn't there from the start", o, mode)
			}
			a, _ := newResponder(t, "GET")
			a.Mode, a.Observer = mode, observer
			a.Report(o, "")
			if after, _ := count(t, registry, o, mode); after != before+1 {
				t.Errorf("%s %s: %v, then %v", o, mode, before, after)
			}
		}
	}
}

// declaredOutcomes returns the constants of type Outcome, as the source has them.
func declaredOutcomes(t *testing.T) (declared []Outcome) {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), "outcome.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(source, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || spec.Type.(*ast.Ident).Name != "Outcome" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		declared = append(declared, Outcome(text))
		return true
	})
	return declared
}

// count returns how many requests to the handler of the test had an outcome.
func count(t *testing.T, registry *prometheus.Registry, o Outcome, mode Mode) (n float64, found bool) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "caddy_preconditions_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := make(map[string]string)
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["handler"] == t.Name() && labels["outcome"] == string(o) && labels["mode"] == string(mode) {
				n, found = n+metric.GetCounter().GetValue(), true
			}
		}
	}
	return n, found
}

// What a refusal keeps from being lost is counted: a write whose condition is false for what
// is there. Nothing is lost if there is nothing, if the tag is no tag, if it may still hold, or
// if nothing was refused.
func TestLostUpdatesPrevented(t *testing.T) {
	there, gone := validator.Representation{State: validator.Present, ETag: tag("current")}, validator.Representation{State: validator.Absent}
	failing := func(field validator.Field, reason validator.Reason) validator.Result {
		return validator.Result{Verdict: validator.False, Field: field, Reason: reason}
	}
	for name, tt := range map[string]struct {
		method  string
		refusal func(a *Responder) Refusal
		mode    Mode
		want    bool
	}{
		"an outdated tag": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), there)
		}, Enforce, true},
		"an outdated tag of a DELETE": {"DELETE", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), there)
		}, Enforce, true},
		"to be created, and there": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfNoneMatch, validator.Exists), there)
		}, Enforce, true},
		"the tag that it must not have": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfNoneMatch, validator.Matched), there)
		}, Enforce, true},
		"modified since": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfUnmodifiedSince, validator.Modified), there)
		}, Enforce, true},
		"replaced by a later write": {"PUT", func(a *Responder) Refusal { return a.Replaced(validator.IfMatch) }, Enforce, true},
		"a read": {"GET", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), there)
		}, Enforce, false},
		"nothing is there": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.DoesNotExist), gone)
		}, Enforce, false},
		"nothing to delete": {"DELETE", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), gone)
		}, Enforce, false},
		"a malformed tag": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.Malformed), there)
		}, Enforce, false},
		"the weak form of the tag": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.Weakened), there)
		}, Enforce, false},
		"a date that proves nothing": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfUnmodifiedSince, validator.WeakDate), there)
		}, Enforce, false},
		"no condition":   {"PUT", func(a *Responder) Refusal { return a.ConditionRequired(0) }, Enforce, false},
		"waited in vain": {"PUT", func(*Responder) Refusal { return WriteInFlight() }, Enforce, false},
		"can't tell":     {"PUT", func(a *Responder) Refusal { return a.CannotTell("why") }, Enforce, false},
		"an outdated tag in mode report": {"PUT", func(a *Responder) Refusal {
			return a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), there)
		}, ReportOnly, false},
	} {
		a, _ := newResponder(t, tt.method, "If-Match", `"sent"`)
		a.Mode = tt.mode
		if got := preventsLoss(a, tt.refusal(a)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	a, _ := newResponder(t, "PUT", "If-Match", `"undefined"`)
	if preventsLoss(a, a.ConditionFailed(failing(validator.IfMatch, validator.NoMatch), there)) {
		t.Error("the client has kept no tag")
	}
}

// An answer has the status and the content that it is given, but none for HEAD.
func TestSend(t *testing.T) {
	for _, tt := range []struct{ method, content, want string }{
		{"PUT", "content", "content"}, {"GET", "content", "content"}, {"HEAD", "content", ""}, {"PUT", "", ""},
	} {
		a, w := newResponder(t, tt.method)
		var content []byte
		if tt.content != "" {
			content = []byte(tt.content)
		}
		if err := a.Send(http.StatusTeapot, content); err != nil || w.Code != http.StatusTeapot || w.Body.String() != tt.want {
			t.Errorf("%s: %v, %d, %q, want %q", tt.method, err, w.Code, w.Body, tt.want)
		}
	}
}

// On HTTP/1, the connection ends after an answer that doesn't take care of the
// content: with error routes, after Expect, or if there is too much to discard
// (RFC 9110, section 10.1.1; RFC 9112, section 9.3).
func TestConnectionEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(*Responder)
		closes bool
	}{
		{"no content", func(a *Responder) { a.Request.Body, a.Request.ContentLength = http.NoBody, 0; a.ErrorRoutes = true }, false},
		{"content", func(*Responder) {}, false},
		{"error routes", func(a *Responder) { a.ErrorRoutes = true }, true},
		{"100-continue is expected", func(a *Responder) { a.Request.Header.Set("Expect", "100-Continue") }, true},
		{"something else is expected", func(a *Responder) { a.Request.Header.Set("Expect", "200-ok") }, false},
		{"as much content as is discarded", func(a *Responder) { a.Request.ContentLength = maxDiscard }, false},
		{"too much content", func(a *Responder) { a.Request.ContentLength = maxDiscard + 1 }, true},
		{"error routes on HTTP/2", func(a *Responder) { a.ErrorRoutes = true; a.Request.ProtoMajor = 2 }, false},
	} {
		a, w := newResponder(t, "PUT")
		a.Request.Body, a.Request.ContentLength = io.NopCloser(strings.NewReader("content")), 7
		tt.edit(a)
		if err := a.Refuse(a.ConditionRequired(0)); (err != nil) != a.ErrorRoutes {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := w.Header().Get("Connection") == "close"; got != tt.closes {
			t.Errorf("%s: closes: %v", tt.name, got)
		}
	}
}

// The access log tells the outcome. A server that writes none doesn't pay for that.
func TestLogFields(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server *caddyhttp.Server
		added  bool
	}{
		{"with an access log", &caddyhttp.Server{Logs: new(caddyhttp.ServerLogConfig)}, true},
		{"without one", new(caddyhttp.Server), false},
		{"outside of a server", nil, true},
	} {
		fields := new(caddyhttp.ExtraLogFields)
		ctx := context.WithValue(t.Context(), caddyhttp.ExtraLogFieldsCtxKey, fields)
		r := httptest.NewRequestWithContext(ctx, "GET", "http://example.com/page", nil)
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), tt.server)
		fields, _ = r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
		a := &Responder{Config: &Config{Mode: Enforce, Logger: zap.NewNop()}, Request: resource.NewRequest(r)}
		a.LogFields()
		if !reflect.DeepEqual(fields, new(caddyhttp.ExtraLogFields)) {
			t.Errorf("%s: fields before anything was reported", tt.name)
		}
		a.Report(Read, "why")
		a.LogFields()
		if added := !reflect.DeepEqual(fields, new(caddyhttp.ExtraLogFields)); added != tt.added {
			t.Errorf("%s: added: %v", tt.name, added)
		}
	}
}
