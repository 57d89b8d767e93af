package docs_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	refused "github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

var testName = regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w*`)

// Every test that a document names exists in some package.
func TestEveryNamedTestExists(t *testing.T) {
	declared := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	for path, text := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range function.FindAllStringSubmatch(text, -1) {
				declared[m[1]] = true
			}
		}
	}
	named := make(map[string]int)
	for _, d := range documents(t) {
		for _, l := range d.lines {
			for _, name := range testName.FindAllString(l.text, -1) {
				named[d.path]++
				if !declared[name] {
					t.Errorf("%s:%d: %s doesn't exist", d.path, l.number, name)
				}
			}
		}
	}
	for _, path := range []string{"docs/guarantees.md", "docs/rfc-rules.md"} {
		if named[path] < 20 {
			t.Errorf("%s names only %d tests", path, named[path])
		}
	}
}

// Every row of a table of rules or faults names a test, unless it says that there
// is nothing to show.
func TestEveryRuleNamesItsTests(t *testing.T) {
	rows := 0
	for _, name := range []string{"docs/guarantees.md", "docs/rfc-rules.md"} {
		shown := false
		for _, l := range readDocument(t, name).lines {
			cells, ok := l.cells()
			switch {
			case !ok && !strings.HasPrefix(l.text, "|"):
				shown = false
			case !ok:
			case cells[len(cells)-1] == "tests" || cells[len(cells)-1] == "shown by":
				shown = true
			case shown:
				rows++
				if !testName.MatchString(cells[len(cells)-1]) && !strings.Contains(l.text, "can't happen") {
					t.Errorf("%s:%d names no test", name, l.number)
				}
			}
		}
	}
	if rows < 50 {
		t.Errorf("found only %d rows", rows)
	}
}

// sources returns the text of all Go files by path.
func sources(t testing.TB) map[string]string {
	t.Helper()
	files := make(map[string]string)
	walk(t, func(path string) {
		if strings.HasSuffix(path, ".go") {
			content, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Fatal(err)
			}
			files[path] = string(content)
		}
	})
	return files
}

// Every package is in the table of the layout. Those of tests/ have one row. What is in a
// testdata/ belongs to a module of its own.
func TestEveryPackageIsInTheLayout(t *testing.T) {
	layout := readDocument(t, "docs/architecture.md")
	var listed []string
	for _, l := range layout.section(t, "Layout") {
		if cells, ok := l.cells(); ok {
			for _, m := range regexp.MustCompile("^`([a-z/]+)/`").FindAllStringSubmatch(cells[0], -1) {
				listed = append(listed, m[1])
			}
		}
	}
	packages := make(map[string]bool)
	for file := range sources(t) {
		if !strings.Contains(file, "testdata/") {
			packages[path.Dir(file)] = true
		}
	}
	for dir := range packages {
		if dir != "." && !slices.Contains(listed, dir) && !strings.HasPrefix(dir, "tests/") {
			t.Errorf("%s/ isn't in docs/architecture.md", dir)
		}
	}
	if len(packages) < 5 {
		t.Errorf("found only %d packages", len(packages))
	}
}

// Every metric, and every outcome that one counts, is documented, and nothing else
// is.
func TestEveryMetricIsDocumented(t *testing.T) {
	admin := caddytest.LoadWithAdmin(t, "http://"+caddytest.LocalAddress(t)+" {\npreconditions\n}\n")
	text := caddytest.Send(t, "GET", admin+"/metrics", "").Expect(t, 200).Content
	operations := readDocument(t, "docs/operations.md")
	expectSame(t, "metrics", firstCells(operations.section(t, "Metrics")), found(`(?m)^# TYPE (caddy_preconditions_\w+) `, text))
	expectSame(t, "outcomes", firstCells(operations.section(t, "Outcomes")), found(`caddy_preconditions_requests_total\{[^}]*outcome="(\w+)"`, text))
}

// found returns what the group of a pattern stands for in a text, each once.
func found(pattern, text string) (all []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// Every placeholder that the code names is documented, and no other.
func TestEveryPlaceholderIsDocumented(t *testing.T) {
	var declared []string
	for path, text := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, name := range found(`http\.preconditions\.([a-z_]+)`, text) {
			if placeholder := "{http.preconditions." + name + "}"; name != "stores" && !slices.Contains(declared, placeholder) {
				declared = append(declared, placeholder)
			}
		}
	}
	expectSame(t, "placeholders", firstCells(readDocument(t, "docs/operations.md").section(t, "Placeholders")), declared)
}

// Every value that a template of refusals can show is documented, and no other. The template
// that is shown is the one in the examples.
func TestEveryTemplateValueIsDocumented(t *testing.T) {
	var declared []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[refused.Refused]()) {
		declared = append(declared, "."+field.Name)
	}
	section := readDocument(t, "docs/operations.md").section(t, "Refusals that your clients already read")
	expectSame(t, "values", firstCells(section), declared)
	example, err := os.ReadFile(filepath.Join(root, "examples/refusals/details.json"))
	if err != nil {
		t.Fatal(err)
	}
	if b := caddytest.Shown(t, "docs/operations.md", "{{.CurrentETag}}"); b.Text != string(example) {
		t.Errorf("%s:%d isn't examples/refusals/details.json", b.Page, b.Line)
	}
}

// refusals returns the problem details of one refusal of each status.
func refusals(t testing.TB) map[int]map[string]any {
	t.Helper()
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/absent" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Last-Modified", "Mon, 03 Nov 2025 12:00:00 GMT")
		_, _ = io.WriteString(w, "content")
	}))
	site, away := caddytest.LocalAddress(t), caddytest.LocalAddress(t)
	caddytest.LoadWithAdmin(t, "http://"+site+" {\npreconditions {\nrequire\n}\nreverse_proxy "+backend+"\n}\n"+
		"http://"+away+" {\npreconditions {\nstore redis redis://"+caddytest.LocalAddress(t)+"\n}\nreverse_proxy "+backend+"\n}\n")
	problems := make(map[int]map[string]any)
	for _, r := range []struct {
		status            int
		method, url       string
		condition, fields string
	}{
		{412, "PUT", "http://" + site + "/", "If-Match", `"outdated"`},
		{428, "PUT", "http://" + site + "/", "Accept", "*/*"},
		{404, "DELETE", "http://" + site + "/absent", "If-Match", "*"},
		{431, "PUT", "http://" + site + "/", "If-Match", strings.Repeat(`"x", `, 300) + `"x"`},
		{503, "PUT", "http://" + away + "/", "If-Match", `"x"`},
	} {
		a := caddytest.Send(t, r.method, r.url, "", r.condition, r.fields).Expect(t, r.status)
		problem := make(map[string]any)
		if err := json.Unmarshal([]byte(a.Content), &problem); err != nil {
			t.Fatalf("%d: %v: %s", r.status, err, a.Content)
		}
		problems[r.status] = problem
	}
	return problems
}

// The type of every refusal leads to a heading of the README. This is a part of
// the contract with clients.
func TestEveryRefusalLeadsToTheReadme(t *testing.T) {
	anchors := readDocument(t, "README.md").anchors()
	for status, problem := range refusals(t) {
		uri, _ := problem["type"].(string)
		anchor, ok := strings.CutPrefix(uri, "https://github.com/caddy-preconditions/preconditions#")
		if !ok || !anchors[anchor] {
			t.Errorf("%d: %q leads nowhere", status, uri)
		}
	}
}

// Every member of a refusal is documented for clients, and no other.
func TestEveryProblemMemberIsDocumented(t *testing.T) {
	var declared []string
	for _, problem := range refusals(t) {
		for name := range problem {
			if !slices.Contains(declared, name) {
				declared = append(declared, name)
			}
		}
	}
	expectSame(t, "members", firstCells(readDocument(t, "docs/clients.md").section(t, "Refusals")), declared)
}
