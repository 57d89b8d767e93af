package answer

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// placeholderPrefix begins the names of all placeholders, and asJSON ends those that have
// the same values in JSON.
const (
	placeholderPrefix = "http.preconditions."
	asJSON            = ".json"
)

// MapPlaceholders gives every placeholder a second name, with .json at its end, under which
// its value is a JSON string, or null if it is empty. It must be called before anybody uses
// the replacer beside the caller.
func MapPlaceholders(repl *caddy.Replacer) {
	if _, mapped := repl.Get(placeholderPrefix + asJSON); mapped {
		return // by a handler further out
	}
	repl.Map(func(name string) (any, bool) {
		within, ours := strings.CutPrefix(name, placeholderPrefix)
		within, escaped := strings.CutSuffix(within, asJSON)
		if !ours || !escaped {
			return nil, false
		}
		text, _ := repl.GetString(placeholderPrefix + within)
		if text == "" {
			return "null", true
		}
		quoted, err := json.Marshal(text)
		return string(quoted), err == nil
	})
}
