package webdav

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// litmusLine matches the result of a test of litmus: its number, its name, and what became of it.
var litmusLine = regexp.MustCompile(`^\s*\d+\. (\w+)\.* +(pass|SKIPPED|FAIL|XFAIL)`)

// litmus runs the suites of litmus against a server. It returns the results by suite and name.
func litmus(t *testing.T, url string) (results map[string]string, output string) {
	t.Helper()
	results = make(map[string]string)
	for _, suite := range []string{"basic", "copymove", "props", "locks"} {
		cmd := exec.CommandContext(t.Context(), "litmus", "-k", url+"/")
		cmd.Dir = t.TempDir() // it writes a log there
		cmd.Env = append(os.Environ(), "TESTS="+suite)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s: %v", suite, err)
		}
		output += string(out)
		for line := range strings.Lines(strings.ReplaceAll(string(out), "\r", "\n")) {
			if found := litmusLine.FindStringSubmatch(line); found != nil {
				results[suite+" "+found[1]] = found[2]
			}
		}
	}
	return results, output
}

// TestLitmus: whatever litmus finds right in a WebDAV server, it finds right behind the handler.
// The tests about entity tags in If, which it skips because the server has none, succeed.
func TestLitmus(t *testing.T) {
	t.Parallel()
	caddytest.Needs(t, "litmus")
	apache := *caddytest.BackendNamed(t, "Apache httpd without tags")
	for _, b := range []caddytest.Backend{apache, caddytest.Lighttpd} {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			b.OrSkip(t)
			address := caddytest.StartBackends(t, b)[b.Name]
			site := caddytest.AnyHost(t, "preconditions {\nprofile webdav\nlag 0s\n}\nreverse_proxy "+address+" {\n"+b.Proxy+"}\n")
			alone, _ := litmus(t, "http://"+address)
			guarded, output := litmus(t, site)
			for name, result := range alone {
				if result == "pass" && guarded[name] != "pass" {
					t.Errorf("%s: pass alone, %s behind the handler", name, guarded[name])
				}
			}
			for _, name := range []string{"cond_put", "fail_cond_put", "complex_cond_put", "fail_complex_cond_put"} {
				if name = "locks " + name; alone[name] != "SKIPPED" || guarded[name] != "pass" {
					t.Errorf("%s: %s alone, %s behind the handler", name, alone[name], guarded[name])
				}
			}
			if len(alone) < 60 {
				t.Errorf("%d results", len(alone))
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}
