package relation

import (
	"cmp"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// rulesOf makes rules from lines such as "affects /a /b".
func rulesOf(t testing.TB, lines ...string) *Rules {
	t.Helper()
	rules := &Rules{Namer: &resource.Namer{Template: "{http.request.uri.path}"}}
	for _, line := range lines {
		words := strings.Fields(line)
		rule, err := ParseRule(words[1], words[2:]...)
		if err != nil {
			t.Fatal(err)
		}
		switch words[0] {
		case "affects":
			rules.Affects = append(rules.Affects, rule)
			rules.Namer.Roots = append(rules.Namer.Roots, rule.Roots()...)
		case "guards":
			rules.Guards = append(rules.Guards, rule)
		default:
			t.Fatalf("no rule: %s", line)
		}
	}
	return rules
}

// requestOf makes a request as Caddy passes it to handlers, from a line such as
// "PUT /a", and fields such as "If-Match: *". A path after an arrow is what an
// earlier handler made of the first: "PUT /public/a > /a".
func requestOf(line string, fields ...string) *resource.Request {
	method, target, _ := strings.Cut(line, " ")
	target, rewritten, _ := strings.Cut(target, " > ")
	r := httptest.NewRequest(method, target, nil)
	r.URL.Scheme, r.URL.Host, r.Host = "", "", "example.com"
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Add(name, value)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
	if rewritten != "" {
		r.URL.Path, r.URL.RawPath = rewritten, ""
	}
	return resource.NewRequest(r)
}

// text shows a plan on one line: "subject | others | subtrees". An exclusive lock
// has an exclamation mark.
func text(p Plan) string {
	var parts [3][]string
	parts[0] = []string{p.Subject.Key}
	if p.Guarded {
		parts[0] = append(parts[0], "(guarded)")
	}
	for i, others := range [][]Other{p.Others, p.Subtrees} {
		for _, o := range others {
			key := strings.ReplaceAll(o.Key, " ", ":")
			switch {
			case o.Role == ExclusiveLock:
				key += "!"
			case (o.Role == SharedLock) != strings.HasPrefix(key, "lock:"):
				key += " has a strange role"
			}
			parts[i+1] = append(parts[i+1], key)
		}
	}
	shown := strings.Join(parts[0], " ")
	for _, part := range parts[1:] {
		shown += " | " + strings.Join(part, " ")
	}
	return strings.TrimRight(shown, " |")
}

// What a write changes, what its conditions are about, and what it locks.
func TestPlan(t *testing.T) {
	const conditional, unconditional = "If-Match: *", "X-None: x"
	for _, tt := range []struct {
		name    string
		rules   []string
		request string
		fields  []string
		want    string
	}{
		{"nothing else", nil, "PUT /a", []string{conditional}, "/a"},

		{"affects", []string{"affects /items/* /items /index"}, "PUT /items/7", []string{unconditional}, "/items/7 | /index /items"},
		{"affects, with a condition", []string{"affects /items/* /items /index"}, "PUT /items/7", []string{conditional}, "/items/7 | /index /items"},
		{"affects what each * stood for", []string{"affects /*/x/* /*/y/*"}, "PUT /a/x/b", []string{unconditional}, "/a/x/b | /a/y/b"},
		{"affects with no rule for the path", []string{"affects /items/* /items"}, "PUT /other", []string{unconditional}, "/other"},
		{"every rule that matches counts", []string{"affects /items/* /items", "affects /*/7 /seven"}, "PUT /items/7", []string{unconditional}, "/items/7 | /items /seven"},
		{"what is named twice is taken once", []string{"affects /items/* /items /items/", "affects /items/7 /ITEMS"}, "PUT /items/7", []string{unconditional}, "/items/7 | /items"},
		{"the subject isn't among the others", []string{"affects /items/* /items/* /items"}, "PUT /items/7", []string{unconditional}, "/items/7 | /items"},
		{"others in the order of keys", []string{"affects /m /z /b /y /a"}, "PUT /m", []string{unconditional}, "/m | /a /b /y /z"},
		{"a read affects nothing", []string{"affects /items/* /items"}, "GET /items/7", []string{conditional}, "/items/7"},
		{"a safe method affects nothing", []string{"affects /items/* /items"}, "PROPFIND /items/7", []string{conditional}, "/items/7"},
		{"a read in disguise of a write", []string{"affects /items/* /items"}, "GET /items/7", []string{"X-HTTP-Method: patch"}, "/items/7 | /items"},
		{"slashes that are encoded may be part of a segment", []string{"affects /x/* /y/* /list"}, "PUT /x/a%2Fb", []string{unconditional}, "/x/a/b | /list /y/a/b"},

		{"guards", []string{"guards /orders/*/ship /orders/*"}, "POST /orders/7/ship", []string{conditional}, "/orders/7 (guarded) | /orders/7/ship"},
		{"guards nothing without a condition", []string{"guards /orders/*/ship /orders/*"}, "POST /orders/7/ship", []string{unconditional}, "/orders/7/ship"},
		{"guards nothing without a rule for the path", []string{"guards /orders/*/ship /orders/*"}, "POST /orders/7/bill", []string{conditional}, "/orders/7/bill"},
		{"the first rule that matches guards", []string{"guards /x /one", "guards /x /two"}, "POST /x", []string{conditional}, "/one (guarded) | /x"},
		{"what guards itself isn't guarded", []string{"guards /x/* /x/*", "guards /x/* /two"}, "POST /x/1", []string{conditional}, "/x/1"},
		{"guards and affects", []string{"guards /orders/*/ship /orders/*", "affects /orders/*/ship /stock /orders/*"}, "POST /orders/7/ship", []string{conditional}, "/orders/7 (guarded) | /orders/7/ship /stock"},

		{"a tree", []string{"affects /import /docs/**"}, "POST /import", []string{unconditional}, "/import | /docs lock:/docs! | age:/docs"},
		{"a tree is a tree whatever its spelling", []string{"affects /import /docs/** /Docs/./**"}, "POST /import", []string{unconditional}, "/import | /docs lock:/docs! | age:/docs"},
		{"a condition in a tree shares the locks of its ancestors", []string{"affects /import /docs/**"}, "PUT /docs/a/b", []string{conditional}, "/docs/a/b | lock:/docs lock:/docs/a"},
		{"a write without one shares none", []string{"affects /import /docs/**"}, "PUT /docs/a/b", []string{unconditional}, "/docs/a/b"},
		{"the root of a tree has no ancestor in it", []string{"affects /import /docs/**"}, "PUT /docs", []string{conditional}, "/docs"},
		{"what is guarded has ancestors, too", []string{"affects /import /docs/**", "guards /publish/* /docs/*"}, "POST /publish/a", []string{conditional}, "/docs/a (guarded) | /publish/a lock:/docs"},
		{"the target of a guarded write shares no lock", []string{"affects /import /docs/**", "guards /docs/* /other"}, "POST /docs/a", []string{conditional}, "/other (guarded) | /docs/a"},
		{"the strongest role of a lock counts", []string{"affects /docs/* /docs/**"}, "PUT /docs/a", []string{conditional}, "/docs/a | /docs lock:/docs! | age:/docs"},

		{"DELETE in a tree", []string{"affects /import /docs/**"}, "DELETE /docs/a", []string{unconditional}, "/docs/a | lock:/docs/a! | age:/docs/a"},
		{"DELETE in a tree, with a condition", []string{"affects /import /docs/**"}, "DELETE /docs/a", []string{conditional}, "/docs/a | lock:/docs lock:/docs/a! | age:/docs/a"},
		{"DELETE of a tree", []string{"affects /import /docs/**"}, "DELETE /docs/", []string{conditional}, "/docs | lock:/docs! | age:/docs"},
		{"DELETE elsewhere", []string{"affects /import /docs/**"}, "DELETE /other", []string{conditional}, "/other"},
		{"DELETE in lower case", []string{"affects /import /docs/**"}, "delete /docs/a", []string{unconditional}, "/docs/a | lock:/docs/a! | age:/docs/a"},
		{"POST as DELETE", []string{"affects /import /docs/**"}, "POST /docs/a", []string{"X-HTTP-Method-Override: delete"}, "/docs/a | lock:/docs/a! | age:/docs/a"},
		{"DELETE as POST may be either", []string{"affects /import /docs/**"}, "DELETE /docs/a", []string{"X-Method-Override: POST"}, "/docs/a | lock:/docs/a! | age:/docs/a"},
		{"PUT in a tree changes one resource", []string{"affects /import /docs/**"}, "PUT /docs/a", []string{unconditional}, "/docs/a"},

		{"MOVE", nil, "MOVE /a", []string{"Destination: /b"}, "/a | /b"},
		{"COPY", nil, "COPY /a", []string{"Destination: http://example.com/b"}, "/a | /b"},
		{"MOVE in a tree", []string{"affects /x /docs/**"}, "MOVE /docs/a", []string{"Destination: /docs/b"}, "/docs/a | /docs/b lock:/docs/a! lock:/docs/b! | age:/docs/b age:/docs/a"},
		{"COPY in a tree leaves its source", []string{"affects /x /docs/**"}, "COPY /docs/a", []string{"Destination: /docs/b"}, "/docs/a | /docs/b lock:/docs/b! | age:/docs/b"},
		{"COPY out of a tree", []string{"affects /x /docs/**"}, "COPY /docs/a", []string{"Destination: /b"}, "/docs/a | /b"},
		{"COPY into a tree", []string{"affects /x /docs/**"}, "COPY /a", []string{"Destination: /docs/b", conditional}, "/a | /docs/b lock:/docs/b! | age:/docs/b"},
		{"POST as MOVE", nil, "POST /a", []string{"X-HTTP-Method-Override: MOVE", "Destination: /b"}, "/a | /b"},
		{"a Destination without MOVE or COPY", nil, "PUT /a", []string{"Destination: /b"}, "/a"},
		{"no Destination", nil, "MOVE /a", nil, "/a"},
		{"the host of a Destination doesn't count", nil, "MOVE /a", []string{"Destination: http://example.org/b"}, "/a | /b"},
		{"neither scheme nor port of a Destination counts", nil, "MOVE /a", []string{"Destination: https://example.com:8443/b"}, "/a | /b"},
		{"a Destination with two slashes is a path, or has a host", nil, "MOVE /a", []string{"Destination: //example.org/b"}, "/a | /b /example.org/b"},
		{"a relative Destination is resolved against the target, or the root", nil, "MOVE /x/a", []string{"Destination: b"}, "/x/a | /b /x/b"},
		{"a query and a fragment may be part of the path", nil, "MOVE /a", []string{"Destination: /b?c#d"}, "/a | /b /b?c#d"},
		{"a method that nobody knows may have a Destination", nil, "RENAME /a", []string{"Destination: /b"}, "/a | /b"},
		{"POST as something that nobody knows", nil, "POST /a", []string{"X-HTTP-Method: rename", "Destination: /b"}, "/a | /b"},
		{"a Destination that leads nowhere", nil, "MOVE /a", []string{"Destination: http://[::1"}, "/a"},
		{"a Destination that is the source", nil, "MOVE /a", []string{"Destination: /A/"}, "/a"},
		{"two Destinations", nil, "MOVE /a", []string{"Destination: /c", "Destination: /b"}, "/a | /b /c"},
		{"three Destinations", nil, "MOVE /a", []string{"Destination: /b", "Destination: /c", "Destination: /d"}, "/a | /b /c /d"},
		{"a Destination may be rewritten as the path was", nil, "MOVE /dav/a > /a", []string{"Destination: /dav/b"}, "/a | /b /dav/b"},
		{"affects after a rewrite", []string{"affects /items/* /items"}, "PUT /api/items/7 > /items/7", []string{unconditional}, "/items/7 | /items"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules, request := rulesOf(t, tt.rules...), requestOf(tt.request, tt.fields...)
			plan := rules.Plan(request, rules.Namer.Own(request))
			if got := text(plan); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			holdsOrder(t, plan)
		})
	}
}

// A guarded resource is asked for as it is: with its own target, as the client
// would call it.
func TestGuardedSubject(t *testing.T) {
	rules := rulesOf(t, "guards /orders/*/ship /orders/*")
	request := requestOf("POST /api/orders/7/ship?now > /orders/7/ship", "If-Match: *")
	got := rules.Plan(request, rules.Namer.Own(request)).Subject
	if got.CurrentTarget != "/orders/7" || got.OriginalTarget != "/api/orders/7" {
		t.Errorf("targets %s and %s", got.CurrentTarget, got.OriginalTarget)
	}
	if asked := got.Request(request.Request); asked.URL.Path != "/orders/7" || asked.URL.RawQuery != "" {
		t.Errorf("asked for %s", asked.URL)
	}
}

// An encoded slash stays encoded where it is a part of a segment, so that the key
// of the resource is the one that its own requests have.
func TestEncodedSlash(t *testing.T) {
	rules := rulesOf(t, "affects /x/* /y/*")
	rules.Namer.Template = "{http.request.uri}"
	for path, want := range map[string]string{
		"/x/a%2Fb":   "/x/a%2Fb | /y/a%2Fb",
		"/x/a%2fb":   "/x/a%2fb | /y/a%2Fb",
		"/x/a%252Fb": "/x/a%252Fb | /y/a%252Fb",
		"/x/a%25b":   "/x/a%25b | /y/a%25b",
		"/x/a":       "/x/a | /y/a",
	} {
		request := requestOf("PUT " + path)
		if got := text(rules.Plan(request, rules.Namer.Own(request))); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// Everything that a write changes is marked when nobody is waited for: the subject
// first, and locks that are held alone, but none that are shared.
func TestChangedKeys(t *testing.T) {
	rules := rulesOf(t, "affects /docs/* /docs/a/** /index")
	request := requestOf("PUT /docs/x", "If-Match: *")
	plan := rules.Plan(request, rules.Namer.Own(request))
	if shown := "/docs/x | /docs/a /index lock:/docs/a! | age:/docs/a"; text(plan) != shown {
		t.Fatalf("got %s", text(plan))
	}
	want := []string{"/docs/x", "/docs/a", "/index", "lock /docs/a", "age /docs/a"}
	if got := plan.ChangedKeys(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	rules = rulesOf(t, "affects /import /docs/**")
	request = requestOf("PUT /docs/x", "If-Match: *")
	if got := rules.Plan(request, rules.Namer.Own(request)).ChangedKeys(); !slices.Equal(got, []string{"/docs/x"}) {
		t.Errorf("with a shared lock: got %q", got)
	}
}

// holdsOrder holds a plan to what makes writes wait for each other in one order
// only: the keys are sorted and none occurs twice, and the subject has its place
// among them.
func holdsOrder(t *testing.T, p Plan) {
	t.Helper()
	if !slices.Equal(slices.Concat(p.Before(), p.After()), p.Others) {
		t.Errorf("before %q, after %q, others %q", p.Before(), p.After(), p.Others)
	}
	order := slices.Concat(p.Before(), []Other{{Key: p.Subject.Key}}, p.After())
	for i := 1; i < len(order); i++ {
		if cmp.Compare(order[i-1].Key, order[i].Key) >= 0 {
			t.Errorf("%q doesn't come before %q", order[i-1].Key, order[i].Key)
		}
	}
	seen := make(map[Other]bool)
	for _, o := range p.Subtrees {
		if seen[o] || o.Role != Changed {
			t.Errorf("subtrees %q", p.Subtrees)
		}
		seen[o] = true
	}
	keys := p.ChangedKeys()
	if keys[0] != p.Subject.Key || len(slices.Compact(slices.Sorted(slices.Values(keys)))) != len(keys) {
		t.Errorf("changed: %q", keys)
	}
}

// Whatever the rules and the request say, the plan keeps its order.
func FuzzPlan(f *testing.F) {
	f.Add("/docs/a", "/docs/b", "MOVE", "*", "/docs/** /index", uint8(0))
	f.Add("/docs/a/b", "//docs//", "PUT", `"x"`, "/** /docs/** /docs/*", uint8(1))
	f.Add("/orders/7", "http://example.com/", "DELETE", "", "/orders/* /a /b", uint8(2))
	f.Fuzz(func(t *testing.T, path, destination, method, condition, affected string, guards uint8) {
		if !strings.HasPrefix(path, "/") || !slices.Contains([]string{"PUT", "MOVE", "COPY", "DELETE", "POST"}, method) {
			return
		}
		request := requestOf(method+" /", "Destination: "+destination)
		request.URL.Path = path
		request.Conditional = condition != ""
		rules := rulesOf(t)
		for i, text := range strings.Fields(affected) {
			for _, from := range []string{"/docs/*", "/*", "/*/*"} {
				rule, err := ParseRule(from, text)
				if err != nil {
					continue
				}
				rules.Affects = append(rules.Affects, rule)
				rules.Namer.Roots = append(rules.Namer.Roots, rule.Roots()...)
				if int(guards) == i && !rule.LeadsToTree() {
					rules.Guards = append(rules.Guards, rule)
				}
			}
		}
		holdsOrder(t, rules.Plan(request, rules.Namer.Own(request)))
	})
}
