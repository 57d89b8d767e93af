package caddytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ExpressWithCORS is an Express with the package cors, which gets these options, in JSON.
func ExpressWithCORS(options string) Backend {
	return Backend{
		Name:  "Express with cors",
		needs: []string{"node", ours("node_modules/express"), ours("node_modules/cors")},
		Start: func(_ testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours("express.js"), port, "0", options)
		},
		Path: "/docs/%s",
	}
}

// browsers are the names of the same program.
var browsers = []string{"chromium", "chromium-browser", "google-chrome"}

// page runs a script, which is the body of an async function, and sends what that returns to
// its server.
const page = `<!doctype html>
<script type="module">
let result;
try {
	result = await (async () => {%s})();
} catch (e) {
	result = {error: String(e)};
}
await fetch("/result", {method: "POST", body: JSON.stringify(result)});
</script>
`

// RunInBrowser serves a page at an address, opens it in a headless Chromium, and returns, in
// JSON, what the script of the page returns. The script is the body of an async function.
// The test is skipped if there is no Chromium, or fails if the environment variable CI is
// set.
func RunInBrowser(t testing.TB, address, script string) []byte {
	t.Helper()
	program := ""
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		(&Backend{needs: browsers[:1]}).OrSkip(t)
	}
	results := make(chan []byte, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, page, script)
	})
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		result, _ := io.ReadAll(r.Body)
		results <- result
	})
	server := ServeAt(t, address, mux)

	profile, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--remote-debugging-port=0", "--user-data-dir="+profile, server.URL+"/")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with all of its processes
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		_ = os.RemoveAll(profile)
	}()
	select {
	case result := <-results:
		return result
	case <-exited:
		t.Fatalf("the browser exited:\n%s", log)
	case <-time.After(2 * time.Minute):
		t.Fatal("the page in the browser returns nothing")
	}
	return nil
}
