package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// pipe collects what the example writes, and reports when the last step is there.
type pipe struct {
	text strings.Builder
	last string
	done chan struct{}
}

func (p *pipe) Write(text []byte) (int, error) {
	n, err := p.text.Write(text)
	if strings.HasSuffix(p.text.String(), p.last) {
		close(p.done)
	}
	return n, err
}

// TestExample: the example loses entries without Caddy and none with it, and the commands that
// it prints do what the text around them says.
func TestExample(t *testing.T) {
	caddytest.Needs(t, "docker-registry", "curl")
	t.Setenv("HOME", t.TempDir()) // Caddy's storage
	port, registry := redistest.FreePort(t), redistest.FreePort(t)
	lines := strings.SplitAfter(steps, "\n")
	out := &pipe{last: lines[len(lines)-2], done: make(chan struct{})}
	ctx := t.Context() // ends before the cleanup
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, port, registry, out) }()
	select {
	case <-out.done:
	case err := <-ended:
		t.Fatalf("%v\n%s", err, out.text.String())
	case <-time.After(5 * time.Minute):
		t.Fatal("it prints nothing")
	}
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	text := out.text.String()
	for _, want := range []string{
		`16 clients append to one index at the registry itself: 1 of 16 entries are there, after 16 writes\.`,
		`16 clients append to one index through Caddy: 16 of 16 entries are there, after \d+ writes\.`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("it doesn't print %s:\n%s", want, text)
		}
	}
	cmd := exec.CommandContext(ctx, "sh")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	cmd.Stdin = strings.NewReader(commands(text))
	answers, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, answers)
	}
	statuses := regexp.MustCompile(`(?m)^HTTP/1\.1 (\d+)`).FindAllString(string(answers), -1)
	if got := strings.Join(statuses, ", "); got != "HTTP/1.1 200, HTTP/1.1 412, HTTP/1.1 201" {
		t.Errorf("the commands get %s:\n%s", got, answers)
	}
}

// commands returns the commands in a printed text, which are indented by five columns.
func commands(text string) string {
	var all strings.Builder
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "     "); ok {
			all.WriteString(command)
		}
	}
	return all.String()
}

func TestCaddyfileIsFormatted(t *testing.T) {
	if got := caddyfile.Format(config); !bytes.Equal(got, config) {
		t.Errorf("caddy fmt makes it\n%s", got)
	}
}

// TestCaddyfileIsTheRecipe: the site is the one in docs/registry.md, except for the store and the refusals.
func TestCaddyfileIsTheRecipe(t *testing.T) {
	page, err := os.ReadFile("../../docs/registry.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(page), "```caddyfile\nregistry.example.com {\n")
	recipe, _, _ = strings.Cut(recipe, "\t}\n\treverse_proxy")
	_, site, _ := strings.Cut(string(config), "bind localhost\n\n")
	site, _, _ = strings.Cut(site, "\t}\n\treverse_proxy")
	ours := make(map[string]bool)
	for line := range strings.Lines(site) {
		ours[strings.Join(strings.Fields(line), " ")] = true
	}
	for line := range strings.Lines(recipe) {
		line = strings.Join(strings.Fields(line), " ")
		if !ours[line] && !strings.HasPrefix(line, "store ") && !strings.HasPrefix(line, "errors ") {
			t.Errorf("the example lacks %q", line)
		}
	}
	if len(ours) < 10 {
		t.Errorf("found only %d lines", len(ours))
	}
}
