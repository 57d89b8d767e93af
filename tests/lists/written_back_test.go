package lists

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// writtenBack is a site with a list of one order, and a backend that remembers what it got.
func writtenBack(t *testing.T, options string) (base string, b *caddytest.Witness, item string) {
	t.Helper()
	b = &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method != "GET" && r.Method != "HEAD":
			w.WriteHeader(204)
		case r.URL.Path == "/orders":
			_, _ = w.Write([]byte(`[{"id":1,"version":7}]`))
		default:
			_, _ = w.Write([]byte(`{"id":1,"version":7}`))
		}
	}}
	n := caddytest.OneNode(t, options+ordersItems, b)
	list := caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200).Content
	item = strings.Trim(list, "[]")
	if !strings.Contains(item, `,"etag":"`) {
		t.Fatal(list)
	}
	return n.First(), b, item
}

// A client that writes an item back as the list showed it doesn't make the backend store
// the tag: the handler takes off what it has put in, and nothing else.
func TestItemsWrittenBack(t *testing.T) {
	t.Parallel()
	base, b, item := writtenBack(t, "")
	tag := strings.TrimSuffix(strings.TrimPrefix(item, `{"id":1,"version":7,"etag":`), "}")
	for _, tt := range []struct{ method, path, mediaType, sent, want string }{
		{"PUT", "/orders/1", "application/json", item, `{"id":1,"version":7}`},
		{"PUT", "/Orders/1/?x=1", "application/json", item, `{"id":1,"version":7}`},
		{"PATCH", "/orders/1", "application/merge-patch+json", `{"etag":` + tag + `, "n": 1.0}`, `{"n": 1.0}`},
		{"POST", "/orders/1", "application/json", `{"etag":` + tag + `}`, `{}`},
		// What the handler hasn't put there stays.
		{"PUT", "/orders/1", "application/json", `{"etag":"x"}`, `{"etag":"x"}`},
		{"PUT", "/orders/1", "application/json", `{"etag":"\"x\""}`, `{"etag":"\"x\""}`},
		{"PUT", "/orders/1", "application/json", `{"etag":null}`, `{"etag":null}`},
		{"PUT", "/orders/1", "application/json", `{"a":{"etag":` + tag + `}}`, `{"a":{"etag":` + tag + `}}`},
		{"PUT", "/orders/1", "application/json", `[{"etag":` + tag + `}]`, `[{"etag":` + tag + `}]`},
		{"PATCH", "/orders/1", "application/json-patch+json", `[{"op":"test","path":"/etag","value":` + tag + `}]`, `[{"op":"test","path":"/etag","value":` + tag + `}]`},
		{"PUT", "/orders/1", "text/plain", item, item},
		{"PUT", "/orders/1", "application/json", item + "x", item + "x"},
		{"PUT", "/orders/1/x", "application/json", item, item},
		{"PUT", "/orders", "application/json", item, item},
	} {
		caddytest.Send(t, tt.method, base+tt.path, tt.sent, "Content-Type", tt.mediaType).Expect(t, 204)
		if heard := b.Last(t, tt.method); heard.Content != tt.want || heard.ContentLength != int64(len(tt.want)) {
			t.Errorf("%s %s %s: the backend got %s", tt.method, tt.path, tt.sent, heard.Content)
		}
	}
	caddytest.Send(t, "PUT", base+"/orders/1", item, "Content-Type", "application/json", "Content-Digest", "sha-256=:AA==:").Expect(t, 204)
	if got := b.Last(t, "PUT").Content; got != item {
		t.Errorf("the content no longer fits its digest: %s", got)
	}
}

// A version that is the tag itself is taken off too, strong or weak.
func TestVersionsWrittenBack(t *testing.T) {
	t.Parallel()
	for form, member := range map[string]string{"verbatim": `"\"7\""`, "weak": `"W/\"7\""`} {
		base, b, item := writtenBack(t, "etag json /version "+form+"\netag body\n")
		if !strings.HasSuffix(item, `,"etag":`+member+"}") {
			t.Errorf("%s: %s", form, item)
		}
		caddytest.Send(t, "PUT", base+"/orders/1", item, "Content-Type", "application/json").Expect(t, 204)
		if got := b.Last(t, "PUT").Content; got != `{"id":1,"version":7}` {
			t.Errorf("%s: the backend got %s", form, got)
		}
		caddytest.Send(t, "PUT", base+"/orders/1", `{"etag":"7"}`, "Content-Type", "application/json").Expect(t, 204)
		if got := b.Last(t, "PUT").Content; got != `{"etag":"7"}` {
			t.Errorf("%s: the backend got %s", form, got)
		}
	}
}

// What the answer to such a write says is about content that the client didn't send, so it
// has no tag (RFC 9110, section 9.3.4).
func TestItemsWrittenBackHaveNoTag(t *testing.T) {
	t.Parallel()
	base, _, item := writtenBack(t, "")
	var one struct{ ETag string }
	_ = json.Unmarshal([]byte(item), &one)
	put := func(content string) caddytest.Answer {
		return caddytest.Send(t, "PUT", base+"/orders/1", content, "Content-Type", "application/json", "If-Match", one.ETag).Expect(t, 204)
	}
	if got := put(item).Header.Get("ETag"); got != "" {
		t.Errorf("got %s", got)
	}
	if put(`{"id":1,"version":7}`).Header.Get("ETag") == "" {
		t.Error("what was sent as it is stored has no tag")
	}
}

// In report mode the backend gets what the client sent.
func TestItemsWrittenBackInReport(t *testing.T) {
	t.Parallel()
	base, b, item := writtenBack(t, "mode report\n")
	caddytest.Send(t, "PUT", base+"/orders/1", item, "Content-Type", "application/json").Expect(t, 204)
	if got := b.Last(t, "PUT").Content; got != item {
		t.Errorf("the backend got %s", got)
	}
}

// A client of json-server edits items of a list and sends them back, with the member etag as
// the only condition. Of two that have read the same list, one gets through, and json-server
// stores no tag.
func TestItemsOfJSONServer(t *testing.T) {
	t.Parallel()
	backend := caddytest.BackendNamed(t, "json-server")
	backend.OrSkip(t)
	address := caddytest.StartBackends(t, *backend)["json-server"]
	for _, id := range []string{"1", "2"} {
		caddytest.Send(t, "POST", "http://"+address+"/docs", `{"id":`+id+`,"version":1,"n":0}`, "Content-Type", "application/json").Expect(t, 201)
	}
	base := caddytest.OneNodeAt(t, caddytest.Guarded("etag json /version /n\nitems \"\" /docs/{id}\ncondition json /etag\n", address)).First()
	list := caddytest.Send(t, "GET", base+"/docs", "").Expect(t, 200)
	for id, tag := range itemTags(t, list) {
		quoted, _ := json.Marshal(tag)
		edited := `{"id":` + id + `,"version":1,"n":1,"etag":` + string(quoted) + `}`
		put := func(status int) { // a client and one that is too late
			t.Helper()
			caddytest.Send(t, "PUT", base+"/docs/"+id, edited, "Content-Type", "application/json").Expect(t, status)
		}
		put(200)
		put(412)
		caddytest.Send(t, "PATCH", base+"/docs/"+id, `{"n":2,"etag":`+string(quoted)+`}`, "Content-Type", "application/json").Expect(t, 412)
	}
	if stored := caddytest.Send(t, "GET", "http://"+address+"/docs", "").Content; strings.Contains(stored, "etag") || strings.Count(stored, `"n": 1`) != 2 {
		t.Errorf("json-server stores %s", stored)
	}
}

// A write of an item that what is stored refutes is refused before its content is read.
func TestItemsRefusedBeforeContent(t *testing.T) {
	t.Parallel()
	base, b, _ := writtenBack(t, "verify never\n")
	caddytest.Send(t, "GET", base+"/orders/1", "").Expect(t, 200)
	content, sender := io.Pipe()
	defer sender.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/orders/1", content)
	r.Header = http.Header{"Content-Type": {"application/json"}, "If-Match": {`"x"`}}
	resp, err := caddytest.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 412 {
		t.Error(resp.Status)
	}
	b.Unwritten(t)
}
