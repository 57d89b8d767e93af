package preconditions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }

// TestCaddyfile adapts what is in testdata/caddyfile. A file holds Caddyfiles,
// each followed by the JSON that it stands for, or by the error that it gives.
func TestCaddyfile(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	adapted, refused := 0, 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "----------\n")
			if len(parts)%2 != 0 {
				t.Fatal("a Caddyfile has no expectation")
			}
			for i := 0; i < len(parts); i += 2 {
				want := strings.TrimSpace(parts[i+1])
				got, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(parts[i]), map[string]any{"filename": "Caddyfile"})
				switch {
				case strings.HasPrefix(want, "{"):
					adapted++
					expectAdapted(t, got, err, want)
				case err == nil:
					t.Errorf("no error, want %q, for:\n%s", want, parts[i])
				default:
					refused++
					if said := strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'preconditions': "); said != want {
						t.Errorf("got  %q\nwant %q\nfor:\n%s", said, want, parts[i])
					}
				}
			}
		})
	}
	if adapted == 0 || refused == 0 {
		t.Fatalf("only %d Caddyfiles were adapted and %d refused", adapted, refused)
	}
}

// TestWarnings loads what is in testdata/warnings. A file holds Caddyfiles, each followed by
// the warnings that the log has then: a line for each, or none.
func TestWarnings(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/warnings/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(data), "----------\n")
		if len(parts)%2 != 0 {
			t.Fatalf("%s: a Caddyfile has no expectation", file)
		}
		for i := 0; i < len(parts); i += 2 {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i/2), func(t *testing.T) {
				t.Parallel()
				if got := warnings(t, parts[i]); got != parts[i+1] {
					t.Errorf("got\n%swant\n%sfor:\n%s", got, parts[i+1], parts[i])
				}
			})
		}
	}
}

// warnings returns the warnings of the handler with which a process checks a config, one a
// line.
func warnings(t *testing.T, caddyfile string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := caddytest.Command(t, dir, "validate", "--config", config, "--adapter", "caddyfile")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var said strings.Builder
	for line := range strings.Lines(string(out)) {
		var entry struct{ Level, Logger, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "warn" && entry.Logger == "http.handlers.preconditions" {
			said.WriteString(entry.Msg + "\n")
		}
	}
	return said.String()
}

func expectAdapted(t *testing.T, got []byte, err error, want string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "\t"); err != nil {
		t.Fatal(err)
	}
	if indented.String() != want {
		t.Errorf("got\n%s\nwant\n%s", indented.String(), want)
	}
}

// TestLostUpdate is what the handler is for.
func TestLostUpdate(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	url := caddytest.Site(t, "require", docs) + "/docs/plan"
	caddytest.Send(t, "PUT", url, "first", "If-None-Match", "*").Expect(t, 201)

	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url, "Ann's", "If-Match", tag).Expect(t, 204)
	caddytest.Send(t, "PUT", url, "Bob's", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", url, "Bob's").Expect(t, 428)

	if got := caddytest.Send(t, "GET", url, "").Expect(t, 200).Content; got != "Ann's" {
		t.Errorf("got %q, want Ann's", got)
	}
}
