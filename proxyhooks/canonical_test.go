package proxyhooks

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"
)

// Spellings of one value have one canonical form. That of a value without objects is what
// encoding/json makes of it.
func TestCanonical(t *testing.T) {
	for want, spellings := range map[string][]string{
		`[1,[true,null],{}]`:          {`[1,[true,null],{}]`, "\t[ 1 , [ true ,\r\nnull ] , { } ] "},
		`"A"`:                         {`"A"`, `"\u0041"`},
		`12345678901234567890`:        {`12345678901234567890`},
		`1.0`:                         {`1.0`},
		`1`:                           {`1`},
		`1e400`:                       {`1e400`},
		`"\ud800"`:                    {`"\ud800"`, ` "\uD800"`},
		`"\ud801"`:                    {`"\ud801"`},
		`"\ud800\ud800x\udc00"`:       {`"\ud800\uD800\u0078\udc00"`},
		"\"\U0001f600\"":              {`"\ud83d\ude00"`, "\"\U0001f600\""},
		"\"\ufffd\"":                  {"\"\ufffd\"", `"\ufffd"`},
		`"\"\\/\b\f\n\r\t\u0001"`:     {`"\"\\\/\b\f\n\r\t\u0001"`, `"\u0022\u005c/\u0008\u000C\u000a\u000d\u0009\u0001"`},
		`"\u003cA\u003e\u0026\u2028"`: {"\"<A>&\u2028\"", `"\u003CA\u003E\u0026\u2028"`},
		`"\\u0041"`:                   {`"\\u0041"`},
		`[]`:                          {`[]`, "[ ]"},
	} {
		for _, spelling := range spellings {
			if got := canonical(json.RawMessage(spelling)); string(got) != want {
				t.Errorf("%s: got %s, want %s", spelling, got, want)
			}
		}
	}
}

// Objects are the same if they have the same members, in any order. All members with the
// same name count, in their order.
func TestCanonicalObjects(t *testing.T) {
	seen := make(map[string]string)
	for _, spellings := range [][]string{
		{`{"a":1,"b":[true,null]}`, "\t{ \"b\" : [ true , null ],\r\n\"\\u0061\" : 1 }"},
		{`{"a":1,"b":[null,true]}`},
		{`{"a":{"b":1,"c":2},"d":{}}`, `{"d":{},"a":{"c":2,"b":1}}`},
		{`{"a":{"b":1},"c":2,"d":{}}`},
		{`{"a":{"b":1,"c":2,"d":{}}}`},
		{`{}`, ` { } `},
		{`[{}]`},
		{`{"":{}}`},
		{`{"":0}`},
		{`[{},{"a":1}]`},
		{`[{"a":1},{}]`},
		{`{"a":1,"a":2}`},
		{`{"a":2,"a":1}`},
		{`{"a":100,"a":2}`, `{"a":100,"\u0061":2}`},
		{`{"a":2}`},
		{`{"a":2,"a":2}`},
		{`{"a":1,"a":2,"b":0}`, `{"b":0,"a":1,"a":2}`, `{"a":1,"b":0,"a":2}`},
		{`{"\ud800":1,"\ud801":2}`, `{"\ud801":2,"\ud800":1}`},
		{`{"\ud800":2,"\ud801":1}`},
		{`{"a,":1}`},
		{`{"a":",1"}`},
		{`{"a":1,"b":2}`},
		{`{"a":[1,2]}`},
		{`{"a":"1,\"b\":2"}`},
	} {
		form := string(canonical([]byte(spellings[0])))
		for _, spelling := range spellings[1:] {
			if string(canonical([]byte(spelling))) != form {
				t.Errorf("%s and %s differ", spellings[0], spelling)
			}
		}
		if other, ok := seen[form]; ok {
			t.Errorf("%s and %s are the same", spellings[0], other)
		}
		seen[form] = spellings[0]
	}
}

// Strings are written as encoding/json writes them, so that tags of values don't depend on
// who makes them.
func TestCanonicalStrings(t *testing.T) {
	if err := quick.Check(func(s string) bool {
		if !utf8.ValidString(s) {
			return true
		}
		encoded, err := json.Marshal(s)
		return err == nil && bytes.Equal(canonical(encoded), encoded)
	}, nil); err != nil {
		t.Error(err)
	}
}

// The canonical form of a document takes memory in proportion to it, and not much more.
func TestCanonicalIsSmall(t *testing.T) {
	for _, unit := range []string{"0,", `{"":0},`, `{},`, `"",`, `[],`} {
		text := "[" + strings.Repeat(unit, 10000) + "0]"
		if form := canonical([]byte(text)); len(form) > 3*len(text) {
			t.Errorf("%s: %d bytes are made of %d", unit, len(form), len(text))
		}
	}
}
