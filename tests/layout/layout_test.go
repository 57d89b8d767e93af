// Package layout checks the shape of the repository: which package imports
// which, what lies at the root, and how large a type, a function or a file may
// get. It reads the sources, so it needs neither a build nor a linter.
package layout

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path of this module, and of its root package.
const module = "github.com/caddy-preconditions/preconditions"

const (
	maxMethods       = 20  // of one type
	maxFunctionLines = 80  // from its first line to its closing brace
	maxFileLines     = 500 // of a file that isn't a test
)

// complain reports a violation.
var complain = (*testing.T).Errorf

// layers lists the packages that end up in a user's Caddy, from the bottom to
// the top. A package may import only what it names, all of which precedes it.
// .golangci.yml has the same rules for editors and for .ci/run.
var layers = []layer{
	{pkg: "validator", outside: standardLibrary},
	{pkg: "etagcache", imports: []string{"validator"}, outside: noCaddy},
	{pkg: "proxyhooks", imports: []string{"validator"}},

	{pkg: "internal/concurrently", outside: standardLibrary},
	{pkg: "internal/multistatus", outside: standardLibrary},
	{pkg: "internal/spelling", outside: standardLibrary},
	{pkg: "internal/telemetry", imports: []string{"proxyhooks"}},
	{pkg: "internal/history", imports: []string{"internal/telemetry"}, outside: noCaddy},
	{pkg: "internal/directive", imports: []string{"internal/spelling"}},
	{pkg: "internal/resource", imports: []string{"internal/spelling", "proxyhooks", "validator"}},
	{pkg: "internal/advice", imports: []string{"internal/resource"}},
	{pkg: "internal/relation", imports: []string{"internal/resource", "proxyhooks"}, outside: noCaddy},
	{pkg: "internal/storeshare", imports: []string{"etagcache", "internal/telemetry", "validator"}},
	{pkg: "internal/knowledge", imports: []string{
		"etagcache", "internal/concurrently", "internal/resource", "internal/storeshare", "internal/telemetry", "proxyhooks", "validator",
	}},
	{pkg: "internal/hold", imports: []string{
		"etagcache", "internal/concurrently", "internal/relation", "internal/resource", "internal/storeshare", "internal/telemetry", "proxyhooks",
	}},
	{pkg: "internal/answer", imports: []string{"internal/history", "internal/resource", "internal/spelling", "internal/telemetry", "proxyhooks", "validator"}},
	{pkg: "internal/gateway", imports: []string{
		"etagcache", "internal/answer", "internal/concurrently", "internal/history", "internal/hold", "internal/knowledge",
		"internal/multistatus", "internal/relation", "internal/resource", "internal/storeshare", "internal/telemetry", "proxyhooks", "validator",
	}},
	{pkg: "internal/stores", imports: []string{"etagcache", "internal/directive", "internal/spelling", "internal/storeshare"}},
	{pkg: "internal/proxycommand"},
	{pkg: "internal/doctor"},
	{pkg: "internal/admin", imports: []string{"etagcache", "internal/doctor", "internal/history", "internal/resource", "internal/storeshare", "internal/telemetry"}},

	{pkg: ".", imports: []string{
		"etagcache", "internal/admin", "internal/advice", "internal/answer", "internal/directive", "internal/gateway",
		"internal/history", "internal/knowledge", "internal/proxycommand", "internal/relation", "internal/resource", "internal/spelling",
		"internal/storeshare", "internal/stores", "internal/telemetry", "proxyhooks", "validator",
	}},
	{pkg: "examples/legacydocs", outside: standardLibrary},
	{pkg: "examples/quickstart", imports: []string{".", "examples/legacydocs"}},
	{pkg: "examples/registryclient"},
	{pkg: "examples/registry", imports: []string{".", "examples/registryclient"}},
}

// testSupport lists the packages and trees that only tests import. They may
// import anything. Every package below a tree that ends in "/" belongs to it.
var testSupport = []string{
	"etagcache/redistest",
	"etagcache/storetest",
	"internal/caddytest/",
	"tests/",
}

// atRoot lists what lies at the root. Files that .gitignore names don't count.
var atRoot = []string{
	".ci", ".editorconfig", ".git", ".github", ".gitignore", ".golangci.yml",
	"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "xcaddy.md",
	"caddy_test.go", "caddyfile.go", "module.go", "options.go", "options_condition.go", "options_errors.go", "options_etag.go", "options_limits.go",
	"options_profile.go", "options_profile_test.go", "options_reads.go", "options_rules.go", "options_signed.go", "options_signed_test.go",
	"docs", "etagcache", "examples", "internal", "proxyhooks", "testdata", "tests", "validator",
	"go.mod", "go.sum",
}

type layer struct {
	pkg     string   // relative to the module, "." for its root
	imports []string // the packages of this module that it may import
	outside func(importPath string) bool
}

// standardLibrary allows no package of another module.
func standardLibrary(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// noCaddy allows every package but Caddy's.
func noCaddy(importPath string) bool {
	return !strings.HasPrefix(importPath, "github.com/caddyserver/")
}

// TestTable: the table lists each package once, after those that it may import,
// and lists none that doesn't exist.
func TestTable(t *testing.T) {
	packages := packagesOf(t)
	seen := make(map[string]bool)
	for _, l := range layers {
		for _, imported := range l.imports {
			if !seen[imported] {
				t.Errorf("%s may import %s, which doesn't precede it in the table", l.pkg, imported)
			}
		}
		if seen[l.pkg] {
			t.Errorf("%s is in the table twice", l.pkg)
		}
		seen[l.pkg] = true
		if packages[l.pkg] == nil {
			complain(t, "%s is in the table and doesn't exist", l.pkg)
		}
	}
	for _, support := range testSupport {
		if _, err := os.Stat(filepath.Join(root, support)); err != nil {
			complain(t, "%s is in the table and doesn't exist", support)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		if !seen[pkg] && !isTestSupport(pkg) {
			complain(t, "%s isn't in the table", pkg)
		}
	}
}

// TestImports: no package imports what the table doesn't allow. Tests may import
// anything.
func TestImports(t *testing.T) {
	packages := packagesOf(t)
	checked := 0
	for _, l := range layers {
		for _, f := range packages[l.pkg] {
			if f.isTest() {
				continue
			}
			for _, spec := range f.syntax.Imports {
				checked++
				imported := strings.Trim(spec.Path.Value, `"`)
				within, ours := inModule(imported)
				switch {
				case ours && !slices.Contains(l.imports, within):
					complain(t, "%s imports %s: %s may import only %q of this module", f.name, within, l.pkg, l.imports)
				case !ours && l.outside != nil && !l.outside(imported):
					complain(t, "%s imports %s, which %s may not", f.name, imported, l.pkg)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("found no import")
	}
}

// TestLinterKnowsPackages: each package that may import little of this module
// has a rule in the configuration of the linter, too.
func TestLinterKnowsPackages(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if l.pkg == "." || strings.HasPrefix(l.pkg, "examples/") {
			continue
		}
		_, rule, found := bytes.Cut(config, []byte(`files: ["**/`+l.pkg+`/*.go", "!$test"]`))
		if !found {
			t.Errorf("no rule of .golangci.yml is about the files of %s", l.pkg)
			continue
		}
		rule, _, _ = bytes.Cut(rule, []byte("files:"))
		var allowed []string
		for line := range strings.Lines(string(rule)) {
			if within, ok := strings.CutPrefix(strings.TrimSpace(line), "- "+module+"/"); ok {
				allowed = append(allowed, strings.TrimSuffix(within, "$"))
			}
		}
		if !slices.Equal(allowed, l.imports) {
			t.Errorf(".golangci.yml lets %s import %q, and the table %q", l.pkg, allowed, l.imports)
		}
	}
}

// TestRoot: the root holds what is listed and nothing else.
func TestRoot(t *testing.T) {
	ignored := ignoredNames(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		names = append(names, name)
		if !slices.Contains(atRoot, name) && !ignored(name) {
			complain(t, "the root holds %s, which isn't listed", name)
		}
	}
	for _, name := range atRoot {
		// An archive of the module has no .git.
		if name != ".git" && !slices.Contains(names, name) {
			complain(t, "the root lacks %s, which is listed", name)
		}
	}
}

// TestSizes: no type has too many methods, and no function or file is too long.
// Tests, and what only tests use, may be longer.
func TestSizes(t *testing.T) {
	packages := packagesOf(t)
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		if isTestSupport(pkg) {
			continue
		}
		methods := make(map[string]int)
		for _, f := range packages[pkg] {
			if f.isTest() {
				continue
			}
			if f.lines > maxFileLines {
				complain(t, "%s has %d lines, at most %d are allowed", f.name, f.lines, maxFileLines)
			}
			for _, decl := range f.syntax.Decls {
				function, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := f.line(function.End()) - f.line(function.Pos()) + 1
				if lines > maxFunctionLines {
					complain(t, "%s: %s has %d lines, at most %d are allowed", f.name, function.Name.Name, lines, maxFunctionLines)
				}
				if function.Recv != nil {
					methods[receiver(function)]++
				}
			}
		}
		for name, count := range methods {
			if count > maxMethods {
				complain(t, "%s: %s has %d methods, at most %d are allowed", pkg, name, count, maxMethods)
			}
		}
	}
}

// root is the root of the module, seen from this package.
var root = filepath.Join("..", "..")

type file struct {
	name   string // relative to the root
	syntax *ast.File
	lines  int
	set    *token.FileSet
}

func (f *file) isTest() bool           { return strings.HasSuffix(f.name, "_test.go") }
func (f *file) line(pos token.Pos) int { return f.set.Position(pos).Line }

// packagesOf returns the Go files of this module by the path of their package,
// those with build constraints included.
func packagesOf(t *testing.T) map[string][]*file {
	t.Helper()
	set := token.NewFileSet()
	packages := make(map[string][]*file)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != root && outsideBuild(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		pkg := path.Dir(relative)
		packages[pkg] = append(packages[pkg], &file{relative, syntax, bytes.Count(source, []byte("\n")), set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages["validator"]) == 0 {
		t.Fatal("found no packages")
	}
	return packages
}

// outsideBuild reports whether the go command leaves a directory out of "./...".
func outsideBuild(dir string) bool {
	base := filepath.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// inModule returns the path of a package relative to this module.
func inModule(importPath string) (within string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func isTestSupport(pkg string) bool {
	return slices.ContainsFunc(testSupport, func(support string) bool {
		return pkg == support || strings.HasSuffix(support, "/") && strings.HasPrefix(pkg+"/", support)
	})
}

// receiver returns the name of the type that a method belongs to.
func receiver(method *ast.FuncDecl) string {
	expr := method.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return "?"
		}
	}
}

// ignoredNames returns a function that reports whether .gitignore names a file
// at the root. It knows only patterns without a "/" inside.
func ignoredNames(t *testing.T) func(name string) bool {
	t.Helper()
	f, err := os.Open(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var patterns []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := strings.Trim(lines.Text(), "/ "); line != "" && line[0] != '#' {
			patterns = append(patterns, line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			matched, err := path.Match(pattern, name)
			return matched && err == nil
		})
	}
}
