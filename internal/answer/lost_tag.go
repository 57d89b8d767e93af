package answer

import (
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// noTagKept returns the text in a condition that clients send where they have no tag: what
// their language makes a text of if there is no value. It returns nothing for any other text,
// and nothing if that isn't why the condition failed.
func noTagKept(res validator.Result, lines []string) string {
	switch res.Reason {
	case validator.Malformed, validator.NoMatch, validator.WeakListed, validator.NotKnown:
	default:
		return ""
	}
	if len(lines) != 1 {
		return ""
	}
	text := strings.Trim(lines[0], " \t")
	opaque := strings.TrimPrefix(text, "W/")
	if n := len(opaque); n >= 2 && (opaque[0] == '"' || opaque[0] == '\'') && opaque[n-1] == opaque[0] {
		opaque = opaque[1 : n-1]
	}
	switch strings.ToLower(opaque) {
	case "", "null", "undefined", "none", "nil", "<nil>", "nan", "[object object]":
		return text
	default:
		return ""
	}
}
