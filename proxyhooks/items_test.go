package proxyhooks

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestItems: each object in the array gets a member before its closing brace, and no
// other byte changes.
func TestItems(t *testing.T) {
	const tag = `"etag":"\"x\""`
	for _, test := range []struct{ name, array, content, want string }{
		{"one", "", `[{"a":1}]`, `[{"a":1,@}]`},
		{"several", "", `[{"a":1},{"b":2}]`, `[{"a":1,@},{"b":2,@}]`},
		{"none", "", `[]`, `[]`},
		{"white space", "", "\n[ {\t\"a\" : 1\r\n} , { } ]\n", "\n[ {\t\"a\" : 1\r\n,@} , { @} ]\n"},
		{"no members", "", `[{},{"a":{}}]`, `[{@},{"a":{},@}]`},
		{"in an object", "/data", `{"data":[{"a":1}],"n":1}`, `{"data":[{"a":1,@}],"n":1}`},
		{"nested", "/a/1/b", `{"a":[0,{"b":[{}]}]}`, `{"a":[0,{"b":[{@}]}]}`},
		{"an escaped name", "/dätä", `{"d\u00e4t\u00E4":[{}]}`, `{"d\u00e4t\u00E4":[{@}]}`},
		{"an escaped pointer", "/a~1b~0", `{"a/b~":[{}]}`, `{"a/b~":[{@}]}`},
		{"the last of two members with one name", "/a", `{"a":[{}],"a":[{}]}`, `{"a":[{}],"a":[{@}]}`},
		{"nested arrays with one name", "/a", `{"x":{"a":[{}]},"a":[{"a":[{}]}]}`, `{"x":{"a":[{}]},"a":[{"a":[{}],@}]}`},
		{"elements that are no objects", "", `[1,"{}",null,[{}],true,{},-1.5E+3]`, `[1,"{}",null,[{}],true,{@},-1.5E+3]`},
		{"no array", "", `{"a":{}}`, `{"a":{}}`},
		{"the pointer finds an object", "/a", `{"a":{"b":{}}}`, `{"a":{"b":{}}}`},
		{"the pointer finds nothing", "/b", `{"a":[{}]}`, `{"a":[{}]}`},
		{"a scalar", "", `1`, `1`},
		{"numbers that fit no float", "", `[{"a":123456789012345678901234567890,"b":1.10,"c":1e999}]`, `[{"a":123456789012345678901234567890,"b":1.10,"c":1e999,@}]`},
		{"braces and quotes in strings", "", `[{"}\"]":"]}\\"},{"a":"\\\"}"}]`, `[{"}\"]":"]}\\",@},{"a":"\\\"}",@}]`},
		{"two members with one name", "", `[{"a":1,"a":2}]`, `[{"a":1,"a":2,@}]`},
		{"an unpaired surrogate", "", `[{"a":"\ud800"}]`, `[{"a":"\ud800",@}]`},
		{"more than the maximum", "", `[{},{},{},{},{},{},{},{},{},{}]`, `[{@},{@},{@},{@},{@},{@},{@},{@},{},{}]`},
	} {
		array, err := ParsePointer(test.array)
		if err != nil {
			t.Fatal(err)
		}
		var insertions []Insertion
		for _, i := range Items([]byte(test.content), array, 8) {
			insertions = append([]Insertion{i.Insertion("etag", validator.ETag{Opaque: "x", Valid: true})}, insertions...)
		}
		got, _ := Insert([]byte(test.content), insertions)
		if want := strings.ReplaceAll(test.want, "@", tag); string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

// TestItemHas: a member is found however its name is escaped, but not in nested
// objects.
func TestItemHas(t *testing.T) {
	for item, want := range map[string]bool{
		`{"etag":1}`:                   true,
		`{"a":1,"\u0065tag":null}`:     true,
		`{"a":{"etag":1}}`:             false,
		`{"a":"etag","ETag":1}`:        false,
		`{}`:                           false,
		`{"a":["etag"],"etag" : "" }`:  true,
		`{"x\"etag":1,"etag\u0000":2}`: false,
	} {
		if got := (Item{JSON: []byte(item)}).Has("etag"); got != want {
			t.Errorf("%s: %t", item, got)
		}
	}
}

// TestInsertDigest: different insertions, or different places, have different digests.
func TestInsertDigest(t *testing.T) {
	seen := make(map[string]bool)
	for _, insertions := range [][]Insertion{
		{{1, "a"}},
		{{2, "a"}},
		{{1, "b"}},
		{{1, "a"}, {2, "b"}},
		{{1, "ab"}},
	} {
		_, digest := Insert([]byte("0123"), insertions)
		marked := validator.ETag{Opaque: "x", Valid: true}.WithItems(digest)
		if plain := marked.Unmarked()[1]; plain.Opaque != "x" || seen[digest] {
			t.Errorf("%v: %s", insertions, marked)
		}
		seen[digest] = true
	}
}

// FuzzItems: content with insertions is valid JSON with the new members, and without
// them it is the same as before. Content that isn't valid JSON causes no panic.
func FuzzItems(f *testing.F) {
	f.Add(`[{"a":1},{}]`, "")
	f.Add(`{"data":[{"a":"}","b":[{}]},{ }]}`, "/data")
	f.Fuzz(func(t *testing.T, content, pointer string) {
		array, err := ParsePointer(pointer)
		if err != nil {
			return
		}
		if !json.Valid([]byte(content)) || !utf8.ValidString(content) {
			for _, i := range Items([]byte(content), array, 10) {
				i.Has("@") // must not panic
			}
			return
		}
		const most = 3
		var insertions []Insertion
		for _, i := range Items([]byte(content), array, most) {
			if !i.Has("@") {
				insertions = append(insertions, i.Insertion("@", validator.ETag{Opaque: "@", Valid: true}))
			}
		}
		extended, _ := Insert([]byte(content), insertions)
		if !json.Valid(extended) || len(insertions) > most {
			t.Fatalf("%s became %s", content, extended)
		}
		without := string(extended)
		for _, i := range insertions { // in order, so each position is that in the original
			if without[i.at:i.at+len(i.text)] != i.text {
				t.Fatalf("%s became %s", content, extended)
			}
			without = without[:i.at] + without[i.at+len(i.text):]
		}
		if without != content {
			t.Errorf("%s became %s", content, extended)
		}
		if len(insertions) == 0 {
			return
		}
		var values any
		text, ok := walk(t, string(extended), pointer)
		if err := json.Unmarshal([]byte(text), &values); !ok || err != nil {
			t.Fatalf("%s: %v", extended, err)
		}
		got := 0
		for _, value := range values.([]any) {
			if item, ok := value.(map[string]any); ok && item["@"] == `"@"` {
				got++
			}
		}
		if got < len(insertions) { // an item may have had this member before
			t.Errorf("%d of %d members in %s", got, len(insertions), extended)
		}
	})
}

// TestExtensible: only complete JSON without a coding may be changed, and not if
// Cache-Control says no-transform (RFC 9111, section 5.2.2.6).
func TestExtensible(t *testing.T) {
	for _, test := range []struct {
		status int
		fields http.Header
		want   bool
	}{
		{200, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, true},
		{200, http.Header{"Content-Type": {"application/hal+json"}, "Cache-Control": {"no-cache, private"}}, true},
		{200, http.Header{"Content-Type": {"application/x-ndjson"}}, false},
		{200, http.Header{"Content-Type": {"text/html"}}, false},
		{200, http.Header{}, false},
		{201, http.Header{"Content-Type": {"application/json"}}, false},
		{206, http.Header{"Content-Type": {"application/json"}}, false},
		{404, http.Header{"Content-Type": {"application/json"}}, false},
		{200, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, false},
		{200, http.Header{"Content-Type": {"application/json"}, "Content-Range": {"bytes 0-1/2"}}, false},
		{200, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"private", "max-age=1, No-Transform"}}, false},
	} {
		if got := AcceptsInsertions(test.status, test.fields); got != test.want {
			t.Errorf("%d %v: %t", test.status, test.fields, got)
		}
	}
}
