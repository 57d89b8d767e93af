// Package examples runs the examples: the commands in the first lines of each get the statuses
// that are written there.
package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const root = "../../examples"

// example is one that consists of a Caddyfile and commands.
type example struct {
	name string
	// start starts what the Caddyfile names, and returns pairs of an address there and that of
	// what was started.
	start func(t *testing.T) []string
}

var examples = []example{
	{"express", backend("Express")},
	{"json-server", backend("json-server")},
	{"php", backend("PHP")},
	{"nginx", nginx},
	{"webdav", backend("rclone")},
	{"sentinel", sentinel},
	{"redis-cluster", cluster},
	{"require", legacy},
	{"forward-auth", func(t *testing.T) []string { return append(legacy(t), "localhost:4000", caddytest.Address(t)) }},
	{"orders", script("orders/orders.js")},
	{"replica", script("replica/replica.js", "2000")},
	{"two-nodes", twoNodes},
}

// TestExamples: each does what its first lines say.
func TestExamples(t *testing.T) {
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			address, file := caddytest.Address(t), "Caddyfile"
			replace := strings.NewReplacer(append(e.start(t), "localhost:8080", address)...)
			if e.name == "two-nodes" {
				file = "balancer.Caddyfile"
			}
			_, site, ok := strings.Cut(read(t, e.name, file), "\n}\n") // the global options
			if !ok {
				t.Fatal("no global options")
			}
			caddytest.Start(t, replace.Replace(site))
			run(t, replace.Replace(read(t, e.name, "Caddyfile")))
		})
	}
}

// read returns a file of an example.
func read(t *testing.T, name, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	commandLine = regexp.MustCompile(`^#\t((?:tag\(\)|[a-z]+=|curl ).*)$`)
	expected    = regexp.MustCompile(` # (\d{3})\b.*$`)
)

// run runs the commands in the first lines of a Caddyfile in a shell, as users do. There, curl
// prints the status alone, unless it gets a tag.
func run(t *testing.T, text string) {
	t.Helper()
	caddytest.Needs(t, "curl")
	script := `curl() { case $1 in -si) command curl "$@";; *) command curl -s -o /dev/null -w '%{http_code}\n' "$@";; esac; }` + "\n"
	var commands, want []string
	for line := range strings.SplitSeq(text, "\n") {
		m := commandLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		script += m[1] + "\n"
		if status := expected.FindStringSubmatch(m[1]); status != nil {
			commands, want = append(commands, m[1]), append(want, status[1])
		} else if strings.HasPrefix(m[1], "curl ") {
			t.Errorf("no status is named for %s", m[1])
		}
	}
	if !slices.Contains(want, "412") {
		t.Fatalf("no command gets 412:\n%s", script)
	}
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	cmd.Stdin = strings.NewReader(script)
	said := new(bytes.Buffer)
	cmd.Stderr = said
	out, err := cmd.Output()
	got := strings.Fields(string(out))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v: got %q, want %q\n%s%s", err, got, want, script, said)
	}
	for i, command := range commands {
		if got[i] != want[i] {
			t.Errorf("%s\ngets %s", command, got[i])
		}
	}
}

// TestExamplesAreAdapted: the JSON of each Caddyfile is the one in testdata. With an environment
// variable, it is written there:
//
//	PRECONDITIONS_UPDATE=1 go test -run TestExamplesAreAdapted ./tests/examples
func TestExamplesAreAdapted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "*", "*Caddyfile"))
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d Caddyfiles, %v", len(files), err)
	}
	golden := make(map[string]bool)
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if prefix := strings.TrimSuffix(filepath.Base(file), "Caddyfile"); prefix != "" {
			name += "-" + strings.TrimSuffix(prefix, ".")
		}
		golden[name+".json"] = true
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(caddyfile.Format(text), text) {
			t.Errorf("%s isn't as caddy fmt makes it", file)
		}
		got := new(bytes.Buffer)
		if err := json.Indent(got, caddytest.Adapt(t, string(text)), "", "\t"); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		want := filepath.Join("testdata", name+".json")
		if os.Getenv("PRECONDITIONS_UPDATE") != "" {
			if err := os.WriteFile(want, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if adapted, err := os.ReadFile(want); err != nil || !bytes.Equal(adapted, got.Bytes()) {
			t.Errorf("%s isn't adapted to %s: %v\n%s", file, want, err, got)
		}
	}
	stored, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range stored {
		if !golden[entry.Name()] {
			t.Errorf("%s belongs to no Caddyfile", entry.Name())
		}
	}
}

// TestEveryExampleIsListed: the list names each folder that isn't a part of another one, and
// each begins with what to run.
func TestEveryExampleIsListed(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	list := read(t, "", "README.md")
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() || slices.Contains([]string{"legacydocs", "refusals", "registryclient"}, name) {
			continue
		}
		m := regexp.MustCompile(`\(` + name + `/([^)]+)\)`).FindStringSubmatch(list)
		if m == nil {
			t.Errorf("the list lacks %s", name)
			continue
		}
		first := read(t, name, m[1])
		first = first[:min(len(first), 1500)]
		if !regexp.MustCompile(`(?m)^(#|//)\t.*(go run|docker compose|go build)`).MatchString(first) {
			t.Errorf("%s/%s doesn't begin with what to run", name, m[1])
		}
	}
}

// backend starts one of the harness at the address that most examples use.
func backend(name string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		return []string{"localhost:3000", caddytest.BackendNamed(t, name).Run(t)}
	}
}

func legacy(t *testing.T) []string {
	return []string{"localhost:3000", caddytest.Serve(t, legacydocs.New(legacydocs.Options{}))}
}

// script runs a script of an example with Node.
func script(file string, args ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		caddytest.Needs(t, "node")
		path, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		b := caddytest.Backend{Name: file, Start: func(_ testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", append([]string{path, port}, args...)...) //nolint:gosec // ours
		}}
		return []string{"localhost:3000", b.Run(t)}
	}
}

// nginx runs nginx with the config of the example.
func nginx(t *testing.T) []string {
	b := *caddytest.BackendNamed(t, "nginx")
	b.Start = func(t testing.TB, address, dir string) *exec.Cmd {
		config := filepath.Join(dir, "nginx.conf")
		text, err := os.ReadFile(filepath.Join(root, "nginx/nginx.conf"))
		if err == nil {
			// Workers of root are another user, who can't write there.
			filled := strings.Replace("master_process off;\n"+string(text), "127.0.0.1:3000", address, 1)
			filled = strings.Replace(filled, "root documents", "root "+dir+"/documents", 1)
			err = os.WriteFile(config, []byte(filled), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command("/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", config)
	}
	return []string{"localhost:3000", b.Run(t)}
}

func sentinel(t *testing.T) []string {
	master := redistest.Start(t)
	redistest.StartReplica(t, master)
	return append(legacy(t), "localhost:26379", redistest.StartSentinel(t, "mymaster", master).Addr)
}

func cluster(t *testing.T) []string {
	all := legacy(t)
	for i, server := range redistest.StartCluster(t)[:3] {
		all = append(all, fmt.Sprintf("localhost:%d", 7001+i), server.Addr)
	}
	return all
}

// twoNodes starts the nodes of the example as processes of their own, with the directives of
// its Caddyfile.
func twoNodes(t *testing.T) []string {
	replace := strings.NewReplacer(append(legacy(t), "localhost:6379", redistest.Start(t).Addr)...)
	_, site, _ := strings.Cut(read(t, "two-nodes", "Caddyfile"), "\n}\n")
	_, directives, _ := strings.Cut(site, " {\n")
	nodes := caddytest.StartNodes(t, 2, replace.Replace(strings.TrimSuffix(directives, "}\n")))
	var all []string
	for i, node := range nodes {
		all = append(all, fmt.Sprintf("localhost:%d", 8081+i), strings.TrimPrefix(node.URL, "http://"))
	}
	return all
}

// TestForwardAuthTellsStrangersNothing: in that example, what a stranger sees doesn't depend on
// whether there is a document.
func TestForwardAuthTellsStrangersNothing(t *testing.T) {
	t.Parallel()
	address := caddytest.Address(t)
	replace := strings.NewReplacer(append(examples[slices.IndexFunc(examples, func(e example) bool { return e.name == "forward-auth" })].start(t), "localhost:8080", address)...)
	_, site, _ := strings.Cut(read(t, "forward-auth", "Caddyfile"), "\n}\n")
	caddytest.Start(t, replace.Replace(site))
	url := "http://" + address + "/docs/"
	caddytest.Send(t, "PUT", url+"there", "x", "Authorization", "Bearer ann").Expect(t, 201)
	for _, name := range []string{"there", "absent"} {
		a := caddytest.Send(t, "PUT", url+name, "y", "If-Match", `"x"`).Expect(t, http.StatusUnauthorized)
		if tag := a.Header.Get("ETag"); tag != "" || a.Content != "" {
			t.Errorf("%s: a stranger sees the tag %s and %q", name, tag, a.Content)
		}
	}
}
