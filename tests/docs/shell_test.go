package docs_test

import (
	"encoding/json"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/semver"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Shell blocks are free of typing errors that a shell can see.
func TestEveryShellBlockParses(t *testing.T) {
	caddytest.Needs(t, "bash")
	for _, b := range blocksIn(t, "sh") {
		cmd := exec.CommandContext(t.Context(), "bash", "-n")
		cmd.Stdin = strings.NewReader(b.text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.document, b.line, err, out)
		}
	}
}

// Scripts are free of typing errors that their interpreter sees before it runs them.
func TestEveryScriptParses(t *testing.T) {
	caddytest.Needs(t, "node")
	for _, b := range blocksIn(t, "js") {
		file := filepath.Join(t.TempDir(), "script.mjs")
		if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "node", "--check", file).CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.document, b.line, err, out)
		}
	}
}

// What a command of the go tool names in a document exists.
func TestEveryGoCommandNamesWhatExists(t *testing.T) {
	named := regexp.MustCompile(`(?m)^(?:\w+=\S+ )*go (run|build|test)\b[^#\n]*?( \./\S+)`)
	commands := make(map[string]int)
	for _, b := range blocksIn(t, "sh") {
		for _, m := range named.FindAllStringSubmatch(b.text, -1) {
			commands[m[1]]++
			dir := strings.TrimSpace(m[2])
			if strings.HasSuffix(dir, "/...") {
				dir = strings.TrimSuffix(dir, "...")
			} else if m[1] != "test" && !isCommand(t, dir) {
				t.Errorf("%s:%d: %s is no command", b.document, b.line, dir)
			}
			if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
				t.Errorf("%s:%d: %v", b.document, b.line, err)
			}
		}
	}
	if commands["run"] == 0 || commands["test"] == 0 {
		t.Errorf("found %v", commands)
	}
	for _, command := range []string{"go run ./examples/quickstart ", "go test -race ./... "} {
		if !strings.Contains(readDocument(t, "README.md").text(), "\n"+command) {
			t.Errorf("the README doesn't show %s", command)
		}
	}
}

// isCommand reports whether the package in a directory is a main package.
func isCommand(t testing.TB, dir string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, "main.go"), nil, parser.PackageClauseOnly)
	return err == nil && file.Name.Name == "main"
}

// Go code in documents is formatted. Code of servers imports this module by its path.
func TestEveryGoBlockIsFormatted(t *testing.T) {
	for _, b := range blocksIn(t, "go") {
		if formatted, err := format.Source([]byte(b.text)); err != nil || string(formatted) != b.text {
			t.Errorf("%s:%d: not as gofmt has it, %v", b.document, b.line, err)
		}
		if !strings.HasPrefix(b.document, "docs/clients/") && !strings.Contains(b.text, `_ "github.com/caddy-preconditions/preconditions"`) {
			t.Errorf("%s:%d: this module isn't imported", b.document, b.line)
		}
	}
}

// xcaddy.md names the Caddy that go.mod requires as the oldest, and builds with that
// one or a newer one.
func TestTheCaddyVersionIsThatOfGoMod(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`github\.com/caddyserver/caddy/v2 v(\S+)`).FindSubmatch(mod)
	if required == nil {
		t.Fatal("go.mod doesn't require Caddy")
	}
	named := regexp.MustCompile(`(?:build v|caddy/v2@v|\nv|FROM caddy:)(\d+\.\d+\.\d+)`).FindAllStringSubmatch(readDocument(t, "xcaddy.md").text(), -1)
	if len(named) < 4 {
		t.Errorf("found only %d versions", len(named))
	}
	for _, m := range named {
		if semver.Compare("v"+m[1], "v"+string(required[1])) < 0 {
			t.Errorf("xcaddy.md names %s, go.mod requires %s", m[1], required[1])
		}
	}
	if oldest := "\nv" + string(required[1]) + " is the oldest Caddy"; !strings.Contains(readDocument(t, "xcaddy.md").text(), oldest) {
		t.Errorf("xcaddy.md doesn't say %q", oldest)
	}
}

// A Caddy with this module has the modules that are listed.
func TestTheModulesAreAsListed(t *testing.T) {
	var ours []string
	for _, module := range caddy.Modules() {
		if strings.Contains(module, "preconditions") && module != "http.preconditions.stores.test" { // the harness's own
			ours = append(ours, module)
		}
	}
	want := strings.Join(ours, "\n") + "\n"
	if !slices.ContainsFunc(readDocument(t, "xcaddy.md").blocks(), func(b block) bool { return b.text == want }) {
		t.Errorf("xcaddy.md doesn't list these:\n%s", want)
	}
}

// A checkout builds as xcaddy.md says, and what is built does what is said of it.
func TestTheCheckoutBuildsAsShown(t *testing.T) {
	caddytest.Needs(t, "bash")
	dir, err := filepath.Abs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, err := os.ReadFile(filepath.Join(root, "examples/quickstart/Caddyfile"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "Caddyfile"), caddyfile, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.NewReplacer("-o caddy", "-o "+dir+"/caddy", "./caddy ", dir+"/caddy ", "--config Caddyfile", "--config "+dir+"/Caddyfile")
	built, run := false, 0
	blocks := readDocument(t, "xcaddy.md").blocks()
	for i, b := range blocks {
		builds := strings.HasPrefix(b.text, "go build -o caddy ./")
		if b.language != "sh" || !builds && (!built || !strings.HasPrefix(b.text, "./caddy ")) {
			continue
		}
		built = built || builds
		run++
		cmd := exec.CommandContext(t.Context(), "bash", "-e")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		cmd.Stdin = strings.NewReader(elsewhere.Replace(b.text))
		var complaints strings.Builder
		cmd.Stderr = &complaints
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s:%d: %v\n%s", b.document, b.line, err, complaints.String())
		}
		if next := i + 1; next < len(blocks) && blocks[next].language == "text" && string(output) != blocks[next].text {
			t.Errorf("%s:%d: got\n%swant\n%s", b.document, b.line, output, blocks[next].text)
		}
	}
	if run < 3 {
		t.Errorf("ran only %d blocks", run)
	}
}

// purgeable is a Caddy whose store knows the resource that the documents use as an
// example. It returns the address of its admin API.
func purgeable(t testing.TB) (admin string) {
	t.Helper()
	backend := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "content")
	}))
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	admin = load(t, "http://:"+port+" {\nbind 127.0.0.1\npreconditions\nreverse_proxy "+backend+"\n}\n")
	send(t, "GET", "http://"+address+"/docs/plan", "", "Host", "docs.example.com").expect(t, 200)
	return admin
}

// runShell runs a block of a document, in which caddy and curl ask an admin API.
func runShell(t testing.TB, b block, admin string) (output []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const functions = `set -e
caddy() { ` + runCaddy + `=1 "$SELF" "$@" --address "$ADMIN"; }
curl() { command curl -fsS "$@"; }
`
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Env = append(os.Environ(), "SELF="+self, "ADMIN="+admin, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	cmd.Stdin = strings.NewReader(functions + strings.ReplaceAll(b.text, "localhost:2019", admin))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if output, err = cmd.Output(); err != nil {
		t.Errorf("%s:%d: %v\n%s", b.document, b.line, err, complaints.String())
	}
	return output
}

// The commands by which writers report their changes do what they should.
func TestThePurgeCommandsSucceed(t *testing.T) {
	caddytest.Needs(t, "bash")
	admin := purgeable(t)
	run := 0
	for _, b := range blocksIn(t, "sh") {
		if strings.HasPrefix(b.text, "caddy preconditions ") {
			run++
			runShell(t, b, admin)
		}
	}
	if run == 0 {
		t.Error("there are none")
	}
}

// The admin API takes what the documents send, and its answers have the members
// that they show.
func TestTheAdminAPIAnswersAsShown(t *testing.T) {
	caddytest.Needs(t, "bash")
	caddytest.Needs(t, "curl")
	blocks := readDocument(t, "docs/operations.md").blocks()
	run := 0
	for i, b := range blocks {
		if b.language != "sh" || !strings.Contains(b.text, "curl ") || i+1 == len(blocks) || blocks[i+1].language != "json" {
			continue
		}
		run++
		// Each asks a Caddy of its own, as a purge would leave nothing to be shown.
		t.Run(regexp.MustCompile(`preconditions/\w+`).FindString(b.text), func(t *testing.T) {
			got := members(t, runShell(t, b, purgeable(t)))
			for name := range members(t, []byte(blocks[i+1].text)) {
				if !got[name] {
					t.Errorf("%s:%d shows %s, which isn't among %v", b.document, blocks[i+1].line, name, slices.Sorted(maps.Keys(got)))
				}
			}
		})
	}
	if run < 2 {
		t.Errorf("found only %d requests", run)
	}
}

// members returns the names of all members of all objects in a JSON text.
func members(t testing.TB, text []byte) map[string]bool {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	names := make(map[string]bool)
	var collect func(value any)
	collect = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, member := range v {
				names[name] = true
				collect(member)
			}
		case []any:
			for _, element := range v {
				collect(element)
			}
		}
	}
	collect(value)
	return names
}
