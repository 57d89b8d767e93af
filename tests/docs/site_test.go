package docs_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// site is docs.example.com, which most pages take for their example: a Caddy in a process of its
// own, which logs as docs/operations.md says, in front of a document service.
type site struct {
	docs           *legacydocs.Service
	gate           *caddytest.Gate // in front of the service
	backend        string
	address, admin string
	home           string // has the logs, and the commands of the blocks that are run
}

// startSite starts the site with a directive.
func startSite(t *testing.T, directive string) *site {
	t.Helper()
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	s := &site{
		docs: docs, gate: gate, backend: caddytest.Serve(t, docs),
		address: caddytest.LocalAddress(t), admin: caddytest.LocalAddress(t), home: t.TempDir(),
	}
	config := caddytest.Shown(t, "docs/operations.md", "log preconditions {").Text
	for _, part := range [][2]string{
		{"{\n", "{\nadmin " + s.admin + "\npersist_config off\nauto_https off\n"},
		{"docs.example.com {\n", fmt.Sprintf("http://docs.example.com:%[1]s, http://127.0.0.1:%[1]s {\nbind 127.0.0.1\n", port(s.address))},
		{"\tpreconditions\n", directive},
		{"legacy:9000", s.backend},
	} {
		if !strings.Contains(config, part[0]) {
			t.Fatalf("no %q in\n%s", part[0], config)
		}
		config = strings.Replace(config, part[0], part[1], 1)
	}
	caddytest.RunCaddy(t, strings.ReplaceAll(config, "/var/log/caddy", s.home))
	caddytest.Eventually(t, "Caddy listens", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// send sends the site a request.
func (s *site) send(t testing.TB, method, path, content string, fields ...string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, method, "http://"+s.address+path, content, append([]string{"Host", "docs.example.com"}, fields...)...)
}

// The plan of the examples.
const (
	friday, monday = "Ship on Friday.", "Ship on Monday."
	plan           = "/docs/plan"
)

// plan lets the site know the plan, and returns its tag.
func (s *site) plan(t testing.TB, content string) (tag string) {
	t.Helper()
	caddytest.Send(t, "PUT", "http://"+s.backend+plan, content, "Content-Type", "text/plain").ExpectSuccess(t)
	return s.send(t, "GET", plan, "").Expect(t, 200).Tag(t)
}

// command returns the command that runs a text as a shell does beside that Caddy. If there is a
// Redis, redis-cli asks it.
func (s *site) command(t testing.TB, text string, redis ...string) *exec.Cmd {
	t.Helper()
	caddytest.Needs(t, "bash")
	caddy := caddytest.Command(t, s.home)
	commands := map[string]string{"caddy": fmt.Sprintf("case \"$*\" in *doctor*|*--log*|*--print*) ;; *) set -- \"$@\" --address %s;; esac\nexec %s \"$@\"", s.admin, caddy.Path)}
	for name, flags := range map[string]string{"curl": "-fsS", "redis-cli": "-e"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if name == "redis-cli" && redis != nil {
			flags += " -h 127.0.0.1 -p " + port(redis[0])
		}
		commands[name] = fmt.Sprintf("exec %s %s \"$@\"", path, flags)
	}
	for name, script := range commands {
		if err := os.WriteFile(filepath.Join(s.home, name), []byte("#!/usr/bin/env bash\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail")
	cmd.Env = append(caddy.Env, "PATH="+s.home+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(strings.NewReplacer(
		"localhost:2019", s.admin, "/var/log/caddy", s.home,
		"10.0.0.7:9000", s.backend, "https://docs.example.com/docs/scratch", "http://"+s.address+"/docs/scratch",
	).Replace(text))
	return cmd
}

// run runs a block, and returns what it prints.
func (s *site) run(t testing.TB, b block, redis ...string) (out string) {
	t.Helper()
	cmd := s.command(t, b.Text, redis...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	printed, err := cmd.Output()
	if err != nil {
		t.Errorf("%s:%d: %v\n%s%s", b.Page, b.Line, err, printed, complaints.String())
	}
	return string(printed)
}

// expectShown fails the test unless a text is what a block shows. Where the block has what a
// pattern matches, the text may have anything else that the pattern matches.
func expectShown(t testing.TB, b block, text, variable string) {
	t.Helper()
	var want strings.Builder
	end := 0
	for _, at := range regexp.MustCompile(variable).FindAllStringIndex(b.Text, -1) {
		want.WriteString(regexp.QuoteMeta(b.Text[end:at[0]]) + "(?:" + variable + ")")
		end = at[1]
	}
	want.WriteString(regexp.QuoteMeta(b.Text[end:]))
	if !regexp.MustCompile(`^` + want.String() + `$`).MatchString(text) {
		t.Errorf("%s:%d shows\n%s\nbut it is\n%s", b.Page, b.Line, b.Text, text)
	}
}
