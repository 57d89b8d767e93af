package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// ask reads JSON from the admin API, and fails the test unless the API's own description
// allows what comes.
func ask(t testing.TB, admin, path string, into any) (content string) {
	t.Helper()
	a := caddytest.Send(t, "GET", admin+path, "").Expect(t, 200)
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type %s", path, got)
	}
	var described struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal([]byte(caddytest.Send(t, "GET", admin+"/preconditions/openapi.json", "").Expect(t, 200).Content), &described); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(path, "?")
	var value any
	if err := json.Unmarshal([]byte(a.Content), &value); err != nil {
		t.Fatalf("%s: %v: %s", path, err, a.Content)
	}
	schema := described.Paths[name]["get"].Responses["200"].Content["application/json"].Schema
	if schema == nil {
		t.Fatalf("%s isn't described", name)
	}
	for _, fault := range violations(described.Components.Schemas, schema, value, name) {
		t.Error(fault)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(a.Content), into); err != nil {
			t.Fatalf("%s: %v: %s", path, err, a.Content)
		}
	}
	return a.Content
}

// violations returns what is wrong with a value. It knows what the description uses of JSON
// Schema.
func violations(schemas map[string]map[string]any, schema map[string]any, value any, at string) (faults []string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
	}
	is := ""
	switch v := value.(type) {
	case map[string]any:
		is = "object"
		properties, _ := schema["properties"].(map[string]any)
		for name, member := range v {
			described, ok := properties[name].(map[string]any)
			if !ok {
				faults = append(faults, at+"."+name+" isn't described")
				continue
			}
			faults = append(faults, violations(schemas, described, member, at+"."+name)...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				faults = append(faults, fmt.Sprintf("%s.%s is missing", at, name))
			}
		}
	case []any:
		is = "array"
		items, _ := schema["items"].(map[string]any)
		for _, item := range v {
			faults = append(faults, violations(schemas, items, item, at+"[]")...)
		}
	case string:
		is = "string"
		if words, ok := schema["enum"].([]any); ok && !slices.Contains(words, any(v)) {
			faults = append(faults, fmt.Sprintf("%s: %q isn't among %v", at, v, words))
		}
	case bool:
		is = "boolean"
	case float64:
		if is = "number"; v == float64(int64(v)) && schema["type"] == "integer" {
			is = "integer"
		}
	default:
		is = "null"
	}
	if schema["type"] != is {
		faults = append(faults, fmt.Sprintf("%s is %s, and described as %v", at, is, schema["type"]))
	}
	return faults
}

type claims struct {
	Claims []struct {
		Store, Resource, Kind string
		Age                   float64 `json:"age_seconds"`
		Left                  float64 `json:"left_seconds"`
	}
	Waiting []struct {
		Store, Resource string
		Writes          int
	}
}

// The admin API shows the claims and passes that this node holds, and how many writes wait for
// them. Both are gone when the writes are over.
func TestClaims(t *testing.T) {
	for name, store := range map[string]string{"memory": "", "redis": "store redis redis://" + caddytest.UsedRedis(t).Addr + " {\ntimeout 5s\n}\n"} {
		t.Run(name, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			address := caddytest.Address(t)
			admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(store+"verify never", caddytest.Serve(t, docs))))
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			caddytest.Bypass(t, docs, "PUT", "/docs/b", "b")
			site := "http://" + address
			tag := caddytest.ReadTwice(t, site+"/docs/a")
			var shown claims
			ask(t, admin, "/preconditions/claims", &shown)
			if len(shown.Claims)+len(shown.Waiting) != 0 {
				t.Errorf("got %+v", shown)
			}

			first := g.Send(t.Context(), t, "PUT", site+"/docs/a", "x", "If-Match", tag)
			second := g.Send(t.Context(), t, "PUT", site+"/docs/b", "x")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var waiting []<-chan caddytest.Result
			for range 3 {
				waiting = append(waiting, caddytest.Go(ctx, "PUT", site+"/docs/a", "y"))
			}
			key := caddytest.Host(t) + "/docs/a"
			caddytest.Eventually(t, "three writes wait", func() bool {
				ask(t, admin, "/preconditions/claims", &shown)
				return len(shown.Waiting) == 1 && shown.Waiting[0].Writes == 3
			})
			if w := shown.Waiting[0]; w.Store != name || w.Resource != key {
				t.Errorf("got %+v", w)
			}
			kinds := map[string]string{}
			for _, c := range shown.Claims {
				kinds[c.Resource] = c.Kind
				if c.Store != name || c.Left <= 0 || c.Left > 30 || c.Age < 0 {
					t.Errorf("got %+v", c)
				}
			}
			if len(kinds) != 2 || kinds[key] != "claim" || kinds[caddytest.Host(t)+"/docs/b"] != "pass" {
				t.Errorf("got %+v", shown.Claims)
			}
			g.Open()
			for _, done := range append(waiting, first, second) {
				caddytest.ExpectResult(t, done, 204)
			}
			ask(t, admin, "/preconditions/claims", &shown)
			if len(shown.Claims)+len(shown.Waiting) != 0 {
				t.Errorf("got %+v", shown)
			}
		})
	}
}

// The admin API shows whether each store can be reached, and what was written without it.
func TestStores(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	server := caddytest.UsedRedis(t)
	node := caddytest.StartNode(t, caddytest.Guarded("store redis redis://"+server.Addr+" {\ntimeout 5s\n}", caddytest.Serve(t, docs)))
	stores := func() string {
		out, status := runCommand(t, "stores", "--json", "--address", "unix/"+node.Socket())
		if status != 0 {
			t.Fatalf("exit code %d\n%s", status, out)
		}
		return out
	}
	caddytest.Send(t, "PUT", node.URL+"/docs/a", "x").ExpectSuccess(t)
	if out := stores(); !strings.Contains(out, `{"store":"redis","state":"up"`) || !strings.Contains(out, `"keys":["{http.request.host}{http.request.uri.path}"]`) ||
		!strings.Contains(out, `"journal":{"resources":0,"untold":0,"in_flight":0}`) {
		t.Errorf("got %s", out)
	}
	server.Kill()
	caddytest.Send(t, "PUT", node.URL+"/docs/a", "y").ExpectSuccess(t)
	if out := stores(); !strings.Contains(out, `"state":"out of reach"`) || !strings.Contains(out, `"journal":{"resources":1,"untold":1,"in_flight":0,"listed":["`+caddytest.Host(t)+`/docs/a"]}`) {
		t.Errorf("got %s", out)
	}
	text := told(t, "stores", "--address", "unix/"+node.Socket())
	if want := "journal 1 resource written without the store 1 not yet told to the store, 0 with writes in flight " + caddytest.Host(t) + "/docs/a"; !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}

type stats struct {
	Begun, Since string
	Prevented    int `json:"lost_updates_prevented"`
	Lost         int `json:"lost_updates"`
	Requests     []struct {
		Mode, Outcome string
		Count         float64
	}
	Handlers []struct {
		Handler, Mode string
		Prevented     int `json:"lost_updates_prevented"`
		Lost          int `json:"lost_updates"`
		Writes        []struct {
			Method, Outcome string
			Count           int
		}
		Clients []struct {
			Client string
			Writes int
		} `json:"without_condition"`
	}
}

// of returns what was counted of one handler.
func (s stats) of(t testing.TB, handler, mode string) (writes, clients map[string]int, prevented, lost int) {
	t.Helper()
	for _, h := range s.Handlers {
		if h.Handler != handler || h.Mode != mode {
			continue
		}
		writes, clients = map[string]int{}, map[string]int{}
		for _, w := range h.Writes {
			writes[w.Method+" "+w.Outcome] = w.Count
		}
		for _, c := range h.Clients {
			clients[c.Client] = c.Writes
		}
		return writes, clients, h.Prevented, h.Lost
	}
	t.Fatalf("no handler %s in mode %s: %+v", handler, mode, s)
	panic("unreachable")
}

// The statistics count each write by its outcome, the lost updates that were prevented, and
// which clients send no conditions. They survive a reload.
func TestStats(t *testing.T) {
	p := loadPurgeable(t, "require DELETE")
	host := caddytest.Host(t)
	path := p.url + "/docs/a"
	tag := p.known(t, "/docs/a")
	caddytest.Send(t, "PUT", path, "x", "If-Match", tag, "User-Agent", "editor/1").Expect(t, 204)
	caddytest.Send(t, "PUT", path, "x", "If-Match", tag, "User-Agent", "editor/1").Expect(t, 412)
	caddytest.Send(t, "PUT", path, "x", "If-None-Match", "*", "User-Agent", "editor/1").Expect(t, 412)
	caddytest.Send(t, "PUT", path, "x", "If-Match", "x", "User-Agent", "editor/1").Expect(t, 412) // malformed
	caddytest.Send(t, "PUT", path, "x", "User-Agent", "script/2.0 (nightly)").Expect(t, 204)
	caddytest.Send(t, "PUT", path, "x", "User-Agent", "script/2.1").Expect(t, 204)
	caddytest.Send(t, "DELETE", path, "", "User-Agent", "curl/8").Expect(t, 428)
	check := func(s stats) {
		t.Helper()
		writes, clients, prevented, lost := s.of(t, host, "enforce")
		if want := map[string]int{"PUT passed": 1, "PUT failed": 3, "PUT unconditional": 2, "DELETE required": 1}; fmt.Sprint(writes) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", writes, want)
		}
		if want := map[string]int{"script": 2, "curl": 1}; fmt.Sprint(clients) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", clients, want)
		}
		if prevented != 2 || lost != 0 {
			t.Errorf("%d prevented, %d lost", prevented, lost)
		}
		if s.Prevented < 2 || len(s.Requests) == 0 || s.Begun == "" || s.Since < s.Begun {
			t.Errorf("got %+v", s)
		}
	}
	var s stats
	ask(t, p.admin, "/preconditions/stats", &s)
	check(s)
	ask(t, p.admin, "/preconditions/stats?since=7d", &s)
	check(s)
	if n := caddytest.Metric(t, p.admin+"/metrics", "caddy_preconditions_lost_updates_prevented_total", "handler", host); n != 2 {
		t.Errorf("the metric says %v", n)
	}
	again := loadPurgeable(t, "require PUT")
	ask(t, again.admin, "/preconditions/stats", &s)
	check(s)
	for _, bad := range []string{"yesterday", "-1h", "7"} {
		caddytest.Send(t, "GET", again.admin+"/preconditions/stats?since="+bad, "").Expect(t, 400)
	}
}

// refusal is a record of a refusal.
type refusal struct {
	Time, Handler, Mode, Method, Resource, Outcome, Reason, Condition, Provided, Current string

	Status, Probed int
	Code           string `json:"reason_code"`
	Prevented      bool   `json:"prevented_lost_update"`
}

// The last refusals are shown with what the client sent and what was current, the newest first.
func TestRefusals(t *testing.T) {
	p := loadPurgeable(t, "require DELETE\nverify never")
	tag := p.known(t, "/docs/a")
	path := p.url + "/docs/a"
	caddytest.Send(t, "PUT", path, "x", "If-Match", `"stale"`).Expect(t, 412)
	caddytest.Send(t, "DELETE", path, "").Expect(t, 428)
	caddytest.Send(t, "PUT", p.url+"/other", "x", "If-Match", `"other"`).Expect(t, 412)
	var got struct{ Refusals []refusal }
	list := func(query string) []refusal {
		t.Helper()
		got.Refusals = nil
		ask(t, p.admin, "/preconditions/refusals"+query, &got)
		return got.Refusals
	}
	key := caddytest.Host(t) + "/docs/a"
	for _, query := range []string{"?resource=" + url.QueryEscape(path), "?resource=" + key, "?since=1h&resource=" + url.QueryEscape(p.url+"/docs/*")} {
		all := list(query)
		if len(all) != 2 {
			t.Fatalf("%s: got %+v", query, all)
		}
		if r := all[0]; r.Status != 428 || r.Method != "DELETE" || r.Code != "no_condition" || r.Prevented {
			t.Errorf("got %+v", r)
		}
		r := all[1]
		r.Time = ""
		want := refusal{
			Handler: caddytest.Host(t), Mode: "enforce", Method: "PUT", Resource: key, Outcome: "failed", Reason: r.Reason, Status: 412,
			Condition: "If-Match", Provided: `"stale"`, Current: tag, Code: "no_match", Prevented: true,
		}
		if r != want || r.Reason == "" {
			t.Errorf("got %+v\nwant %+v", r, want)
		}
	}
	if all := list("?limit=1"); len(all) != 1 || all[0].Resource != caddytest.Host(t)+"/other" || all[0].Prevented {
		t.Errorf("got %+v", all)
	}
	if all := list("?until=1h&resource=" + key); len(all) != 0 {
		t.Errorf("got %+v", all)
	}
	for _, bad := range []string{"?since=x", "?until=x", "?limit=0", "?limit=x", "?resource=" + url.QueryEscape("ftp://x")} {
		caddytest.Send(t, "GET", p.admin+"/preconditions/refusals"+bad, "").Expect(t, 400)
	}
}

// No answer of the admin API has credentials, cookies or content of requests and responses.
func TestNoSecretsInTheAPI(t *testing.T) {
	p := loadPurgeable(t, "require DELETE")
	secret := "s3cr3t"
	fields := []string{
		"Authorization", "Basic " + secret, "Proxy-Authorization", secret, "Cookie", "session=" + secret, "X-Api-Key", secret,
		"User-Agent", "client/" + secret + " (" + secret + ")", "Referer", "http://x/" + secret,
	}
	caddytest.Send(t, "PUT", p.url+"/docs/a", secret, fields...).Expect(t, 204)
	caddytest.Send(t, "GET", p.url+"/docs/a?token="+secret, "", fields...).Expect(t, 200)
	caddytest.Send(t, "PUT", p.url+"/docs/a?token="+secret, secret, append(fields, "If-Match", `"x"`)...).Expect(t, 412)
	caddytest.Send(t, "DELETE", p.url+"/docs/a?token="+secret, secret, fields...).Expect(t, 428)
	for _, path := range []string{"claims", "stores", "stats", "refusals", "resource?url=" + url.QueryEscape(p.url+"/docs/a")} {
		if content := ask(t, p.admin, "/preconditions/"+path, nil); strings.Contains(content, secret) {
			t.Errorf("%s: %s", path, content)
		}
	}
}

// All of this can only be read.
func TestStateIsOnlyRead(t *testing.T) {
	p := loadPurgeable(t, "")
	for _, path := range []string{"claims", "stores", "stats", "refusals", "openapi.json"} {
		a := caddytest.Send(t, "POST", p.admin+"/preconditions/"+path, "{}", "Content-Type", "application/json").Expect(t, 405)
		if a.Header.Get("Allow") != "GET" {
			t.Errorf("%s: Allow %q", path, a.Header.Get("Allow"))
		}
	}
}

// In mode report, the statistics say which writes would be refused, who sends no conditions,
// and how many updates were lost: writes that replaced what their client hadn't seen.
func TestReportStats(t *testing.T) {
	for name, store := range map[string]string{"memory": "", "redis": "store redis redis://" + caddytest.UsedRedis(t).Addr + " {\ntimeout 5s\n}\n"} {
		t.Run(name, func(t *testing.T) {
			p := loadPurgeable(t, store+"mode report\nrequire PUT\nverify never")
			host := caddytest.Host(t)
			caddytest.Bypass(t, p.docs, "PUT", "/docs/a", "one")
			path := p.url + "/docs/a"
			alice, bob := []string{"User-Agent", "alice/1"}, []string{"User-Agent", "bob/1"}
			read := func(who []string) string { return caddytest.Send(t, "GET", path, "", who...).Expect(t, 200).Tag(t) }
			write := func(method string, who []string, more ...string) {
				t.Helper()
				caddytest.Send(t, method, path, "x", append(more, who...)...)
			}
			total := 0
			expect := func(what string, lost int) {
				t.Helper()
				total += lost
				var s stats
				ask(t, p.admin, "/preconditions/stats", &s)
				if _, _, _, got := s.of(t, host, "report"); got != total {
					t.Errorf("%s: %d updates were lost so far, want %d", what, got, total)
				}
			}
			write("PUT", bob)
			expect("nobody knows what bob has seen", 0)
			read(alice)
			tag := read(bob)
			write("PUT", alice)
			expect("alice has seen the state", 0)
			write("PUT", bob)
			expect("bob hasn't seen what alice wrote", 1)
			write("PUT", bob, "If-Match", tag)
			expect("bob's condition is false", 1)
			write("PUT", bob, "If-Match", read(bob))
			expect("bob's condition is true", 0)
			write("PUT", alice, "If-Match", "malformed")
			expect("alice hasn't seen what bob wrote, and says nothing about it", 1)
			read(bob)
			caddytest.Send(t, "GET", path, "", append(bob, "If-None-Match", read(alice))...).Expect(t, 304)
			write("DELETE", bob)
			expect("bob has seen it by a 304", 0)

			var s stats
			ask(t, p.admin, "/preconditions/stats", &s)
			writes, clients, prevented, _ := s.of(t, host, "report")
			if want := map[string]int{"PUT required": 3, "PUT failed": 2, "PUT passed": 1, "DELETE unconditional": 1}; fmt.Sprint(writes) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", writes, want)
			}
			if want := map[string]int{"alice": 1, "bob": 3}; fmt.Sprint(clients) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", clients, want)
			}
			if prevented != 0 {
				t.Errorf("%d lost updates were prevented", prevented)
			}
			var got struct{ Refusals []refusal }
			ask(t, p.admin, "/preconditions/refusals?resource="+host+"/docs/a", &got)
			if len(got.Refusals) < 5 || got.Refusals[0].Mode != "report" {
				t.Errorf("got %+v", got.Refusals)
			}
			if out := told(t, "stats", "--address", strings.TrimPrefix(p.admin, "http://")); !strings.Contains(out, "\nhandler   "+host+" (mode report)\n  prevented 0 lost updates\n  lost      3 updates\n") {
				t.Errorf("got\n%s", out)
			}
		})
	}
}
