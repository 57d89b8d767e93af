package proxycommand

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A word stays one word, whatever is in it.
func FuzzQuoted(f *testing.F) {
	for _, word := range []string{"", "word", "two words", `a"b`, "<<a", "a\u00a0b", "a#b", `a\b`, `a\`, "a\nb", "redis://localhost:6379/0"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if !utf8.ValidString(word) || strings.ContainsAny(word, "`\r") {
			return
		}
		tokens, err := caddyfile.Tokenize([]byte("store "+quoted(word)+" next\n"), "Caddyfile")
		if err != nil || len(tokens) != 3 || tokens[1].Text != word {
			t.Errorf("%q became %v (%v)", word, tokens, err)
		}
	})
}
