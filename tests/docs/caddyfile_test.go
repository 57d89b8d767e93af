package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Every Caddyfile that the documents show, and each part of one, is accepted by
// Caddy, but for those that show the grammar.
func TestEveryCaddyfileIsAccepted(t *testing.T) {
	t.Setenv("REDIS_PASSWORD", "password")
	options := grammarOf(t, "preconditions").names("")
	accepted := make(map[string]int)
	for _, b := range blocksIn(t, "caddyfile") {
		if strings.Contains(b.Text, "<") {
			continue
		}
		site := b.Text
		switch first := firstWord(b.Text); {
		case slices.Contains(options, first):
			site = "example.com {\npreconditions {\n" + b.Text + "}\n}\n"
		case slices.Contains([]string{"preconditions", "handle", "reverse_proxy"}, first):
			site = "example.com {\n" + b.Text + "}\n"
		}
		site = strings.NewReplacer("/etc/caddy/refusals/", root+"/examples/refusals/", "/var/log/caddy", t.TempDir()).Replace(site)
		config, err := adapt(t, site)
		if err == nil {
			err = validate(config)
		}
		if err != nil {
			t.Errorf("%s:%d: %v", b.Page, b.Line, err)
		}
		accepted[b.Page]++
	}
	for _, name := range []string{"README.md", "docs/options.md", "docs/backends.md", "docs/stores.md"} {
		if accepted[name] == 0 {
			t.Errorf("%s has no Caddyfile", name)
		}
	}
}

func firstWord(text string) string {
	for _, l := range strings.Split(text, "\n") {
		if words := strings.Fields(l); len(words) > 0 && words[0] != "#" {
			return words[0]
		}
	}
	return ""
}

// The grammars in the documents are those in the comments of the code that parses them.
func TestEveryGrammarIsThatOfTheParser(t *testing.T) {
	declared := grammars(t)
	shown := make(map[string]bool)
	for _, b := range blocksIn(t, "caddyfile") {
		if !strings.Contains(b.Text, "<") {
			continue
		}
		i := slices.IndexFunc(declared, func(g grammar) bool { return string(g) == b.Text })
		if i < 0 {
			t.Errorf("%s:%d: no UnmarshalCaddyfile documents this grammar", b.Page, b.Line)
			continue
		}
		shown[b.Text] = true
	}
	for _, g := range declared {
		if !shown[string(g)] {
			t.Errorf("no document shows this grammar:\n%s", g)
		}
	}
}

// Every option has a section in the reference and a row in the README, and there
// is no section or row of anything else.
func TestEveryOptionIsDocumented(t *testing.T) {
	handler := grammarOf(t, "preconditions")
	options := handler.names("")
	if len(options) < 15 {
		t.Fatalf("found only %d options", len(options))
	}

	var rows []string
	row := regexp.MustCompile("^\\[`([a-z_]+)`\\]\\(docs/options\\.md#([a-z_]+)\\)$")
	for _, l := range readDocument(t, "README.md").lines {
		if cells, ok := l.cells(); ok {
			if m := row.FindStringSubmatch(cells[0]); m != nil {
				rows = append(rows, m[1])
				if m[1] != m[2] {
					t.Errorf("the row of %s in the README leads to #%s", m[1], m[2])
				}
			}
		}
	}
	expectSame(t, "README.md", rows, options)

	reference := readDocument(t, "docs/options.md")
	var sections []string
	for _, l := range reference.lines {
		if m := headingLine.FindStringSubmatch(l.text); m != nil && !l.code && m[1] == "###" {
			sections = append(sections, strings.Trim(m[2], "`"))
		}
	}
	expectSame(t, "docs/options.md", sections, options)

	expectSame(t, "store_down", firstCells(reference.section(t, "`store_down`")), handler.names("store_down"))
	var ofStores []string
	for _, store := range []string{"store memory", "store redis"} {
		g := grammarOf(t, store)
		ofStores = slices.Concat(ofStores, g.names(""), g.names("tls"))
	}
	expectSame(t, "store", firstCells(reference.section(t, "`store`")), ofStores)
}

// The JSON config that is shown is accepted.
func TestTheJSONConfigIsAccepted(t *testing.T) {
	b := caddytest.Shown(t, "docs/options.md", `"handler": "preconditions"`)
	err := validate(fmt.Appendf(nil, `{
		"admin": {"disabled": true},
		"apps": {"http": {"servers": {"srv": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [%s]}]}}}}
	}`, b.Text))
	if err != nil {
		t.Errorf("%s:%d: %v", b.Page, b.Line, err)
	}
}

// grammar is the syntax of a directive, as the comment of its parser shows it.
type grammar string

// grammars returns those of all methods UnmarshalCaddyfile.
func grammars(t testing.TB) (all []grammar) {
	t.Helper()
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.Name != "UnmarshalCaddyfile" || f.Recv == nil || strings.Contains(path, "caddytest") {
				continue
			}
			var g grammar
			for l := range strings.Lines(f.Doc.Text()) {
				if code, ok := strings.CutPrefix(l, "\t"); ok {
					g += grammar(code)
				}
			}
			if g == "" {
				t.Errorf("%s: a method UnmarshalCaddyfile doesn't tell the grammar", path)
				continue
			}
			all = append(all, g)
		}
	})
	return all
}

// grammarOf returns the grammar that begins with some words.
func grammarOf(t testing.TB, words string) grammar {
	t.Helper()
	for _, g := range grammars(t) {
		if strings.HasPrefix(string(g), words+" ") {
			return g
		}
	}
	t.Fatalf("no grammar begins with %s", words)
	panic("unreachable")
}

// names returns the options of a grammar, or those of a block within it.
func (g grammar) names(within string) (names []string) {
	indent, inside := "\t", within == ""
	for l := range strings.Lines(string(g)) {
		text := strings.TrimSuffix(l, "\n")
		if within != "" && strings.HasPrefix(text, "\t") && !strings.HasPrefix(text, "\t\t") {
			inside, indent = strings.TrimSpace(text) == within+" {", "\t\t"
			continue
		}
		option, ok := strings.CutPrefix(text, indent)
		if words := strings.Fields(option); ok && inside && !strings.HasPrefix(option, "\t") && words[0] != "}" && !slices.Contains(names, words[0]) {
			names = append(names, words[0])
		}
	}
	return names
}
