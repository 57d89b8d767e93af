package telemetry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// statusOf returns the members of Preconditions-Status, each as its name and its parameters.
func statusOf(t *testing.T, a caddytest.Answer) (members []map[string]string) {
	t.Helper()
	list, err := httpsfv.UnmarshalList(a.Header.Values("Preconditions-Status"))
	if err != nil {
		t.Fatalf("%v in %q", err, a.Header.Values("Preconditions-Status"))
	}
	for _, one := range list {
		item := one.(httpsfv.Item)
		member := map[string]string{"": fmt.Sprint(item.Value)}
		for _, name := range item.Params.Names() {
			value, _ := item.Params.Get(name)
			member[name] = fmt.Sprint(value)
		}
		members = append(members, member)
	}
	return members
}

// Every response says how its request was treated, if the option asks for that. It never has a
// tag.
func TestStatusField(t *testing.T) {
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "status_field\nrequire PUT\nwait 50ms\ndisclose off", caddytest.Serve(t, docs))
	load(t, "", text)
	url += "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	for _, tt := range []struct {
		name   string
		method string
		fields []string
		status int
		want   map[string]string
	}{
		{"a read", "GET", nil, 200, map[string]string{"outcome": "read", "detail": "", "reason": ""}},
		{"what the client has", "GET", []string{"If-None-Match", tag}, 304, map[string]string{"outcome": "unmodified"}},
		{"another method", "OPTIONS", nil, 405, map[string]string{"outcome": "bypassed"}},
		{"an outdated tag", "PUT", []string{"If-Match", `"old"`}, 412, map[string]string{"outcome": "failed", "reason": "no_match", "detail": "If-Match: no match"}},
		{"a read of what was replaced", "GET", []string{"If-Match", `"old"`}, 412, map[string]string{"outcome": "failed", "reason": "no_match"}},
		{"a representation with the refusal", "PUT", []string{"If-Match", `"old"`, "Prefer", "return=representation"}, 412, map[string]string{"outcome": "failed"}},
		{"no condition", "PUT", nil, 428, map[string]string{"outcome": "required", "reason": "no_condition"}},
		{"a malformed tag", "PUT", []string{"If-Match", "old"}, 412, map[string]string{"outcome": "failed", "reason": "malformed"}},
		{"the current tag", "PUT", []string{"If-Match", tag}, 204, map[string]string{"outcome": "passed", "probed": "2", "waited": ""}},
		{"a write without a condition", "DELETE", nil, 204, map[string]string{"outcome": "unconditional"}},
	} {
		a := caddytest.Send(t, tt.method, url, "two", tt.fields...).Expect(t, tt.status)
		expectStatus(t, tt.name, statusOf(t, a), tt.want)
		if got := strings.Join(a.Header.Values("Preconditions-Status"), ""); strings.Contains(got, strings.Trim(tag, `"`)) {
			t.Errorf("%s: the field has the tag: %s", tt.name, got)
		}
	}
	done := gate.Send(t.Context(), t, "PUT", url, "x", "If-None-Match", "*")
	a := caddytest.Send(t, "DELETE", url, "").Expect(t, 503)
	gate.Open()
	caddytest.ExpectResult(t, done, 201)
	members := statusOf(t, a)
	expectStatus(t, "waited in vain", members, map[string]string{"outcome": "conflict", "reason": "write_in_flight"})
	if members[0]["waited"] == "" {
		t.Errorf("the field doesn't say how long: %v", members)
	}
}

func expectStatus(t *testing.T, name string, members []map[string]string, want map[string]string) {
	t.Helper()
	if len(members) != 1 || members[0][""] != "caddy" {
		t.Errorf("%s: got %v", name, members)
		return
	}
	for parameter, value := range want {
		if members[0][parameter] != value {
			t.Errorf("%s: %s is %q, want %q", name, parameter, members[0][parameter], value)
		}
	}
}

// Without the option there is no field. A name may be chosen, the mode is told, and handlers
// add to what those nearer to the origin have said.
func TestStatusFieldOfSeveralHandlers(t *testing.T) {
	origin := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Preconditions-Status", `origin; outcome=read`)
		_, _ = w.Write([]byte("content"))
	}))
	inner, innerURL := site(t, "", caddytest.Serve(t, writable(t)))
	outer, outerURL := site(t, "status_field node-1\nmode report", origin)
	load(t, "", inner+outer)
	if a := caddytest.Send(t, "PUT", innerURL, "x", "If-Match", `"old"`).Expect(t, 412); a.Header.Values("Preconditions-Status") != nil {
		t.Errorf("got %q", a.Header.Values("Preconditions-Status"))
	}
	for method, outcome := range map[string]string{"GET": "read", "PUT": "failed"} {
		members := statusOf(t, caddytest.Send(t, method, outerURL, "", "If-Match", map[string]string{"GET": "*", "PUT": `"old"`}[method]).Expect(t, 200))
		if len(members) != 2 || members[0][""] != "origin" || members[1][""] != "node-1" || members[1]["outcome"] != outcome || members[1]["mode"] != "report" {
			t.Errorf("%s: got %v", method, members)
		}
	}
}
