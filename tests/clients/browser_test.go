package clients

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// scriptOfAnotherOrigin reads a document, saves it twice with the same tag, and goes on, for
// each of the sites. It returns what it could see of the answers.
const scriptOfAnotherOrigin = `
document.cookie = "session=1";
const results = {};
for (const {name, site, down} of SITES) {
	for (const credentials of ["omit", "include"]) {
		const seen = {};
		const send = async (step, url, method, headers, content) => {
			try {
				const a = await fetch(url, {method, credentials, headers, body: content && JSON.stringify(content), cache: "no-store"});
				const text = await a.text();
				seen[step] = {
					status: a.status, etag: a.headers.get("ETag") ?? "", retry: a.headers.get("Retry-After") ?? "",
					applied: a.headers.get("Preference-Applied") ?? "", location: a.headers.get("Content-Location") ?? "",
					content: text === "" ? {} : JSON.parse(text),
				};
			} catch (e) {
				seen[step] = {error: String(e)};
			}
			return seen[step].etag ?? "";
		};
		const json = {"Content-Type": "application/json"};
		const url = site + "/docs/1";
		const tag = await send("read", url, "GET", {});
		await send("read again", url, "GET", {"If-None-Match": tag});
		const content = {id: "1", text: name + credentials};
		await send("save", url, "PUT", {...json, "If-Match": tag}, content);
		await send("save again", url, "PUT", {...json, "If-Match": tag}, content);
		await send("save again and prefer", url, "PUT", {...json, "If-Match": tag, "Prefer": "return=representation"}, content);
		await send("save blindly", url, "PUT", json, content);
		await send("save simply", site + "/docs", "PUT", {}, undefined);
		await send("save while the store is down", down + "/docs/1", "PUT", {...json, "If-Match": tag}, content);
		results[name + ", " + credentials] = seen;
	}
}
return results;
`

// seenByScript is what a script sees of an answer.
type seenByScript struct {
	Error    string
	Status   int
	ETag     string
	Retry    string
	Applied  string
	Location string
	Content  map[string]any
}

// TestBrowser: in a real browser, a page of another origin that the backend allows saves
// documents, and learns of conflicts. Other pages see nothing.
func TestBrowser(t *testing.T) {
	t.Parallel()
	page := caddytest.Address(t)
	all, credentials, app := caddytest.ExpressWithCORS(`{}`),
		caddytest.ExpressWithCORS(fmt.Sprintf(`{"origin": "http://%s", "credentials": true}`, page)),
		caddytest.ExpressWithCORS(fmt.Sprintf(`{"origin": "http://%s", "allowedHeaders": ["Content-Type"], "exposedHeaders": ["X-Total"]}`, page))
	other := caddytest.ExpressWithCORS(`{"origin": "https://other.example", "credentials": true}`)
	backends := []struct {
		name    string
		backend caddytest.Backend
		omit    bool // whether the page can read answers to requests without credentials
		include bool // likewise, with credentials
	}{
		{"json-server", *caddytest.BackendNamed(t, "json-server"), true, true},
		{"Express", *caddytest.BackendNamed(t, "Express"), false, false},
		{"Express with cors", all, true, false},
		{"Express with cors and credentials", credentials, true, true},
		{"Express with cors for one origin", app, true, false},
		{"Express with cors for another", other, false, false},
	}
	type site struct {
		Name string `json:"name"`
		Site string `json:"site"`
		Down string `json:"down"`
	}
	var sites []site
	var config strings.Builder
	for _, b := range backends {
		address := b.backend.Run(t)
		if b.name == "json-server" {
			caddytest.Send(t, "POST", "http://"+address+"/docs", `{"id": "1"}`, "Content-Type", "application/json").Expect(t, 201)
		} else {
			caddytest.Send(t, "PUT", "http://"+address+"/docs/1", `{"id": "1"}`, "Content-Type", "application/json").Expect(t, 200)
		}
		s := site{b.name, "http://" + caddytest.Address(t), "http://" + caddytest.Address(t)}
		fmt.Fprintf(&config, "%s {\n\tpreconditions {\n\t\trequire\n\t\tlag 0s\n\t\tkey %s{http.request.uri.path}\n\t}\n\treverse_proxy %s\n}\n", s.Site, address, address)
		fmt.Fprintf(&config, "%s {\n\tpreconditions {\n\t\tstore redis redis://127.0.0.1:1\n\t}\n\treverse_proxy %s\n}\n", s.Down, address)
		sites = append(sites, s)
	}
	caddytest.Start(t, config.String())
	list, err := json.Marshal(sites)
	if err != nil {
		t.Fatal(err)
	}
	var results map[string]map[string]seenByScript
	result := caddytest.RunInBrowser(t, page, strings.Replace(scriptOfAnotherOrigin, "SITES", string(list), 1))
	if err := json.Unmarshal(result, &results); err != nil {
		t.Fatalf("%v:\n%s", err, result)
	}
	for _, b := range backends {
		for mode, readable := range map[string]bool{"omit": b.omit, "include": b.include} {
			t.Run(b.name+", "+mode, func(t *testing.T) {
				seen := results[b.name+", "+mode]
				if len(seen) != 8 {
					t.Fatalf("%d answers:\n%s", len(seen), result)
				}
				if readable {
					expectSeen(t, seen)
					return
				}
				for step, a := range seen {
					if a.Error != "TypeError: Failed to fetch" {
						t.Errorf("%s: the page sees %+v", step, a)
					}
				}
			})
		}
	}
}

// expectSeen holds what a script sees to what it needs.
func expectSeen(t *testing.T, seen map[string]seenByScript) {
	t.Helper()
	first, current := seen["read"].ETag, seen["save again"].ETag
	if first == "" || current == "" || first == current {
		t.Errorf("the page sees the tags %q and then %q", first, current)
	}
	for step, want := range map[string]seenByScript{
		"read":                         {Status: 200, ETag: first},
		"read again":                   {Status: 304, ETag: first},
		"save":                         {Status: 200},
		"save again":                   {Status: 412, ETag: current},
		"save again and prefer":        {Status: 412, ETag: current, Applied: "return=representation", Location: "/docs/1"},
		"save blindly":                 {Status: 428},
		"save simply":                  {Status: 428},
		"save while the store is down": {Status: 503, Retry: "5"},
	} {
		got := seen[step]
		content := got.Content
		if got.Content = nil; fmt.Sprint(got) != fmt.Sprint(want) && (step != "save" || got.Status != 200) {
			t.Errorf("%s: the page sees %+v, want %+v", step, got, want)
		}
		if got.Status > 400 && got.Applied == "" && (content["status"] != float64(got.Status) || content["detail"] == nil) {
			t.Errorf("%s: the page sees %v", step, content)
		}
	}
}
