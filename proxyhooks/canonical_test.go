package proxyhooks

import (
	"encoding/json"
	"testing"
)

// TestCanonical: spellings of one value have one canonical form.
func TestCanonical(t *testing.T) {
	for want, spellings := range map[string][]string{
		`{"a":1,"b":[true,null]}`: {`{"a":1,"b":[true,null]}`, "\t{ \"b\" : [ true , null ],\r\n\"\\u0061\" : 1 }"},
		`"A"`:                     {`"A"`, `"\u0041"`},
		`12345678901234567890`:    {`12345678901234567890`},
		`1.0`:                     {`1.0`},
		`1`:                       {`1`},
		`1e400`:                   {`1e400`},
		`"\ud800"`:                {`"\ud800"`, ` "\ud800"`},
		`"\ud801"`:                {`"\ud801"`},
		"\"\ufffd\"":              {"\"\ufffd\""},
	} {
		for _, spelling := range spellings {
			if got, err := canonical(json.RawMessage(spelling)); err != nil || string(got) != want {
				t.Errorf("%s: got %s, %v, want %s", spelling, got, err, want)
			}
		}
	}
}
