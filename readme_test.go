package preconditions_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
