// Package telemetry tests what operators get to know: logs, metrics, events, spans, and the
// field Preconditions-Status. Its tests replace the config of the process, so none is
// parallel.
package telemetry

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }

// server is a Caddy whose log is kept.
type server struct {
	admin string
	log   string // the file
}

// load serves the sites of a Caddyfile, beside global options.
func load(t testing.TB, global, sites string) *server {
	t.Helper()
	address, log := caddytest.LocalAddress(t), filepath.Join(t.TempDir(), "log")
	options := strings.Replace(caddytest.GlobalOptions, "admin off", "admin "+address+"\n"+global, 1)
	options = strings.Replace(options, "level ERROR", "level DEBUG\nformat json\noutput file "+log, 1)
	caddytest.LoadCaddyfile(t, options+sites)
	return &server{"http://" + address, log}
}

// line is a line of the log.
type line map[string]any

// lines returns the lines of the log with one of these messages.
func (c *server) lines(t testing.TB, messages ...string) (lines []line) {
	t.Helper()
	text, err := os.ReadFile(c.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(text)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, m := range messages {
			if l["msg"] == m {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// site returns a site with preconditions in front of a backend, and its URL.
func site(t testing.TB, options, backend string) (text, url string) {
	t.Helper()
	address := caddytest.Address(t)
	return fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(options, backend)), "http://" + address
}

// writable is a backend that keeps documents and has no conditions.
func writable(t testing.TB) *caddytest.Shelf {
	t.Helper()
	return &caddytest.Shelf{Content: "first"}
}
