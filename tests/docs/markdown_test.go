// Package docs_test holds the documentation to the code: what the Markdown files
// show is run, parsed or looked up, and what the code declares must be in them.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// root is the directory of the repository.
const root = "../.."

// document is one Markdown file.
type document struct {
	path  string // from the root of the repository, with slashes
	lines []line
}

// line is a line of a document. Lines of code blocks belong to their block.
type line struct {
	text   string
	number int
	code   bool
}

type block = caddytest.Block

// readDocument reads the Markdown file at a path from the root.
func readDocument(t testing.TB, path string) document {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	d := document{path: path}
	code := false
	for i, text := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		fence := strings.HasPrefix(strings.TrimLeft(text, " "), "```")
		d.lines = append(d.lines, line{text, i + 1, code || fence})
		if fence {
			code = !code
		}
	}
	return d
}

// documents returns all Markdown files of the repository.
func documents(t testing.TB) []document {
	t.Helper()
	var all []document
	walk(t, func(path string) {
		if strings.HasSuffix(path, ".md") {
			all = append(all, readDocument(t, path))
		}
	})
	if len(all) < 10 {
		t.Fatalf("found only %d Markdown files", len(all))
	}
	return all
}

// walk calls f with the path of each file of the repository. It skips what is
// installed or hidden.
func walk(t testing.TB, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules") {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			f(filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// text returns the document as it is.
func (d document) text() string {
	var b strings.Builder
	for _, l := range d.lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// blocksIn returns the code blocks of a language in all documents.
func blocksIn(t testing.TB, language string) (blocks []block) {
	t.Helper()
	for _, d := range documents(t) {
		for _, b := range caddytest.Blocks(t, d.path) {
			if b.Language == language {
				blocks = append(blocks, b)
			}
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("no document has a block of %s", language)
	}
	return blocks
}

var headingLine = regexp.MustCompile(`^(#+) +(.*?) *$`)

// section returns the lines below a heading, up to the next one of the same level or above.
func (d document) section(t testing.TB, heading string) (lines []line) {
	t.Helper()
	level := 0
	for _, l := range d.lines {
		if m := headingLine.FindStringSubmatch(l.text); m != nil && !l.code {
			switch {
			case level == 0 && m[2] == heading:
				level = len(m[1])
				continue
			case level > 0 && len(m[1]) <= level:
				return lines
			}
		}
		if level > 0 {
			lines = append(lines, l)
		}
	}
	if level == 0 {
		t.Fatalf("%s has no heading %q", d.path, heading)
	}
	return lines
}

// anchors returns the fragments that GitHub gives the headings of the document.
func (d document) anchors() map[string]bool {
	anchors := make(map[string]bool)
	for _, l := range d.lines {
		m := headingLine.FindStringSubmatch(l.text)
		if m == nil || l.code {
			continue
		}
		title := linkText.ReplaceAllString(m[2], "$1")
		anchor := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case unicode.IsLetter(c), unicode.IsDigit(c), c == '-', c == '_':
				return unicode.ToLower(c)
			default:
				return -1
			}
		}, title)
		anchors[anchor] = true
	}
	return anchors
}

var (
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	linkTarget = regexp.MustCompile(`\]\(([^)]*)\)`)
)

// cells returns the cells of a row of a table, and false for all other lines.
func (l line) cells() ([]string, bool) {
	row, ok := strings.CutPrefix(l.text, "|")
	if !ok || l.code || strings.HasPrefix(row, "---") {
		return nil, false
	}
	cells := strings.Split(strings.TrimSuffix(strings.ReplaceAll(row, `\|`, "\x00"), "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells, true
}

// firstCells returns the names in backquotes that are the whole first cell of a row.
func firstCells(lines []line) (names []string) {
	for _, l := range lines {
		if cells, ok := l.cells(); ok {
			if name := strings.Trim(cells[0], "`"); "`"+name+"`" == cells[0] {
				names = append(names, name)
			}
		}
	}
	return names
}

// expectSame reports what is in one of two lists only.
func expectSame(t testing.TB, where string, documented, declared []string) {
	t.Helper()
	if len(declared) == 0 {
		t.Errorf("%s: the code declares nothing", where)
	}
	for _, name := range declared {
		if !slices.Contains(documented, name) {
			t.Errorf("%s: %s isn't documented", where, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(declared, name) {
			t.Errorf("%s: %s is documented, but the code doesn't know it", where, name)
		}
	}
	if sorted := slices.Sorted(slices.Values(documented)); len(slices.Compact(sorted)) != len(documented) {
		t.Errorf("%s: something is documented twice: %q", where, documented)
	}
}
