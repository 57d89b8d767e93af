package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// told runs a command that must succeed, and returns what it prints, which must fit into 80
// columns unless it is JSON.
func told(t testing.TB, args ...string) string {
	t.Helper()
	out, status := runCommand(t, args...)
	if status != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, status, out)
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "{") {
			t.Errorf("%v: a line has %d characters: %s", args, n, line)
		}
	}
	return out
}

// loadLogged loads a site like loadPurgeable, whose handler logs to a file.
func loadLogged(t testing.TB, options string) (p *purgeable, log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "caddy.log")
	docs := anywhere()
	admin, address := caddytest.LocalAddress(t), caddytest.Address(t)
	caddytest.LoadCaddyfile(t, fmt.Sprintf("{\nadmin %s\npersist_config off\nauto_https off\ngrace_period 5s\nlog {\nlevel PANIC\n}\n"+
		"log refusals {\noutput file %s\nformat json\ninclude http.handlers.preconditions\n}\n}\nhttp://%s {\n%s\n}\n",
		admin, log, address, caddytest.Guarded(options, caddytest.Serve(t, docs))))
	return &purgeable{"http://" + address, "http://" + admin, docs}, log
}

// "How many lost updates did we prevent this week?" is answered by one command.
func TestStatsCommand(t *testing.T) {
	p := loadPurgeable(t, "")
	at := strings.TrimPrefix(p.admin, "http://")
	tag := p.known(t, "/docs/a")
	caddytest.Send(t, "PUT", p.url+"/docs/a", "x", "If-Match", tag).Expect(t, 204)
	before := told(t, "stats", "--since", "7d", "--address", at)
	var earlier, later stats
	parse := func(text string, into *stats) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	parse(told(t, "stats", "--since", "7d", "--json", "--address", at), &earlier)
	if want := fmt.Sprintf("prevented %d lost update", earlier.Prevented); !strings.Contains(before, want) {
		t.Errorf("no %q in\n%s", want, before)
	}
	caddytest.Send(t, "PUT", p.url+"/docs/a", "x", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", p.url+"/docs/a", "x", "User-Agent", "curl/8").Expect(t, 204)
	parse(told(t, "stats", "--since", "7d", "--json", "--address", at), &later)
	if later.Prevented != earlier.Prevented+1 {
		t.Errorf("%d prevented, and %d before", later.Prevented, earlier.Prevented)
	}
	out := told(t, "stats", "--since", "7d", "--address", at)
	for _, want := range []string{
		fmt.Sprintf("prevented %d lost update", later.Prevented), "nothing older is known here: this process began then",
		"\nhandler   " + caddytest.Host(t) + " (mode enforce)\n  prevented 1 lost update\n  PUT       failed 1, passed 1, unconditional 1\n  no condition from ",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, status := runCommand(t, "stats", "--since", "last week", "--address", at); status != 1 || !strings.Contains(out, "is no time") {
		t.Errorf("exit code %d\n%s", status, out)
	}
}

// "Why was this request refused at 10:03?" is answered by one command, by the Caddy that
// refused it or by its log.
func TestRefusalsCommand(t *testing.T) {
	p, log := loadLogged(t, "verify never")
	at := strings.TrimPrefix(p.admin, "http://")
	tag := p.known(t, "/docs/a")
	when := time.Now()
	caddytest.Send(t, "PUT", p.url+"/docs/a", "x", "If-Match", `"stale"`).Expect(t, 412)
	caddytest.Send(t, "PUT", p.url+"/docs/b", "x", "If-Match", `"stale"`).Expect(t, 412)
	minute := when.Format("2006-01-02 15:04")
	if now := time.Now().Format("2006-01-02 15:04"); now != minute {
		t.Logf("a minute ended: %s, %s", minute, now)
		minute = when.Format(time.RFC3339) // the minute from then on
	}
	key := caddytest.Host(t) + "/docs/a"
	wants := []string{"request   PUT " + key, "answer    412 (failed)", "why       If-Match: ", `sent      If-Match: "stale"`, "current   " + tag, "prevented a lost update"}
	for _, args := range [][]string{
		{p.url + "/docs/a", "--at", minute, "--address", at},
		{"--key", key, "--since", "5m", "--address", at},
		{p.url + "/docs/a", "--at", minute, "--log", log},
		{"--key", key, "--since", "5m", "--log", log},
	} {
		out := told(t, append([]string{"refusals"}, args...)...)
		for _, want := range wants {
			if strings.Count(out, want) != 1 {
				t.Errorf("%v: not one %q in\n%s", args, want, out)
			}
		}
		if strings.Contains(out, "/docs/b") {
			t.Errorf("%v: another resource is in\n%s", args, out)
		}
	}
	var fromAPI, fromLog struct{ Refusals []refusal }
	for args, into := range map[string]any{"--address " + at: &fromAPI, "--log " + log: &fromLog} {
		out := told(t, append(strings.Fields(args), "refusals", "--json", "--limit", "2")...)
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i := range 2 {
		fromAPI.Refusals[i].Time, fromLog.Refusals[i].Time = "", ""
		if fromAPI.Refusals[i] != fromLog.Refusals[i] {
			t.Errorf("the API says %+v\nthe log says %+v", fromAPI.Refusals[i], fromLog.Refusals[i])
		}
	}
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--at", "2020-01-01 10:03", "--address", at}, 0, "none found. Those of other nodes"},
		{[]string{"--until", "1d", "--log", log}, 0, "none found. The log must be in JSON"},
		{[]string{"--at", "10:03", "--since", "1h"}, 1, "--at can't be combined"},
		{[]string{"--at", "soon"}, 1, "is no time"},
		{[]string{"/docs/a"}, 1, "must be a URL"},
		{[]string{"--key"}, 1, "--key needs a key"},
		{[]string{"--limit", "-1"}, 1, "--limit must not be negative"},
		{[]string{"--log", log + "x"}, 1, "no such file"},
		{[]string{"--address", caddytest.Address(t)}, 1, "connection refused"},
	} {
		if out, status := runCommand(t, append([]string{"refusals"}, tt.args...)...); status != tt.status || !strings.Contains(out, tt.says) {
			t.Errorf("%v: exit code %d\n%s", tt.args, status, out)
		}
	}
}

// Refusals are shown as they happen.
func TestWatchCommand(t *testing.T) {
	p := loadPurgeable(t, "")
	cmd := caddytest.Command(t, t.TempDir(), "preconditions", "watch", "--json", "--address", strings.TrimPrefix(p.admin, "http://"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for all := bufio.NewScanner(out); all.Scan(); {
			lines <- all.Text()
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond) // the command may not look yet
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case line := <-lines:
			var r refusal
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Status != 412 || !strings.HasPrefix(r.Resource, caddytest.Host(t)+"/docs/") {
				t.Errorf("%v: %s", err, line)
			}
			return
		case <-tick.C:
			caddytest.Send(t, "PUT", fmt.Sprintf("%s/docs/%d", p.url, n), "x", "If-Match", `"x"`).Expect(t, 412)
		case <-time.After(time.Minute):
			t.Fatal("nothing is shown")
		}
	}
}

// The commands show writes in flight, and the stores.
func TestClaimsAndStoresCommands(t *testing.T) {
	p := loadPurgeable(t, "")
	at := strings.TrimPrefix(p.admin, "http://")
	if out := told(t, "claims", "--address", at); out != "in flight nothing\n" {
		t.Errorf("got %s", out)
	}
	if out := told(t, "stores", "--address", at); !strings.Contains(out, "store     memory\n  state     up\n  keys      {http.request.host}{http.request.uri.path}\n") {
		t.Errorf("got %s", out)
	}
}
