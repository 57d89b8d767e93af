package preconditions_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// TestReadme: every test that the README names exists, and every option of the
// Caddyfile is in it.
func TestReadme(t *testing.T) {
	readme := readFiles(t, "README.md")
	tests := readFiles(t, "*_test.go", "etagcache/*_test.go")
	named := regexp.MustCompile("`(Test[A-Za-z]+)").FindAllStringSubmatch(readme, -1)
	if len(named) == 0 {
		t.Error("the README names no test")
	}
	for _, name := range named {
		if !strings.Contains(tests, "\nfunc "+name[1]+"(t *testing.T)") {
			t.Errorf("the README names %s, which doesn't exist", name[1])
		}
	}
	_, options, _ := strings.Cut(readFiles(t, "caddyfile.go"), "func (h *Handler) unmarshalOption(")
	options, _, _ = strings.Cut(options, "\n}\n")
	words := regexp.MustCompile(`case "([a-z_]+)":`).FindAllStringSubmatch(options, -1)
	if len(words) < 15 {
		t.Errorf("found only %d options", len(words))
	}
	for _, word := range words {
		if !strings.Contains(readme, "\n| `"+word[1]+"` |") || !regexp.MustCompile(`(?m)^\t`+word[1]+`\b`).MatchString(readme) {
			t.Errorf("the README doesn't tell of the option %s", word[1])
		}
	}
}

// readmeBlocks returns the blocks of a language in some files.
func readmeBlocks(t testing.TB, language string, files ...string) (blocks []string) {
	t.Helper()
	for i, text := range strings.Split("\n"+readFiles(t, files...), "\n```") {
		if name, block, _ := strings.Cut(text, "\n"); i%2 == 1 && name == language { // the others are between blocks
			blocks = append(blocks, block+"\n")
		}
	}
	return blocks
}

// TestReadmeLinks: what the documents link to within this repository is there.
func TestReadmeLinks(t *testing.T) {
	for _, file := range []string{"README.md", "xcaddy.md"} {
		text := readFiles(t, file)
		anchors := make(map[string]bool)
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
			plain := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading[1]), "")
			anchors["#"+strings.ReplaceAll(plain, " ", "-")] = true
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
			_, missing := os.Stat(link[1])
			if !strings.HasPrefix(link[1], "https://") && missing != nil && !anchors[link[1]] {
				t.Errorf("%s links to %s, which doesn't exist", file, link[1])
			}
		}
	}
}

// TestReadmeCaddyfiles: each Caddyfile, and each part of one, is accepted; but for
// those that show the syntax.
func TestReadmeCaddyfiles(t *testing.T) {
	valid, syntax := 0, 0
	for _, block := range readmeBlocks(t, "caddyfile", "README.md", "xcaddy.md") {
		if strings.Contains(block, "<") {
			syntax++
			continue
		}
		site := block
		switch first, _, _ := strings.Cut(block, " "); first {
		case "store", "affects", "guards":
			site = "example.com {\npreconditions {\n" + block + "}\n}\n"
		case "preconditions", "handle", "reverse_proxy":
			site = "example.com {\n" + block + "}\n"
		}
		var config caddy.Config
		if err := json.Unmarshal(adapt(t, globalOptions+site), &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("%v:\n%s", err, block)
		}
		valid++
	}
	if valid < 5 || syntax != 2 {
		t.Errorf("%d blocks are Caddyfiles, %d show the syntax", valid, syntax)
	}
}

// TestReadmeModules: a Caddy with this module has the modules that are listed.
func TestReadmeModules(t *testing.T) {
	listed := readmeBlocks(t, "", "xcaddy.md")
	var ours []string
	for _, module := range caddy.Modules() {
		if strings.Contains(module, "preconditions") && module != "http.preconditions.stores.test" {
			ours = append(ours, module)
		}
	}
	if want := strings.Join(ours, "\n") + "\n"; !slices.Contains(listed, want) {
		t.Errorf("xcaddy.md lists %q, there are %q", listed, want)
	}
}

// TestReadmePurge: what is sent to the admin API is accepted.
func TestReadmePurge(t *testing.T) {
	admin := loadWithAdmin(t, "http://"+freeAddress(t)+" {\npreconditions\n}\n")
	sent := regexp.MustCompile(`(?s)/preconditions/purge .*? -d '(.*?)'`).FindStringSubmatch(readFiles(t, "README.md"))
	if sent == nil {
		t.Fatal("there is none")
	}
	purge(t, admin, sent[1]).expect(t, 200)
}

// TestReadmeRights: the rights that a user of Redis is to get are enough.
func TestReadmeRights(t *testing.T) {
	line := regexp.MustCompile(`(?m)^ACL SETUSER caddy .*$`).FindString(readFiles(t, "README.md"))
	grant := func(t *testing.T, server *redistest.Server) {
		t.Helper()
		var words []any
		for word := range strings.FieldsSeq(line) {
			words = append(words, word)
		}
		if err := server.Client().Do(t.Context(), words...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, start := range map[string]func(t *testing.T) []*redistest.Server{
		"one server": func(t *testing.T) []*redistest.Server { return []*redistest.Server{redistest.Start(t)} },
		"cluster":    func(t *testing.T) []*redistest.Server { return redistest.StartCluster(t) },
		"replica": func(t *testing.T) []*redistest.Server {
			master := redistest.Start(t)
			return []*redistest.Server{master, redistest.StartReplica(t, master)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var addresses []string
			for _, server := range start(t) {
				grant(t, server)
				addresses = append(addresses, server.Addr)
			}
			more := ""
			if name == "replica" {
				addresses, more = addresses[:1], "replicas 1\n"
			}
			docs := legacydocs.New(legacydocs.Options{})
			bypass(t, docs, "PUT", "/docs/a", "a")
			address := freeAddress(t)
			admin := loadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, guarded(fmt.Sprintf(
				"grace 1ms\nstore redis {\naddress %s\nusername caddy\npassword password\ntimeout 5s\n%s}",
				strings.Join(addresses, " "), more), serve(t, docs))))
			url := "http://" + address + "/docs/a"
			send(t, "PUT", url, "b").expect(t, 204)
			send(t, "PUT", url, "c", "If-Match", send(t, "GET", url, "").tag(t)).expect(t, 204)
			purge(t, admin, `{"urls": ["http://**"]}`).expect(t, 200)
			purge(t, admin, `{"all": true}`).expect(t, 200)
		})
	}
}

func readFiles(t testing.TB, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(content)
		}
	}
	return all.String()
}
