package docs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }

// adapt turns a Caddyfile into JSON. Its own global options, if it has any, count besides those of
// the harness.
func adapt(t testing.TB, sites string) ([]byte, error) {
	t.Helper()
	text := caddytest.GlobalOptions
	if more, ok := strings.CutPrefix(sites, "{\n"); ok {
		sites, text = more, strings.TrimSuffix(strings.TrimSpace(text), "}")
	}
	text += sites
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// validate provisions a config, and starts nothing.
func validate(config []byte) error {
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		return err
	}
	if parsed.Logging == nil {
		parsed.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "PANIC"}}}}
	}
	return caddy.Validate(&parsed)
}
