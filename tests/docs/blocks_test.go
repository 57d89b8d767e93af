package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A diagram that GitHub can't draw is shown as its source. These lines are the part of Mermaid
// that the documents use. Who takes part in a sequence is named at its top, and what begins ends.
func TestEveryDiagramCanBeDrawn(t *testing.T) {
	text := `[^;#]+`
	lines := map[string]*regexp.Regexp{
		"sequenceDiagram": regexp.MustCompile(`^(?:(?:participant|actor) (\w+)(?: as ` + text + `)?|(\w+)-?->>[+-]?(\w+): ` + text +
			`|Note (?:over|left of|right of) (\w+)(?:,(\w+))?: ` + text + `|(?:alt|loop|opt|par|rect|critical) ` + text + `|else(?: ` + text + `)?|end)$`),
		"flowchart": regexp.MustCompile(`^(?:\w+(?:\[[^\]]+\]|\([^)]+\)|\[\([^)]+\)\])?(?: (?:-->|<-->|-\.-|---)(?:\|[^|]+\|)? \w+(?:\[[^\]]+\]|\([^)]+\)|\[\([^)]+\)\])?)*|subgraph ` + text + `|end)$`),
	}
	for _, b := range blocksIn(t, "mermaid") {
		kind, rest, _ := strings.Cut(b.Text, "\n")
		kind, _, _ = strings.Cut(kind, " ")
		if lines[kind] == nil {
			t.Errorf("%s:%d: a diagram of kind %q", b.Page, b.Line, kind)
			continue
		}
		known, open := make(map[string]bool), 0
		for line := range strings.Lines(rest) {
			line = strings.TrimSpace(line)
			m := lines[kind].FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%s:%d: %s", b.Page, b.Line, line)
				continue
			}
			for i, name := range m[1:] {
				if known[name] = known[name] || i == 0; name != "" && !known[name] {
					t.Errorf("%s:%d: %s doesn't take part", b.Page, b.Line, name)
				}
			}
			switch first, _, _ := strings.Cut(line, " "); first {
			case "alt", "loop", "opt", "par", "rect", "critical", "subgraph":
				open++
			case "end":
				open--
			}
		}
		if open != 0 {
			t.Errorf("%s:%d: %d parts don't end", b.Page, b.Line, open)
		}
	}
}

// What is shown for a database lets the first of two saves with one version through.
func TestTheUpdateIsConditional(t *testing.T) {
	caddytest.Needs(t, python)
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.execute("CREATE TABLE documents (id INTEGER, text TEXT, version INTEGER)")
db.execute("INSERT INTO documents VALUES (1, 'old', 7), (2, 'other', 7)")
update = sys.stdin.read()
for text in "Ann", "Ben":
    print(db.execute(update, {"1": text, "2": 1, "3": 7}).rowcount)
print(db.execute("SELECT * FROM documents ORDER BY id").fetchall())
`)
	cmd.Stdin = strings.NewReader(caddytest.Shown(t, "docs/comparison.md", "UPDATE documents").Text)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1\n0\n[(1, 'Ann', 8), (2, 'other', 7)]\n" {
		t.Errorf("%v: got\n%s", err, out)
	}
}

// What the README says of the throughput is what docs/performance.md has in its table, rounded.
func TestTheFiguresAreThoseMeasured(t *testing.T) {
	measured := make(map[string][]string)
	for _, l := range readDocument(t, "docs/performance.md").section(t, "Throughput") {
		if cells, ok := l.cells(); ok && len(cells) > 3 && measured[cells[0]] == nil { // the first table has the figures
			measured[cells[0]] = cells[2:4]
		}
	}
	text := strings.Join(strings.Fields(readDocument(t, "README.md").text()), " ")
	const figure = `(\d\.\d+)`
	said := regexp.MustCompile("a `GET` was measured at " + figure + " of the throughput with `store memory` and " + figure + " with Redis, " +
		"a refused `PUT` at " + figure + " and " + figure + ", and a `PUT` that passes at " + figure + " and " + figure + `\.`).FindStringSubmatch(text)
	if said == nil {
		t.Fatal("the README has no figures")
	}
	for i, request := range []string{"`GET`, 10 KiB", "`PUT` of 1 KiB that is refused", "`PUT` that passes, defaults"} {
		for j, cell := range measured[request] {
			got := said[1+2*i+j]
			ratio, err := strconv.ParseFloat(strings.Fields(cell)[0], 64)
			if err != nil || strconv.FormatFloat(ratio, 'f', len(got)-2, 64) != got {
				t.Errorf("%s: the README says %s, and the table %s", request, got, cell)
			}
		}
		if measured[request] == nil {
			t.Errorf("docs/performance.md has no %s", request)
		}
	}
}

// The message of a commit that is shown keeps the rules above it.
func TestTheCommitMessageKeepsTheRules(t *testing.T) {
	b := caddytest.Shown(t, "CONTRIBUTING.md", "\n\nA writer")
	title, body, ok := strings.Cut(b.Text, "\n\n")
	name, what, _ := strings.Cut(title, ": ")
	if _, err := os.Stat(filepath.Join(root, "internal", name)); err != nil || !ok || body == "" || len(title) >= 65 || what == "" || what != strings.ToLower(what) {
		t.Errorf("%s:%d: %v: %q", b.Page, b.Line, err, title)
	}
}

// The script in the guide for clients saves what it says, and is refused if somebody else was
// faster.
func TestTheScriptOfTheGuideSaves(t *testing.T) {
	caddytest.Needs(t, "node")
	s := startSite(t, "preconditions\n")
	b := caddytest.Shown(t, "docs/clients.md", "const saved = await fetch")
	url := "http://" + s.address + plan
	caddytest.Send(t, "PUT", url, friday, "Content-Type", "text/plain").Expect(t, 201)
	const read = "const tag = "
	script := strings.Replace(b.Text, "https://docs.example.com/docs/plan", url, 1) + "console.log(saved.status);\n"
	faster := strings.Replace(script, read, `await fetch(url, { method: "PUT", body: "hers" });`+"\n"+read, 1)
	for _, test := range []struct{ script, status, content string }{{script, "204\n", monday}, {faster, "412\n", "hers"}} {
		file := filepath.Join(t.TempDir(), "script.mjs")
		if err := os.WriteFile(file, []byte(test.script), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "node", file).CombinedOutput()
		if got := caddytest.Send(t, "GET", url, "").Content; err != nil || string(out) != test.status || got != test.content {
			t.Errorf("%s:%d: %v: %s the plan is %q", b.Page, b.Line, err, out, got)
		}
	}
}
