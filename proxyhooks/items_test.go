package proxyhooks

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestItems: each object of the array gets a member before its closing brace, and
// no other byte changes.
func TestItems(t *testing.T) {
	const tag = `"etag":"\"x\""`
	for _, test := range []struct{ name, array, content, want string }{
		{"one", "", `[{"a":1}]`, `[{"a":1,@}]`},
		{"several", "", `[{"a":1},{"b":2}]`, `[{"a":1,@},{"b":2,@}]`},
		{"none", "", `[]`, `[]`},
		{"white space", "", "\n[ {\t\"a\" : 1\r\n} , { } ]\n", "\n[ {\t\"a\" : 1\r\n,@} , { @} ]\n"},
		{"no members", "", `[{},{"a":{}}]`, `[{@},{"a":{},@}]`},
		{"in an object", "/data", `{"data":[{"a":1}],"n":1}`, `{"data":[{"a":1,@}],"n":1}`},
		{"further in", "/a/1/b", `{"a":[0,{"b":[{}]}]}`, `{"a":[0,{"b":[{@}]}]}`},
		{"an escaped name", "/dätä", `{"d\u00e4t\u00E4":[{}]}`, `{"d\u00e4t\u00E4":[{@}]}`},
		{"an escaped pointer", "/a~1b~0", `{"a/b~":[{}]}`, `{"a/b~":[{@}]}`},
		{"the last of two of one name", "/a", `{"a":[{}],"a":[{}]}`, `{"a":[{}],"a":[{@}]}`},
		{"nested arrays of one name", "/a", `{"x":{"a":[{}]},"a":[{"a":[{}]}]}`, `{"x":{"a":[{}]},"a":[{"a":[{}],@}]}`},
		{"what is no object", "", `[1,"{}",null,[{}],true,{},-1.5E+3]`, `[1,"{}",null,[{}],true,{@},-1.5E+3]`},
		{"no array", "", `{"a":{}}`, `{"a":{}}`},
		{"an object there", "/a", `{"a":{"b":{}}}`, `{"a":{"b":{}}}`},
		{"nothing there", "/b", `{"a":[{}]}`, `{"a":[{}]}`},
		{"a scalar", "", `1`, `1`},
		{"numbers that no float holds", "", `[{"a":123456789012345678901234567890,"b":1.10,"c":1e999}]`, `[{"a":123456789012345678901234567890,"b":1.10,"c":1e999,@}]`},
		{"braces and quotes in strings", "", `[{"}\"]":"]}\\"},{"a":"\\\"}"}]`, `[{"}\"]":"]}\\",@},{"a":"\\\"}",@}]`},
		{"two members of one name", "", `[{"a":1,"a":2}]`, `[{"a":1,"a":2,@}]`},
		{"half a surrogate pair", "", `[{"a":"\ud800"}]`, `[{"a":"\ud800",@}]`},
		{"more than there may be", "", `[{},{},{},{},{},{},{},{},{},{}]`, `[{@},{@},{@},{@},{@},{@},{@},{@},{},{}]`},
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

// TestItemHas: a member is found however its name is written, and not in another
// object.
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

// TestInsertDigest: the digest tells other insertions, and other places, apart.
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

// FuzzItems: what comes out is JSON, is what was there but for the members, and
// shows the same values.
func FuzzItems(f *testing.F) {
	f.Add(`[{"a":1},{}]`, "")
	f.Add(`{"data":[{"a":"}","b":[{}]},{ }]}`, "/data")
	f.Fuzz(func(t *testing.T, content, pointer string) {
		array, err := ParsePointer(pointer)
		if err != nil || !json.Valid([]byte(content)) || !utf8.ValidString(content) {
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
		for _, i := range insertions { // from the beginning, so that the places are those of the original
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
		if got < len(insertions) { // an item may have had the very member
			t.Errorf("%d of %d members in %s", got, len(insertions), extended)
		}
	})
}

// TestItemPath: RFC 6570, section 3.2.2, and RFC 6901.
func TestItemPath(t *testing.T) {
	const item = `{"id":"7","n":42,"negative":-1,"big":123456789012345678901234567890,"fraction":1.0,"exponent":1e3,` +
		`"empty":"","null":null,"true":true,"list":["a"],"odd":"a b/c?d#e%f;ü~.-_!*'()+","dots":"..",` +
		`"escaped":"\u0061\"","two":"1","two":"2","a-b_C9":"x","_links":{"self":{"href":"/x/7?y=1"}},"href":"../a"}`
	for _, test := range []struct{ path, want string }{
		{"/orders/{id}", "/orders/7"},
		{"/orders/{id}/x/{n}.json", "/orders/7/x/42.json"},
		{"/{id}{n}", "/742"},
		{"/{negative}", "/-1"},
		{"/{big}", "/123456789012345678901234567890"},
		{"/{fraction}", ""},
		{"/{exponent}", ""},
		{"/{empty}", ""},
		{"/{null}", ""},
		{"/{true}", ""},
		{"/{list}", ""},
		{"/{none}", ""},
		{"/{id}/{none}", ""},
		{"/{odd}", "/a%20b%2Fc%3Fd%23e%25f%3B%C3%BC~.-_%21%2A%27%28%29%2B"},
		{"/{dots}", "/.."},
		{"/{escaped}", "/a%22"},
		{"/{two}", "/2"},
		{"/{a-b_C9}", "/x"},
		{"/d%C3%BC/{id}", "/d%C3%BC/7"},
		{"/_links/self/href", "/x/7?y=1"},
		{"/href", "../a"},
		{"/list/0", "a"},
		{"/n", ""},
		{"/empty", ""},
		{"/none", ""},
		{"/_links", ""},
	} {
		p, err := ParseItemPath(test.path)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		if got, ok := p.Of([]byte(item)); ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s: got %s, %t, want %s", test.path, got, ok, test.want)
		}
		if p.Template() != strings.Contains(test.path, "{") {
			t.Errorf("%s: a template: %t", test.path, p.Template())
		}
	}
	for _, path := range []string{
		"", "orders", "orders/{id}", "{id}", "/{}", "/{id", "/id}/{id}", "/{id}}", "/{{id}}", "/{+id}", "/{id*}", "/{a,b}", "/{id:3}",
		"/{http.request.uri.path}", "/{a.b}", "/{ä}", "/x?y={id}", "/x#{id}", "http://x/{id}", "/~2", "/%zz/{id}",
	} {
		if p, err := ParseItemPath(path); err == nil {
			t.Errorf("%q is parsed as %+v", path, p)
		}
	}
}

// TestItemTags: the tags are those that a GET of the item shows, and a tag is
// certain only where no GET can show another one for what is in the list.
func TestItemTags(t *testing.T) {
	pointers := func(texts ...string) (s Source) {
		s.Kind = JSON
		for _, text := range texts {
			p, err := ParsePointer(text)
			if err != nil {
				t.Fatal(err)
			}
			s.Pointers = append(s.Pointers, p)
		}
		return s
	}
	upstream, body, version, field := Source{Kind: Upstream}, Source{Kind: Body}, Source{Kind: Version}, Source{Kind: Header, Field: "X-V"}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Language": {"en"}, "X-V": {"1"}, "Etag": {`"list"`}}
	alone := http.Header{"Content-Type": {"application/json"}, "Content-Language": {"en"}}
	const item = `{"id":1, "version":"7"}`
	for _, test := range []struct {
		name    string
		sources []Source
		gets    []string // what a GET may send of which the tag is among these
		certain bool
	}{
		{"json", []Source{pointers("/version")}, []string{item, `{"version":"7","more":true}`}, true},
		{"json, then body", []Source{pointers("/version", "/id"), body}, []string{item}, true},
		{"json after upstream", []Source{upstream, pointers("/version")}, []string{item}, false},
		{"json after header", []Source{field, pointers("/version")}, []string{item}, false},
		{"json, of the whole", []Source{pointers("")}, []string{item, `{"version":"7","id":1}`}, false},
		{"json, of the whole too", []Source{pointers("/version", "")}, []string{item}, false},
		{"json that isn't there", []Source{pointers("/none"), body}, []string{item, item + "\n"}, false},
		{"the second json", []Source{pointers("/none"), pointers("/id")}, []string{item}, false},
		{"body", []Source{body}, []string{item, item + "\n"}, false},
		{"the default", []Source{upstream, body}, []string{item, item + "\n"}, false},
		{"json that isn't there, then version", []Source{pointers("/none"), version}, nil, false},
		{"upstream", []Source{upstream}, nil, false},
	} {
		d := Deriver{Sources: test.sources, Secret: []byte("s"), Limit: 1 << 20}
		tags, certain := d.ItemTags(header, []byte(item))
		if certain != test.certain || (len(tags) == 0) != (test.gets == nil) {
			t.Errorf("%s: %v, certain: %t", test.name, tags, certain)
		}
		shown := make(map[validator.ETag]bool)
		for _, content := range test.gets {
			shown[d.FromContent(alone, []byte(content), time.Now()).ETag] = true
		}
		if len(shown) != len(tags) {
			t.Errorf("%s: %v, but a GET shows %v", test.name, tags, shown)
		}
		for _, tag := range tags {
			if !shown[tag] {
				t.Errorf("%s: no GET shows %s", test.name, tag)
			}
		}
		other, _ := d.ItemTags(http.Header{"Content-Type": {"application/hal+json"}}, []byte(item))
		for _, tag := range other {
			if shown[tag] {
				t.Errorf("%s: the media type makes no difference", test.name)
			}
		}
	}
}

// TestExtensible: only JSON that is whole, in no coding, and may be changed.
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
		if got := Extensible(test.status, test.fields); got != test.want {
			t.Errorf("%d %v: %t", test.status, test.fields, got)
		}
	}
}

// TestCaptureHoldsItems: JSON that may have items is held back though its tag is
// known, and nothing else is.
func TestCaptureHoldsItems(t *testing.T) {
	for _, test := range []struct {
		name    string
		fields  []string
		content string
		held    bool
	}{
		{"JSON", []string{"Content-Type", "application/json"}, "[]", true},
		{"another type", []string{"Content-Type", "text/plain"}, "[]", false},
		{"no transformations", []string{"Content-Type", "application/json", "Cache-Control", "no-transform"}, "[]", false},
		{"too long", []string{"Content-Type", "application/json"}, "[         ]", false},
		{"announced to be too long", []string{"Content-Type", "application/json", "Content-Length", "11"}, "[         ]", false},
		{"a stream", []string{"Content-Type", "application/json", "Incremental", "?1"}, "[]", false},
		{"trailer fields", []string{"Content-Type", "application/json", "Trailer", "X-Last"}, "[]", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, hold := range []bool{false, true} {
				rd := &labelled{}
				c := NewCapture(&discarding{header: make(http.Header)}, Deriver{Sources: []Source{{Kind: Upstream}, {Kind: Body}}, Limit: 10}, rd)
				c.HoldItems = hold
				c.Header()["Etag"] = []string{`"own"`}
				for i := 0; i < len(test.fields); i += 2 {
					c.Header().Set(test.fields[i], test.fields[i+1])
				}
				if _, err := c.Write([]byte(test.content)); err != nil {
					t.Fatal(err)
				}
				if err := c.finish(); err != nil {
					t.Fatal(err)
				}
				if got := string(rd.shown.Content); (got == test.content) != (test.held && hold) || got != "" && got != test.content {
					t.Errorf("hold %t: held %q", hold, got)
				}
				if rd.shown.ETag.Opaque != "own" || rd.late || !rd.shown.Known || rd.shown.Untagged {
					t.Errorf("hold %t: %+v", hold, rd.shown)
				}
			}
		})
	}
}

// labelled remembers what was shown.
type labelled struct {
	shown Shown
	late  bool
}

func (l *labelled) Label(_ int, _ http.Header, s Shown) bool { l.shown = s; return true }
func (l *labelled) Late(validator.Observed)                  { l.late = true }

type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) WriteHeader(int)             {}
func (d *discarding) Write(p []byte) (int, error) { return len(p), nil }
