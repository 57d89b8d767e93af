package docs_test

import (
	"cmp"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
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
		cmd.Stdin = strings.NewReader(b.Text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.Page, b.Line, err, out)
		}
	}
}

// Scripts are free of typing errors that their interpreter sees before it runs them.
func TestEveryScriptParses(t *testing.T) {
	caddytest.Needs(t, "node")
	for _, b := range blocksIn(t, "js") {
		file := filepath.Join(t.TempDir(), "script.mjs")
		if err := os.WriteFile(file, []byte(b.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "node", "--check", file).CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.Page, b.Line, err, out)
		}
	}
}

// What a command of the go tool names in a document exists.
func TestEveryGoCommandNamesWhatExists(t *testing.T) {
	named := regexp.MustCompile(`(?m)^(?:\w+=\S+ )*go (run|build|test)\b[^#\n]*?( \./\S+)`)
	commands := make(map[string]int)
	for _, b := range blocksIn(t, "sh") {
		for _, m := range named.FindAllStringSubmatch(b.Text, -1) {
			commands[m[1]]++
			dir := strings.TrimSpace(m[2])
			if strings.HasSuffix(dir, "/...") {
				dir = strings.TrimSuffix(dir, "...")
			} else if m[1] != "test" && !isCommand(t, dir) {
				t.Errorf("%s:%d: %s is no command", b.Page, b.Line, dir)
			}
			if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
				t.Errorf("%s:%d: %v", b.Page, b.Line, err)
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

// The quick start clones this module, and runs what TestEveryGoCommandNamesWhatExists looks at.
func TestTheQuickStartClonesThisModule(t *testing.T) {
	module, _, _ := strings.Cut(goMod(t), "\n")
	address := strings.TrimPrefix(module, "module ")
	clone, rest, _ := strings.Cut(caddytest.Shown(t, "README.md", "git clone https://").Text, "\n")
	if want := "git clone https://" + address + " && cd " + path.Base(address); clone != want || !isGo(rest) {
		t.Errorf("%s\n%s\nwant %s", clone, rest, want)
	}
}

// A command that runs some tests only runs at least one, in the packages that it names. The
// variables that it sets are known to tests.
func TestEveryGoTestCommandRunsTests(t *testing.T) {
	var (
		all      = sources(t)
		text     = allOf(all)
		declared = make(map[string][]string) // the tests in each file
		function = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
		command  = regexp.MustCompile(`^((?:\w+=(?:"[^"]*"|\S+) )*)go test (.*)$`)
		chosen   = regexp.MustCompile(`-(?:run|bench|fuzz) (?:'([^']*)'|(\S+))`)
		packages = regexp.MustCompile(` \./(\S*)`)
		patterns = 0
	)
	for file, text := range all {
		for _, m := range function.FindAllStringSubmatch(text, -1) {
			declared[file] = append(declared[file], m[1])
		}
	}
	for _, b := range blocksIn(t, "sh") {
		for line := range strings.Lines(b.Text) {
			m := command.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			for _, variable := range regexp.MustCompile(`PRECONDITIONS_\w+`).FindAllString(m[1], -1) {
				if !strings.Contains(text, `"`+variable+`"`) {
					t.Errorf("%s:%d: no test looks at %s", b.Page, b.Line, variable)
				}
			}
			for _, choice := range chosen.FindAllStringSubmatch(m[2], -1) {
				pattern, _, _ := strings.Cut(cmp.Or(choice[1], choice[2]), "/")
				if pattern == "^$" || pattern == "xxx" { // for no tests beside the benchmarks
					continue
				}
				patterns++
				matches, ran := regexp.MustCompile(pattern).MatchString, false
				for _, in := range packages.FindAllStringSubmatch(m[2], -1) {
					dir, below := strings.CutSuffix(in[1], "...")
					for file, tests := range declared {
						ran = ran || (below && strings.HasPrefix(file, dir) || path.Dir(file) == dir) && slices.ContainsFunc(tests, matches)
					}
				}
				if !ran {
					t.Errorf("%s:%d: %q chooses no test in\n%s", b.Page, b.Line, pattern, line)
				}
			}
		}
	}
	if patterns < 10 {
		t.Errorf("found only %d patterns", patterns)
	}
}

// isCommand reports whether the package in a directory is a main package.
func isCommand(t testing.TB, dir string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, "main.go"), nil, parser.PackageClauseOnly)
	return err == nil && file.Name.Name == "main"
}

// Go code in documents is formatted.
func TestEveryGoBlockIsFormatted(t *testing.T) {
	for _, b := range blocksIn(t, "go") {
		if formatted, err := format.Source([]byte(b.Text)); err != nil || string(formatted) != b.Text {
			t.Errorf("%s:%d: not as gofmt has it, %v", b.Page, b.Line, err)
		}
	}
}

// The program of a Caddy with this module compiles. The tags that make it smaller leave out what
// xcaddy.md says.
func TestTheProgramCompiles(t *testing.T) {
	b := caddytest.Shown(t, "xcaddy.md", "caddycmd.Main()")
	file, err := filepath.Abs(filepath.Join(t.TempDir(), "main.go"))
	if err == nil {
		err = os.WriteFile(file, []byte(b.Text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s:%d: go %s: %v\n%s", b.Page, b.Line, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("vet", file)
	whole := run("list", "-deps", file)
	if !strings.Contains(whole, "\ngithub.com/caddy-preconditions/preconditions\n") {
		t.Errorf("%s:%d: this module isn't in it", b.Page, b.Line)
	}
	tags := regexp.MustCompile(`^go build -tags (\S+) -ldflags '-s -w'\n$`).FindStringSubmatch(caddytest.Shown(t, "xcaddy.md", "-ldflags").Text)
	if tags == nil {
		t.Fatal("xcaddy.md names no tags")
	}
	smaller := run("list", "-deps", "-tags", tags[1], file)
	for _, database := range []string{"dgraph-io/badger", "go-sql-driver/mysql", "jackc/pgx"} {
		if !strings.Contains(whole, database) || strings.Contains(smaller, database) {
			t.Errorf("the tags don't leave out %s", database)
		}
	}
}

// The Dockerfile has only instructions that there are. It builds with the module and with the
// argument that the command gives, and copies from a stage that it has.
func TestTheDockerfileFits(t *testing.T) {
	b := caddytest.Shown(t, "xcaddy.md", "FROM caddy:")
	instruction := regexp.MustCompile(`^(?:#.*|FROM caddy:[0-9.]+(?:-builder AS (\w+))?|ENV \w+=\w+|ARG (\w+)=\w+|RUN xcaddy build --with (\S+)@\$\{(\w+)\}|COPY --from=(\w+) /usr/bin/caddy /usr/bin/caddy|)$`)
	var found [6]string
	for line := range strings.SplitSeq(strings.TrimSuffix(b.Text, "\n"), "\n") {
		m := instruction.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s:%d: %s", b.Page, b.Line, line)
		}
		for i := range m {
			found[i] = cmp.Or(m[i], found[i])
		}
	}
	stage, arg, module, version, from := found[1], found[2], found[3], found[4], found[5]
	if stage == "" || from != stage || arg == "" || version != arg || !strings.Contains(goMod(t), "module "+module+"\n") {
		t.Errorf("%s:%d: got %q", b.Page, b.Line, found[1:])
	}
	if command := caddytest.Shown(t, "xcaddy.md", "docker build"); !strings.Contains(command.Text, "--build-arg "+arg+"=") {
		t.Errorf("%s:%d doesn't give %s", command.Page, command.Line, arg)
	}
}

// goMod returns go.mod.
func goMod(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// xcaddy.md names the Caddy that go.mod requires as the oldest, and builds with that
// one or a newer one.
func TestTheCaddyVersionIsThatOfGoMod(t *testing.T) {
	required := regexp.MustCompile(`github\.com/caddyserver/caddy/v2 v(\S+)`).FindStringSubmatch(goMod(t))
	if required == nil {
		t.Fatal("go.mod doesn't require Caddy")
	}
	named := regexp.MustCompile(`(?:build v|caddy/v2@v|\nv|FROM caddy:)(\d+\.\d+\.\d+)`).FindAllStringSubmatch(readDocument(t, "xcaddy.md").text(), -1)
	if len(named) < 4 {
		t.Errorf("found only %d versions", len(named))
	}
	for _, m := range named {
		if semver.Compare("v"+m[1], "v"+required[1]) < 0 {
			t.Errorf("xcaddy.md names %s, go.mod requires %s", m[1], required[1])
		}
	}
	if oldest := "\nv" + required[1] + " is the oldest Caddy"; !strings.Contains(readDocument(t, "xcaddy.md").text(), oldest) {
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
	if b := caddytest.Shown(t, "xcaddy.md", "http.handlers.preconditions\n"); b.Text != strings.Join(ours, "\n")+"\n" {
		t.Errorf("%s:%d lists\n%sbut they are\n%s", b.Page, b.Line, b.Text, strings.Join(ours, "\n"))
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
	for _, b := range []block{
		caddytest.Shown(t, "xcaddy.md", "go build -o caddy ./examples/quickstart"),
		caddytest.Shown(t, "xcaddy.md", "./caddy list-modules"),
		caddytest.Shown(t, "xcaddy.md", "./caddy validate"),
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		cmd.Stdin = strings.NewReader(elsewhere.Replace(b.Text))
		var complaints strings.Builder
		cmd.Stderr = &complaints
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s:%d: %v\n%s", b.Page, b.Line, err, complaints.String())
		}
		if listed := caddytest.Shown(t, "xcaddy.md", "http.handlers.preconditions\n"); strings.Contains(b.Text, "list-modules") && string(output) != listed.Text {
			t.Errorf("%s:%d: got\n%swant\n%s", b.Page, b.Line, output, listed.Text)
		}
	}
}
