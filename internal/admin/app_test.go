package admin

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// The global option says what is wrong with it, and where.
func TestGlobalOption(t *testing.T) {
	for text, want := range map[string]string{
		"preconditions {\npage off\n}":   `{"page":"off"}`,
		"preconditions":                  `{}`,
		"preconditions off":              "Testfile:1",
		"preconditions {\npage\n}":       "write page on or page off, at Testfile:2",
		"preconditions {\npage maybe\n}": `"maybe" must be on or off, at Testfile:2`,
		"preconditions {\nverify all\n}": "write the others into the directive in a site, at Testfile:2",
	} {
		app, err := parseGlobalOption(caddyfile.NewTestDispenser(text), nil)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%q: %v", text, err)
		case err == nil && string(app.(httpcaddyfile.App).Value) != want:
			t.Errorf("%q: got %s", text, app.(httpcaddyfile.App).Value)
		}
	}
	if err := (&App{Page: "maybe"}).Validate(); err == nil {
		t.Error("no error")
	}
}
