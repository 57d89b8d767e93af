package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// If this environment variable is set, the test binary runs as the quick start.
const asProgram = "QUICKSTART_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program returns a command that runs the quick start.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...) // not t.Context(), which ends before the cleanup
	home := t.TempDir()                // Caddy's storage
	cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		// Otherwise the race detector makes each process wait for a second before it exits.
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}

// output collects what a program writes. It may be read at the same time.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts the quick start, waits until it has printed lastLine, and returns what
// it printed. At the end of the test, it stops it as Ctrl-C does.
func start(t *testing.T, lastLine string, args ...string) string {
	t.Helper()
	cmd := program(t, args...)
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	deadline := time.After(30 * time.Second)
	for !strings.HasSuffix(stdout.String(), lastLine) {
		select {
		case err := <-exited:
			t.Fatalf("exited: %v\n%s%s", err, stdout.String(), stderr.String())
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatalf("not ready:\n%s%s", stdout.String(), stderr.String())
		case <-time.After(10 * time.Millisecond):
		}
	}

	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("after Ctrl-C: %v", err)
			}
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("still running after Ctrl-C")
		}
		if got := stderr.String(); got != "" {
			t.Errorf("unexpected on stderr:\n%s", got)
		}
	})
	return stdout.String()
}

func lastLine(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return lines[len(lines)-2]
}

// freeAddr returns an address that no server listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

// commands returns the commands in a printed text: the blocks that are indented by
// five columns.
func commands(text string) []string {
	var cmds []string
	inside := false
	for line := range strings.Lines(text) {
		switch cmd, ok := strings.CutPrefix(line, "     "); {
		case !ok:
			inside = false
		case inside:
			cmds[len(cmds)-1] += cmd
		default:
			cmds, inside = append(cmds, cmd), true
		}
	}
	return cmds
}

// shells returns the installed ones of the shells that users may paste into.
func shells(t *testing.T) []string {
	t.Helper()
	caddytest.Needs(t, "curl")
	var found []string
	for _, name := range []string{"bash", "zsh", "sh"} {
		if _, err := exec.LookPath(name); err == nil {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		t.Fatal("no shell")
	}
	return found
}

// paste runs the commands in one shell, and returns the output of each.
func paste(t *testing.T, shell string, cmds []string) []string {
	t.Helper()
	const end = "\n--- end of answer ---\n"
	var script strings.Builder
	for _, cmd := range cmds {
		script.WriteString(cmd + "printf '\\n--- end of answer ---\\n'\n")
	}
	cmd := exec.CommandContext(t.Context(), shell)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", asProgram+"=1") // as the program names itself, too
	cmd.Stdin = strings.NewReader(script.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	answers := strings.Split(string(out), end)
	if len(answers) != len(cmds)+1 {
		t.Fatalf("%d commands, but %d outputs\n%s%s", len(cmds), len(answers)-1, out, stderr.String())
	}
	return answers[:len(cmds)]
}

// want is what the output of a command starts with and contains.
type want struct {
	start    string
	contains string
}

func check(t *testing.T, cmds, answers []string, wants []want) {
	t.Helper()
	if len(cmds) != len(wants) {
		t.Fatalf("%d commands printed, %d expected:\n%s", len(cmds), len(wants), strings.Join(cmds, "\n"))
	}
	for i, want := range wants {
		if !strings.HasPrefix(answers[i], want.start) || !strings.Contains(answers[i], want.contains) {
			t.Errorf("command %d\n%sprints\n%s\nwant it to start with %q and contain %q",
				i+1, cmds[i], answers[i], want.start, want.contains)
		}
	}
}

// TestPrintedSteps: the printed commands do what the text around them says.
func TestPrintedSteps(t *testing.T) {
	for _, shell := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			text := start(t, lastLine(steps), "--listen", freeAddr(t), "--backend", freeAddr(t))
			cmds := commands(text)
			check(t, cmds, paste(t, shell, cmds), []want{
				{"HTTP/1.1 200", "Ship on Friday."},
				{`"`, ""}, // a strong ETag
				{"HTTP/1.1 204", ""},
				{"HTTP/1.1 412", "Content-Type: application/problem+json"},
				{"HTTP/1.1 204", ""},
				{"HTTP/1.1 204", ""},
				{"Ship on Thursday. Ben", ""},
				{`"`, ""},
				{"HTTP/1.1 204", ""},
				{"HTTP/1.1 412", "Content-Type: application/problem+json"},
				{"", ""}, // CADDY=...
				{"resource  documents/docs/plan\n", "\nin flight nothing\n"},
				{"memory: marked as changed: 1 (1 of 1 were known)\n", ""},
				{"caddy_preconditions_requests_total{", "outcome=\"failed\",reason=\"no_match\"} 2\n"},
			})
			onLoopback(t, text)
		})
	}
}

// onLoopback checks that the admin API which a text names is reached from this machine only, and
// isn't at the port where a different Caddy may have its own.
func onLoopback(t *testing.T, text string) {
	t.Helper()
	admin := regexp.MustCompile(`--address (\S+)`).FindStringSubmatch(text)
	if admin == nil {
		t.Fatal("no admin API is named")
	}
	host, port, err := net.SplitHostPort(admin[1])
	if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() || port == "2019" {
		t.Errorf("the admin API is at %s", admin[1])
	}
}

func TestShellQuoted(t *testing.T) {
	for text, want := range map[string]string{"/tmp/go-build1/b001/exe/quickstart": "/tmp/go-build1/b001/exe/quickstart", "/a b/it's": `'/a b/it'\''s'`} {
		if got := shellQuoted(text); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

// TestPrintedStepsForOwnBackend: so do the ones for --to, and they change nothing.
func TestPrintedStepsForOwnBackend(t *testing.T) {
	for _, shell := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			service := legacydocs.New(legacydocs.Options{})
			backend := httptest.NewServer(service)
			defer backend.Close()
			const body, contentType = "{\n  \"a\": 1\n}\n", "application/json"
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, backend.URL+"/docs/mine", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", contentType)
			if resp, err := http.DefaultClient.Do(req); err != nil {
				t.Fatal(err)
			} else {
				resp.Body.Close()
			}

			lastLine := lastLine(stepsTo)
			text := start(t, lastLine, "--listen", freeAddr(t), "--to", backend.URL)
			cmds := commands(strings.ReplaceAll(text, "/path/of/the/document", "/docs/mine"))
			check(t, cmds, paste(t, shell, cmds), []want{
				{"", ""}, // DOC=...
				{"HTTP/1.1 200", body},
				{`"`, ""},
				{"HTTP/1.1 412", "Content-Type: application/problem+json"},
				{"", ""}, // the download
				{"HTTP/1.1 204", ""},
				{"", ""}, // CADDY=...
				{"resource  documents/docs/mine\n", "  etag      \""},
				{"memory: marked as changed: 1 (1 of 1 were known)\n", ""},
				{"caddy_preconditions_requests_total{", "outcome=\"passed\",reason=\"none\"} 1\n"},
			})

			writes := service.Writes()
			if len(writes) != 2 || writes[1].Body != writes[0].Body {
				t.Errorf("the steps promise to change nothing; writes: %+v", writes)
			}
			resp, err := http.Get(backend.URL + "/docs/mine")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body || resp.Header.Get("Content-Type") != contentType {
				t.Errorf("the document is now %q, %s (%v)", got, resp.Header.Get("Content-Type"), err)
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	busy := net.JoinHostPort("localhost", port)

	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"busy front":   {[]string{"--listen", busy, "--backend", freeAddr(t)}, "port " + port + " is in use: choose a different one with --listen "},
		"busy backend": {[]string{"--backend", busy}, "port " + port + " is in use: choose a different one with --backend "},
		"no port":      {[]string{"--listen", "localhost"}, "--listen localhost: "},
		"no URL":       {[]string{"--to", "localhost:3000"}, "--to localhost:3000: "},
		"a path":       {[]string{"--to", "http://localhost:3000/app"}, "--to http://localhost:3000/app: "},
		"no such flag": {[]string{"--port", "1"}, "-port (try --help)"},
		"an argument":  {[]string{"--listen", busy, "oops"}, `"oops"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestErrorIsOneLine(t *testing.T) {
	out, err := program(t, "--no-such-flag").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	if got := string(out); !strings.HasPrefix(got, "quickstart: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
}

func TestHelp(t *testing.T) {
	out, err := program(t, "--help").CombinedOutput()
	if err != nil || string(out) != usage {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSubcommandsOfCaddy(t *testing.T) {
	t.Run("list-modules", func(t *testing.T) {
		out, err := program(t, "list-modules").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "\nhttp.handlers.preconditions\n") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("validate", func(t *testing.T) {
		out, err := program(t, "validate", "--config", "Caddyfile").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		if err := program(t, "no-such-command").Run(); err == nil {
			t.Error("no error")
		}
	})
	t.Run("run", func(t *testing.T) {
		backend := httptest.NewServer(legacydocs.New(legacydocs.Options{}))
		defer backend.Close()
		addr := freeAddr(t)
		cmd := program(t, "run", "--config", "Caddyfile")
		_, port, _ := net.SplitHostPort(addr)
		cmd.Env = append(cmd.Env, "QUICKSTART_PORT="+port, "QUICKSTART_BACKEND="+backend.URL)
		var logs output
		cmd.Stdout, cmd.Stderr = &logs, &logs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		status := 0
		for range 3000 {
			if resp, err := http.Get("http://" + addr + "/docs/"); err == nil {
				status = resp.StatusCode
				resp.Body.Close()
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || status != http.StatusOK {
			t.Errorf("status %d, %v\n%s", status, err, logs.String())
		}
	})
}

func TestCaddyfileIsFormatted(t *testing.T) {
	if got := caddyfile.Format(config); !bytes.Equal(got, config) {
		t.Errorf("caddy fmt makes it\n%s", got)
	}
}
