package telemetry

import (
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Each refusal is one line at INFO, with what the client sent, what was current, and why.
func TestRefusalIsLogged(t *testing.T) {
	text, url := site(t, "require", caddytest.Serve(t, writable(t)))
	c := load(t, "", text)
	tag := caddytest.Send(t, "GET", url+"/docs/a", "").Tag(t)
	host := caddytest.Host(t)
	for _, tt := range []struct {
		name   string
		method string
		fields []string
		status int
		want   line
	}{
		{"an outdated tag", "PUT", []string{"If-Match", `"old"`}, 412, line{
			"outcome": "failed", "reason": "If-Match: no match", "reason_code": "no_match", "condition": "If-Match", "provided": `"old"`, "current": tag, "probed": 0.0, "prevented_lost_update": true,
		}},
		{"what was to be created is there", "PUT", []string{"If-None-Match", "*"}, 412, line{
			"outcome": "failed", "reason": "If-None-Match: exists", "reason_code": "exists", "condition": "If-None-Match", "provided": "*", "current": tag,
		}},
		{"no condition", "DELETE", nil, 428, line{
			"outcome": "required", "reason": "no condition", "reason_code": "no_condition", "condition": "", "provided": "", "current": "",
		}},
		{"a malformed tag", "PUT", []string{"If-Match", "old"}, 412, line{
			"outcome": "failed", "reason": "If-Match: malformed", "reason_code": "malformed", "condition": "If-Match", "provided": "old", "current": "",
		}},
		{"a client without a tag", "PUT", []string{"If-Match", `"null"`}, 412, line{
			"outcome": "failed", "reason": "If-Match: no match, no tag kept", "reason_code": "no_tag_kept", "condition": "If-Match", "provided": `"null"`, "current": tag,
		}},
		{"too many tags", "PUT", []string{"If-Match", strings.Repeat(`"x", `, 2000)}, 431, line{
			"outcome": "unverifiable", "reason": "too many conditions", "reason_code": "too_many_conditions", "condition": "",
		}},
		{"a read of what was replaced", "GET", []string{"If-Match", `"old"`}, 412, line{
			"outcome": "failed", "reason_code": "no_match", "condition": "If-Match", "provided": `"old"`, "current": tag,
		}},
	} {
		before := len(c.lines(t, "refused"))
		caddytest.Send(t, tt.method, url+"/docs/a", "", tt.fields...).Expect(t, tt.status)
		lines := c.lines(t, "refused")[before:]
		if len(lines) != 1 {
			t.Errorf("%s: logged %v", tt.name, lines)
			continue
		}
		want := line{
			"level": "info", "logger": "http.handlers.preconditions", "handler": host, "method": tt.method, "resource": host + "/docs/a",
			"status": float64(tt.status), "waited": 0.0,
		}
		for name, value := range tt.want {
			want[name] = value
		}
		for name, value := range want {
			if lines[0][name] != value {
				t.Errorf("%s: %s is %v, want %v", tt.name, name, lines[0][name], value)
			}
		}
	}
}

// The log has the current tag even if clients may not learn it.
func TestRefusalIsLoggedWithUndisclosedTag(t *testing.T) {
	text, url := site(t, "disclose off", caddytest.Serve(t, writable(t)))
	c := load(t, "", text)
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 412); strings.Contains(a.Content, strings.Trim(tag, `"`)) {
		t.Errorf("the client got %s", a.Content)
	}
	if lines := c.lines(t, "refused"); len(lines) != 1 || lines[0]["current"] != tag {
		t.Errorf("logged %v", lines)
	}
}

// A request that the origin was asked for, or that has waited, says so.
func TestRefusalIsLoggedWithWhatItTook(t *testing.T) {
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "wait 50ms", caddytest.Serve(t, docs))
	url += "/docs/a"
	c := load(t, "", text)
	caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 412) // nothing is stored yet
	done := gate.Send(t.Context(), t, "PUT", url, "two", "If-Match", "*")
	caddytest.Send(t, "PUT", url, "three", "If-Match", "*").Expect(t, 503)
	gate.Open()
	caddytest.ExpectResult(t, done, 204)
	lines := c.lines(t, "refused")
	if len(lines) != 2 {
		t.Fatalf("logged %v", lines)
	}
	if probed, _ := lines[0]["probed"].(float64); probed != 1 {
		t.Errorf("probed: %v", lines[0])
	}
	if waited, _ := lines[1]["waited"].(float64); waited < 0.05 || lines[1]["outcome"] != "conflict" || lines[1]["reason_code"] != "write_in_flight" {
		t.Errorf("waited: %v", lines[1])
	}
}

// In mode report, what would be refused is logged, and forwarded.
func TestWouldBeRefusedIsLogged(t *testing.T) {
	text, url := site(t, "mode report\nrequire", caddytest.Serve(t, writable(t)))
	c := load(t, "", text)
	caddytest.Send(t, "GET", url, "").Expect(t, 200)
	caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 200)
	caddytest.Send(t, "PUT", url, "x").Expect(t, 200)
	lines := c.lines(t, "refused", "would be refused")
	if len(lines) != 2 {
		t.Fatalf("logged %v", lines)
	}
	for i, want := range []line{
		{"msg": "would be refused", "status": 412.0, "outcome": "failed", "reason_code": "no_match", "provided": `"old"`},
		{"msg": "would be refused", "status": 428.0, "outcome": "required", "reason_code": "no_condition", "provided": ""},
	} {
		for name, value := range want {
			if lines[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i, name, lines[i][name], value)
			}
		}
	}
}

// However many requests are refused, the log has room for each, or says how many it left out.
func TestFloodOfRefusals(t *testing.T) {
	text, url := site(t, "", caddytest.Serve(t, writable(t)))
	c := load(t, "", text)
	caddytest.Send(t, "GET", url, "").Expect(t, 200)
	const sent = 500
	for range sent {
		caddytest.Send(t, "PUT", url, "x", "If-Match", `"old"`).Expect(t, 412)
	}
	caddytest.Eventually(t, "each refusal is logged or counted", func() bool {
		n := len(c.lines(t, "refused"))
		for _, l := range c.lines(t, "more refusals than are logged in a second") {
			n += int(l["left_out"].(float64))
		}
		return n == sent
	})
}
