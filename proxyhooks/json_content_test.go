package proxyhooks

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// A member is taken off with one comma, and all other bytes stay as they are.
func TestWithout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ content, pointer, want string }{
		{`{"a":1}`, "/a", `{}`},
		{` { "a" : 1 } `, "/a", ` {  } `},
		{`{"a":1,"b":2}`, "/a", `{"b":2}`},
		{`{"a":1 , "b":2}`, "/b", `{"a":1}`},
		{`{"a":1,"b":2,"c":3}`, "/b", `{"a":1,"c":3}`},
		{`{"a":{"b":[],"c":"}"},"b":0}`, "/a/c", `{"a":{"b":[]},"b":0}`},
		{`[{"a":1},{"a":2}]`, "/1/a", `[{"a":1},{}]`},
		{`{"\u0061":1,"b":2}`, "/a", `{"b":2}`},
		{`{"a~/b":1}`, "/a~0~1b", `{}`},
		{`{"a":1}`, "/b", `{"a":1}`},
		{`{"a":[1,2]}`, "/a/0", `{"a":[1,2]}`},
		{`{"a":1}`, "", `{"a":1}`},
		{`1`, "/a", `1`},
	} {
		p, err := ParsePointer(tt.pointer)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(JSONContent(tt.content).Without(p)); got != tt.want {
			t.Errorf("%s without %s: %s, want %s", tt.content, tt.pointer, got, tt.want)
		}
	}
}

// Whatever the content is, it stays valid, and it says the same but for the member.
func FuzzWithout(f *testing.F) {
	for _, content := range []string{`{"a":1}`, `{"a":{"a":"\"a\":"},"b":[]}`, ` {"b" :{}, "a":null , "c":"\u0061"}`, `{"a":1,"a":2}`, `[]`, `"a"`} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		pointer := MemberPointer("a")
		if _, clear := JSONContent(content).Member("a"); !clear || !json.Valid([]byte(content)) {
			return
		}
		var before, after any
		decode := func(text []byte, v *any) {
			d := json.NewDecoder(bytes.NewReader(text))
			d.UseNumber()
			if err := d.Decode(v); err != nil {
				t.Fatalf("%s of %s: %v", text, content, err)
			}
		}
		decode([]byte(content), &before)
		decode(JSONContent([]byte(content)).Without(pointer), &after)
		if object, ok := before.(map[string]any); ok {
			delete(object, "a")
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s became %v", content, after)
		}
	})
}

// A string and a whole number have a text; no other value has one.
func TestText(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"x"`: "x", `"\u0061\n"`: "a\n", `""`: "", `7`: "7", `-12`: "-12", `12345678901234567890`: "12345678901234567890",
		`1.0`: "-", `1e2`: "-", `true`: "-", `null`: "-", `{}`: "-", `[]`: "-", ``: "-", `-`: "-",
	} {
		got, ok := Text([]byte(value))
		if ok != (want != "-") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", value, got, ok, want)
		}
	}
}

// Only content that is JSON by its media type, and in no content coding, is read as JSON.
func TestContentKind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		content, mediaType, coding string
		want                       ContentKind
	}{
		{"{}", "application/json", "", PlainJSON},
		{"{}", "application/merge-patch+json", "identity", PlainJSON},
		{"{}", "text/json; charset=utf-8", "", PlainJSON},
		{"{}", "application/json", "gzip", CodedJSON},
		{"{}", "application/json", "identity, gzip", CodedJSON},
		{"{}", "application/json, application/json", "", UnclearJSON},
		{"{}", "text/plain, Application/JSON; charset=utf-8", "", UnclearJSON},
		{"{}", "text/plain, text/html", "", NoJSON},
		{"{}", "text/plain", "", NoJSON},
		{"{}", "", "", NoJSON},
		{"", "application/json", "", NoJSON},
	} {
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(tt.content))
		for name, value := range map[string]string{"Content-Type": tt.mediaType, "Content-Encoding": tt.coding} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := ContentKindOf(r); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// Content that was replaced can be read again for another attempt, and has its own length
// in the field until that is restored.
func TestReplaceContent(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(`{"a":1}`))
	r.Header.Set("Content-Length", "7")
	done, err := ReadAhead(r, 100, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	content, err := ReadJSON(r, nil)
	if err != nil || string(content) != `{"a":1}` {
		t.Fatalf("%s, %v", content, err)
	}
	restore := ReplaceContent(r, JSONContent("{}"))
	for range 2 {
		if got := make([]byte, 3); r.ContentLength != 2 || r.Header.Get("Content-Length") != "2" {
			t.Errorf("%d bytes, %v", r.ContentLength, r.Header)
		} else if n, _ := r.Body.Read(got); string(got[:n]) != "{}" {
			t.Errorf("got %s", got[:n])
		}
		if !Reopen(r) {
			t.Fatal("the content can't be read again")
		}
	}
	if restore(); r.Header.Get("Content-Length") != "7" {
		t.Error(r.Header)
	}
}

// A template matches the paths of its items, in the spellings that lead to the same key.
func TestItemPathMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, target string
		want         bool
	}{
		{"/orders/{id}", "/orders/7", true},
		{"/orders/{id}", "/Orders/a%20b/", true},
		{"/orders/{id}", "/orders/", false},
		{"/orders/{id}", "/orders/7/8", false},
		{"/orders/{id}", "/x/orders/7", false},
		{"/o.d/{a}-{b}.json", "/o.d/1-2.json", true},
		{"/o.d/{a}-{b}.json", "/oxd/1-2.json", false},
		{"/href", "/href", false},
	} {
		p, err := ParseItemPath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Matches(httptest.NewRequest(http.MethodPut, tt.target, nil).URL); got != tt.want {
			t.Errorf("%s, %s: %v", tt.path, tt.target, got)
		}
	}
}
