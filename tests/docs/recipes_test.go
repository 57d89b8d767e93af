package docs_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// recipe is a program in a document, which appends a line to a text: its arguments are where
// the text is, and the line.
type recipe struct {
	name, document string
	has            string // the first block that has this text is the program
	file           string
	needs, build   []string
	run            []string
	more           string // follows the block in the file
}

const (
	python      = "/usr/bin/python3" // has the packages of the system
	nodeModules = "internal/caddytest/testdata/backends/node_modules"
)

var recipes = []recipe{
	{"fetch", "docs/clients/javascript.md", "{ rounds: 10 }", "recipe.mjs", []string{"node"}, nil, []string{"node", "recipe.mjs"}, ""},
	{"axios", "docs/clients/javascript.md", "import axios", "recipe.mjs", []string{"node"}, nil, []string{"node", "recipe.mjs"}, ""},
	{"requests", "docs/clients/python.md", "import requests", "recipe.py", []string{python}, nil, []string{python, "recipe.py"}, ""},
	{"httpx", "docs/clients/python.md", "import httpx", "recipe.py", []string{python}, nil, []string{python, "recipe.py"}, ""},
	{"Go", "docs/clients/go.md", "package main", "recipe.go", nil, []string{"go", "build", "-o", "recipe", "recipe.go"}, []string{"./recipe"}, ""},
	{"Java", "docs/clients/java.md", "class Append", "Append.java", []string{"javac"}, []string{"javac", "Append.java"}, []string{"java", "-XX:TieredStopAtLevel=1", "Append"}, ""},
	{".NET", "docs/clients/dotnet.md", "class Append", "Append.cs", []string{"mcs", "mono"}, []string{"mcs", "-r:System.Net.Http", "Append.cs"}, []string{"mono", "Append.exe"}, ""},
	{"curl", "docs/clients/shell.md", "curl ", "recipe", []string{"bash", "curl"}, nil, []string{"bash", "recipe"}, ""},
}

// processes is how many of the program run at once. The AWS CLI takes seconds to start.
func (r recipe) processes() int {
	if r.name == "AWS CLI" {
		return 2
	}
	return 4
}

// prepare writes the program and what it imports to a directory, and returns what runs it.
func (r recipe) prepare(t *testing.T) func(args ...string) ([]byte, error) {
	t.Helper()
	caddytest.Needs(t, r.needs...)
	dir := t.TempDir()
	blocks := caddytest.Blocks(t, r.document)
	i := slices.IndexFunc(blocks, func(b block) bool { return strings.Contains(b.Text, r.has) })
	if i < 0 {
		t.Fatalf("%s has no block with %q", r.document, r.has)
	}
	conditional, err := os.ReadFile(filepath.Join(root, "examples/quickstart/page/conditional.js"))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs(filepath.Join(root, nodeModules))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		r.file: blocks[i].Text + r.more, "conditional.js": string(conditional), "package.json": `{"type": "module"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // the document's
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true")
		return cmd.CombinedOutput()
	}
	if r.build != nil {
		if out, err := run(r.build...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return func(args ...string) ([]byte, error) { return run(slices.Concat(r.run, args)...) }
}

// contend runs the program n times at once, each with a line of its own, and fails the test
// unless read then returns each of the lines, once.
func contend(t *testing.T, n int, run func(args ...string) ([]byte, error), read func() string, where ...string) {
	t.Helper()
	var running sync.WaitGroup
	want := []string{"a", "b", "c", "d"}[:n]
	for _, line := range want {
		running.Go(func() {
			if out, err := run(append(slices.Clone(where), line)...); err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
			}
		})
	}
	running.Wait()
	text := read()
	lines := strings.Fields(text)
	slices.Sort(lines)
	if !slices.Equal(lines, want) {
		t.Errorf("the text is %q", text)
	}
}

// TestRecipes: of programs that change one text at the same time, no change is lost, even if
// the text doesn't exist at first, or the answer to a save is. Each stops when it is refused
// for another reason, and tells the status.
func TestRecipes(t *testing.T) {
	service := caddytest.Serve(t, legacydocs.New(legacydocs.Options{}))
	site := caddytest.LocalAddress(t)
	caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\npreconditions {\nrequire\nlag 0s\n}\nreverse_proxy %s\n}\n", site, service))
	t.Run("all", func(t *testing.T) { // returns after its parallel subtests, before Caddy stops
		for _, r := range recipes {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				run := r.prepare(t)
				doc := "http://" + site + "/docs/" + r.name
				read := func() string { return caddytest.Send(t, "GET", doc, "").Expect(t, 200).Content }
				contend(t, r.processes(), run, read, doc)
				t.Run("lost answer", func(t *testing.T) {
					if out, err := run(losesAnAnswer(t, site)+"/docs/"+r.name, "e"); err != nil || strings.Count(read(), "e\n") != 1 {
						t.Errorf("%v: %s: the text is %q", err, out, read())
					}
				})
				for status, attempts := range map[int]int32{428: 1, 409: 1, 400: 1, 503: 4} {
					t.Run(fmt.Sprint(status), func(t *testing.T) {
						t.Parallel()
						url, puts := refuses(t, status)
						out, err := run(url, "x")
						if err == nil || !strings.Contains(string(out), fmt.Sprint(status)) && !strings.Contains(string(out), "detail of it") {
							t.Errorf("%v: %s", err, out)
						}
						if n := puts.Load(); n != attempts {
							t.Errorf("it was sent %d times, want %d", n, attempts)
						}
					})
				}
			})
		}
	})
}

// losesAnAnswer returns the URL of something in front of a site that closes the connection in
// place of answering the first PUT.
func losesAnAnswer(t *testing.T, site string) string {
	t.Helper()
	var lost atomic.Bool
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: site})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = site
		if r.Method != "PUT" || lost.Swap(true) {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// refuses returns the URL of a text that nobody may save, and counts the attempts.
func refuses(t *testing.T, status int) (url string, puts *atomic.Int32) {
	t.Helper()
	puts = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.Header().Set("ETag", `"1"`)
			_, _ = io.WriteString(w, "text\n")
			return
		}
		puts.Add(1)
		w.Header().Set("Retry-After", "0")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"detail": "detail of it"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL, puts
}

// TestRecipesForPeople: the functions for editors save what people choose, and create.
func TestRecipesForPeople(t *testing.T) {
	service := caddytest.Serve(t, legacydocs.New(legacydocs.Options{}))
	site := caddytest.LocalAddress(t)
	caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\npreconditions {\nrequire\nlag 0s\n}\nreverse_proxy %s\n}\n", site, service))
	doc := "http://" + site + "/docs/a"
	for _, step := range []struct{ document, has, then, want string }{
		{"docs/clients/javascript.md", "const create", `console.log((await create(url, "one")).text); await create(url, "two").catch((e) => console.log(e.name, e.theirs.text));`, "one\nError one\n"},
		{"docs/clients/javascript.md", "async function edit", `
			import { update } from "./conditional.js";
			const asked = [];
			await edit(url, async (theirs, mine) => {
				asked.push([theirs, mine ?? "-"].join(" "));
				if (asked.length === 1) await update(url, () => "hers");
				return mine ? theirs + mine : "mine";
			});
			console.log(asked.join(", "));`, "one -, hers mine\n"},
	} {
		r := recipe{
			document: step.document, has: step.has, file: "recipe.mjs", needs: []string{"node"},
			run: []string{"node", "recipe.mjs"}, more: "const url = process.argv[2];\n" + step.then,
		}
		out, err := r.prepare(t)(doc)
		if err != nil || string(out) != step.want {
			t.Errorf("%s: %v: got %q, want %q", step.has, err, out, step.want)
		}
	}
	if got := caddytest.Send(t, "GET", doc, "").Content; got != "hersmine" {
		t.Errorf("the text is %q", got)
	}
}

// TestRecipesForS3 is TestRecipes with programs whose arguments are the endpoint, the bucket
// and the key, in front of a store that drops conditions.
func TestRecipesForS3(t *testing.T) {
	store := caddytest.ObjectStore(t)
	site := caddytest.LocalAddress(t)
	caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\npreconditions {\nprofile s3\nlag 0s\n}\nreverse_proxy %s\n}\n", site, store))
	for _, r := range []recipe{
		{"boto3", "docs/clients/s3.md", "import boto3", "recipe.py", []string{python}, nil, []string{python, "recipe.py"}, ""},
		{"signed URLs", "docs/clients/s3.md", "generate_presigned_url", "recipe.py", []string{python}, nil, []string{python, "recipe.py"}, ""},
		{"AWS CLI", "docs/clients/s3.md", "aws --endpoint-url", "recipe", []string{"bash", "aws"}, nil, []string{"bash", "recipe"}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			run := r.prepare(t)
			key := strings.ReplaceAll(r.name, " ", "-")
			if r.name == "AWS CLI" && !knowsConditions(t) {
				// Debian's is older. The script then stops before it changes anything.
				if out, err := run("http://"+site, "b", key, "a"); err == nil || !bytes.Contains(out, []byte("--if-none-match")) {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			read := func() string { return caddytest.Send(t, "GET", "http://"+site+"/b/"+key, "").Expect(t, 200).Content }
			contend(t, r.processes(), run, read, "http://"+site, "b", key)
		})
	}
	t.Run("head-object", func(t *testing.T) { // of what boto3 has made
		run := recipe{
			document: "docs/clients/s3.md", has: "s3api head-object", file: "recipe", needs: []string{"bash", "aws"}, run: []string{"bash", "-c"},
		}.prepare(t)
		command := `sed "s|http://localhost:8080|http://` + site + `|; s/--bucket bucket --key key/--region us-east-1 --bucket b --key boto3/" recipe | bash`
		out, err := run(command)
		if want := caddytest.Send(t, "GET", "http://"+site+"/b/boto3", "").Expect(t, 200).Header.Get("ETag"); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%v: got %s, want %s", err, out, want)
		}
	})
}

// knowsConditions reports whether the AWS CLI has conditions for put-object.
func knowsConditions(t *testing.T) bool {
	t.Helper()
	out, _ := exec.CommandContext(t.Context(), "aws", "s3api", "put-object", "--if-match", "x", "--no-such-option").CombinedOutput()
	return !bytes.Contains(out, []byte("--if-match"))
}
