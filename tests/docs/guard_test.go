package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// languages are those whose blocks are all checked by one test, which it goes through.
var languages = map[string]string{
	"caddyfile": "TestEveryCaddyfileIsAccepted", // and TestEveryGrammarIsThatOfTheParser
	"mermaid":   "TestEveryDiagramCanBeDrawn",
}

// reference names a block: the first one of a page that has a text.
type reference struct{ page, has string }

// unchecked are blocks that nothing here can check, with the reason.
var unchecked = map[reference]string{
	{"CONTRIBUTING.md", "git worktree add"}:            "needs an earlier commit; its go commands are checked",
	{"docs/clients/dotnet.md", "using System.Net;"}:    "Debian has no .NET, and the page says that no test runs it",
	{"docs/clients/shell.md", "param([uri] $Url"}:      "Debian has no PowerShell, and the page says that no test runs it",
	{"xcaddy.md", "git clone"}:                         "needs the network",
	{"xcaddy.md", "go install github.com/caddyserver"}: "needs the network",
	{"xcaddy.md", "xcaddy run"}:                        "needs xcaddy",
	{"xcaddy.md", "xcaddy build --with"}:               "needs the module to be published",
	{"xcaddy.md", "VERSION=main    #"}:                 "needs the module to be published",
	{"xcaddy.md", "go mod init"}:                       "needs the module to be published",
	{"xcaddy.md", "go mod edit -replace"}:              "needs the network",
}

// Every block is one of a language whose blocks are all checked, or is named by a test that looks
// at what it shows. So a block that nothing checks can't be added unnoticed.
func TestEveryBlockIsChecked(t *testing.T) {
	checked := named(t)
	for r, why := range unchecked {
		if checked[r] || why == "" {
			t.Errorf("%v is checked, or there is no reason not to", r)
		}
		checked[r] = true
	}
	all := allOf(sources(t))
	for language, test := range languages {
		if !strings.Contains(all, "func "+test+"(t *testing.T) {") || !strings.Contains(all, `blocksIn(t, "`+language+`")`) {
			t.Errorf("%s doesn't go through the blocks of %s", test, language)
		}
	}
	used := make(map[reference]bool)
	for _, d := range documents(t) {
		first := make(map[reference]bool)
		for _, b := range caddytest.Blocks(t, d.path) {
			ok := languages[b.Language] != "" || b.Language == "sh" && isGo(b.Text)
			for r := range checked {
				if r.page == b.Page && strings.Contains(b.Text, r.has) && !first[r] {
					ok, first[r], used[r] = true, true, true
				}
			}
			if !ok {
				t.Errorf("%s:%d: nothing checks this block of %q", b.Page, b.Line, b.Language)
			}
		}
	}
	for r := range unchecked {
		if !used[r] {
			t.Errorf("there is no block %v", r)
		}
	}
	if len(used) < 50 {
		t.Errorf("only %d blocks are named", len(used))
	}
}

func allOf(sources map[string]string) string {
	var all strings.Builder
	for _, text := range sources {
		all.WriteString(text)
	}
	return all.String()
}

// named returns the blocks that tests name: wherever one literal, the path of a page, is followed
// by another one, as an argument or in a table.
func named(t testing.TB) map[reference]bool {
	t.Helper()
	all := make(map[reference]bool)
	add := func(list []ast.Expr) {
		previous := ""
		for _, e := range list {
			if pair, ok := e.(*ast.KeyValueExpr); ok {
				e = pair.Value
			}
			literal, ok := e.(*ast.BasicLit)
			text := ""
			if ok && literal.Kind == token.STRING {
				text, _ = strconv.Unquote(literal.Value)
			}
			if strings.HasSuffix(previous, ".md") && text != "" {
				all[reference{previous, text}] = true
			}
			previous = text
		}
	}
	for path, text := range sources(t) {
		if !strings.HasSuffix(path, "_test.go") || path == "tests/docs/guard_test.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				add(n.Args)
			case *ast.CompositeLit:
				add(n.Elts)
			}
			return true
		})
	}
	return all
}

// isGo reports whether all commands of a text are those that TestEveryGoCommandNamesWhatExists
// looks at, or run what CI runs.
func isGo(text string) bool {
	for line := range strings.Lines(text) {
		if !regexp.MustCompile(`^(?:(?:\w+=(?:[^\s"$]+|"[^"]*"|\$\([^)]*\)) )*go (?:run|build|test) |\.ci/run\s)`).MatchString(line) {
			return false
		}
	}
	return true
}
