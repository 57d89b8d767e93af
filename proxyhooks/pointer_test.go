package proxyhooks

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestPointer: the examples of RFC 6901, section 5, and the evaluation rules of section
// 4.
func TestPointer(t *testing.T) {
	const document = `{
		"foo": ["bar", "baz"],
		"": 0,
		"a/b": 1,
		"c%d": 2,
		"e^f": 3,
		"g|h": 4,
		"i\\j": 5,
		"k\"l": 6,
		" ": 7,
		"m~n": 8
	}`
	const nested = ` { "a" : { "" : { "b" : [ 0 , [ 1 , { "c" : null } ] ] } } , "~1" : true , "a\u002fb" : 2 } `
	var whole any
	if err := json.Unmarshal([]byte(document), &whole); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ document, pointer, want string }{
		{document, "/foo", `["bar","baz"]`},
		{document, "/foo/0", `"bar"`},
		{document, "/", "0"},
		{document, "/a~1b", "1"},
		{document, "/c%d", "2"},
		{document, "/e^f", "3"},
		{document, "/g|h", "4"},
		{document, `/i\j`, "5"},
		{document, `/k"l`, "6"},
		{document, "/ ", "7"},
		{document, "/m~0n", "8"},

		{nested, "/a//b/1/1/c", "null"},
		{nested, "/~01", "true"},
		{nested, "/a~1b", "2"},
		{`"text"`, "", `"text"`},
		{`[[]]`, "/0", "[]"},
		{`{"a":1,"a":2}`, "/a", "2"},
		{`[0,1,2,3,4,5,6,7,8,9,10]`, "/10", "10"},

		{document, "/none", ""},
		{document, "/FOO", ""},
		{document, "/foo/2", ""},
		{document, "/foo/-", ""},
		{document, "/foo/-1", ""},
		{document, "/foo/+1", ""},
		{document, "/foo/00", ""},
		{document, "/foo/01", ""},
		{document, "/foo/1e0", ""},
		{document, "/foo/", ""},
		{document, "/foo/9999999999999999999999", ""},
		{document, "/foo/0/0", ""},
		{document, "//0", ""},
		{`null`, "/a", ""},
		{`true`, "/0", ""},
	} {
		p, err := ParsePointer(test.pointer)
		if err != nil {
			t.Errorf("%q: %v", test.pointer, err)
			continue
		}
		value, ok := p.find(json.RawMessage(test.document))
		if text := canonical(value); ok != (test.want != "") || string(text) != test.want {
			t.Errorf("%q: got %s, %t, want %s", test.pointer, text, ok, test.want)
		}
		if p.String() != test.pointer {
			t.Errorf("%q is %q", test.pointer, p)
		}
	}
	p, _ := ParsePointer("")
	if value, ok := p.find(json.RawMessage(document)); !ok || string(value) != document {
		t.Errorf("got %s", value)
	}
}

// TestParsePointer: what isn't in the grammar is refused (RFC 6901, section 3).
func TestParsePointer(t *testing.T) {
	for _, text := range []string{"a", "#/a", "#", " /a", "~0", "/~", "/a~", "/~2", "/~a", "/~~", "/~0~", "/\xff"} {
		if p, err := ParsePointer(text); err == nil {
			t.Errorf("%q is parsed as %q", text, p.tokens)
		}
	}
}

// FuzzPointer: a pointer finds the same value as one that is evaluated on the decoded
// document.
func FuzzPointer(f *testing.F) {
	f.Add(`{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"x":{"y":[{}]}}`, "/foo/0")
	f.Add(`[[1,2],{"a":null}]`, "/1/a")
	f.Add(`{"a":1,"a":[2]}`, "/a/0")
	f.Add(`"x"`, "")
	f.Add(` { "\u0061" : 1 , "a\"}" : [ -1.5e3 , "]" ] } `, "/a\"}/1")
	f.Fuzz(func(t *testing.T, document, pointer string) {
		p, err := ParsePointer(pointer)
		valid := json.Valid([]byte(document)) && utf8.ValidString(document) // as find requires
		if err == nil && !valid {
			p.find([]byte(document)) // must not panic
		}
		if err == nil && valid {
			value, ok := p.find(json.RawMessage(document))
			if ok && !json.Valid(value) {
				t.Errorf("%q finds %q in %q", pointer, value, document)
			}
			want, exists := walk(t, document, pointer)
			if ok != exists {
				t.Errorf("%q finds %q in %q: %t", pointer, value, document, ok)
			}
			if got := canonical(value); ok && !strings.Contains(document, `\u`) && !hasDuplicates([]byte(document)) &&
				string(got) != string(canonical([]byte(want))) {
				t.Errorf("%q finds %s in %q, want %s", pointer, got, document, want)
			}
		}
	})
}

// hasDuplicates reports whether a valid document has an object with two members of the same
// name.
func hasDuplicates(document []byte) bool {
	var check func(at span) bool
	check = func(at span) bool {
		seen := make(map[string]bool)
		for name, value := range children(document, at) {
			var decoded string
			if name != (span{}) {
				_ = json.Unmarshal(name.of(document), &decoded)
				if seen[decoded] {
					return true
				}
				seen[decoded] = true
			}
			if check(value) {
				return true
			}
		}
		return false
	}
	return check(trimmed(document))
}

// walk finds a value in a different way: it decodes the whole document first.
func walk(t *testing.T, document, pointer string) (string, bool) {
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	for i, token := range strings.Split(pointer, "/") {
		if i == 0 {
			continue
		}
		token = strings.NewReplacer("~0", "~", "~1", "/").Replace(token)
		switch v := value.(type) {
		case map[string]any:
			member, ok := v[token]
			if !ok {
				return "", false
			}
			value = member
		case []any:
			found := false
			for n := range v {
				if text, _ := json.Marshal(n); string(text) == token {
					value, found = v[n], true
					break
				}
			}
			if !found {
				return "", false
			}
		default:
			return "", false
		}
	}
	text, err := json.Marshal(value)
	return string(text), err == nil
}
