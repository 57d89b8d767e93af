package webdav

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestCadaver: a file that somebody edits with cadaver, which locks it, isn't overwritten by
// somebody else while it is open, and cadaver's change isn't lost.
func TestCadaver(t *testing.T) {
	t.Parallel()
	caddytest.Needs(t, "cadaver", "curl")
	for _, b := range []caddytest.Backend{caddytest.Lighttpd, *caddytest.BackendNamed(t, "rclone")} {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			b.OrSkip(t)
			address := caddytest.StartBackends(t, b)[b.Name]
			site := caddytest.AnyHost(t, "preconditions {\nprofile webdav\nlag 0s\n}\nreverse_proxy "+address+" {\n"+b.Proxy+"}\n")
			caddytest.Send(t, "PUT", site+"/plan.txt", "first").ExpectSuccess(t)
			tag := caddytest.Send(t, "GET", site+"/plan.txt", "").Expect(t, 200).Tag(t)

			// The editor tells us that the file is open.
			opened := 0
			open := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				opened++
				caddytest.Send(t, "PUT", site+"/plan.txt", "theirs", "If-Match", tag).Expect(t, 423)
			}))
			defer open.Close()
			dir := t.TempDir()
			editor := filepath.Join(dir, "editor")
			script := "#!/bin/sh\ncurl -s " + open.URL + "\necho mine > \"$1\"\ntouch -t 203001010000 \"$1\"\n"
			if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "cadaver", site+"/")
			cmd.Env = append(os.Environ(), "EDITOR="+editor, "HOME="+dir)
			cmd.Stdin = strings.NewReader("edit plan.txt\nquit\n")
			output, err := cmd.CombinedOutput()
			if err != nil || opened != 1 {
				t.Fatalf("%v, opened %d times: %s", err, opened, output)
			}
			if got := caddytest.Send(t, "GET", site+"/plan.txt", "").Content; got != "mine\n" {
				t.Errorf("the file is %q: %s", got, output)
			}
			caddytest.Send(t, "PUT", site+"/plan.txt", "theirs", "If-Match", tag).Expect(t, 412)
		})
	}
}
