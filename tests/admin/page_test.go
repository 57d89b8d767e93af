package admin

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// servedPage runs caddy preconditions page until the test ends, and returns the URL that it
// prints.
func servedPage(t testing.TB, admin string) string {
	t.Helper()
	cmd := caddytest.Command(t, t.TempDir(), "preconditions", "page", "--listen", caddytest.LocalAddress(t), "--address", strings.TrimPrefix(admin, "http://"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// The page shows what was refused, with what the client sent and what was current, and what is in
// flight. It fits a narrow screen, can be used with the keyboard, asks nobody else for anything,
// and takes nothing that clients send for HTML.
func TestPage(t *testing.T) {
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded("require DELETE", caddytest.Serve(t, docs))))
	site := "http://" + address
	caddytest.Bypass(t, docs, "PUT", "/docs/budget", "one")
	caddytest.Bypass(t, docs, "PUT", "/docs/notes", "one")
	tag := caddytest.ReadTwice(t, site+"/docs/budget")
	const html = `"<img/src=x/onerror=alert(1)>"`
	caddytest.Send(t, "PUT", site+"/docs/notes", "x", "If-Match", html).Expect(t, 412)
	caddytest.Send(t, "DELETE", site+"/docs/notes", "", "User-Agent", "importer/2").Expect(t, 428)
	caddytest.Send(t, "PUT", site+"/docs/budget", "x", "User-Agent", "editor/1", "If-Match", `"stale-0123456789"`).Expect(t, 412)
	held := g.Send(t.Context(), t, "PUT", site+"/docs/budget", "two", "If-Match", tag)
	waits := caddytest.Go(context.Background(), "PUT", site+"/docs/budget", "three")

	url := servedPage(t, admin)
	b := caddytest.StartBrowser(t).Open("about:blank")
	b.Resize(360, 740)
	watched := b.Watch()
	b.Call("Page.navigate", "url", url)
	b.Await(`document.querySelector("#refusals tbody tr") && document.querySelector("#claims tbody tr")`)
	for id, wants := range map[string][]string{
		"state":    {"This node, since "},
		"numbers":  {"lost updates prevented in 7 days", "1writes in flight", "upstores"},
		"refusals": {"PUT " + caddytest.Host(t) + "/docs/budget", `If-Match: "stale-0123456789"`, tag, "412 failed", html, "428 required", "no condition"},
		"requests": {"failed", "enforce"},
		"handlers": {caddytest.Host(t), "PUT failed 2", "importer 1"},
		"claims":   {caddytest.Host(t) + "/docs/budget", "claim", "memory"},
		"stores":   {"memory", "up"},
	} {
		for _, want := range wants {
			b.Await(fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, want))
		}
	}
	narrow := b.Evaluate(`JSON.stringify([document.documentElement.scrollWidth <= 360, document.images.length,
		[...document.querySelectorAll("button, input")].filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.id)])`)
	if narrow != "[true,0,[]]" {
		t.Errorf("at 360 pixels: whether it fits, its images, and what is too small for a finger: %s", narrow)
	}

	b.Press("Tab", 0)
	b.Await(`document.activeElement.id === "pause"`)
	b.Press("Enter", 0)
	b.Await(`document.activeElement.getAttribute("aria-pressed") === "true"`)
	b.Press(" ", 0)
	b.Await(`document.activeElement.getAttribute("aria-pressed") === "false"`)
	b.Press("Tab", 0)
	b.Await(`document.activeElement.id === "filter"`)
	for _, key := range "budget" { // no other test of this process writes that
		b.Press(string(key), 0)
	}
	b.Await(`document.querySelectorAll("#refusals tbody tr").length === 1`)

	if file := os.Getenv("PRECONDITIONS_SCREENSHOT"); file != "" {
		b.Evaluate(`document.getElementById("filter").value = "", document.activeElement.blur()`)
		b.Resize(960, 660)
		b.Await(`document.querySelectorAll("#refusals tbody tr").length > 2`)
		if err := os.WriteFile(file, b.Picture(), 0o600); err != nil {
			t.Error(err)
		}
	}
	g.Open()
	caddytest.ExpectResult(t, held, 204)
	caddytest.ExpectResult(t, waits, 204)
	b.Await(`document.getElementById("claims").textContent.includes("No write is in flight")`)
	complaints, urls := watched()
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
	}
	origin := strings.TrimSuffix(url, "preconditions/")
	for _, asked := range urls {
		if !strings.HasPrefix(asked, origin) && asked != "data:," && asked != "about:blank" {
			t.Errorf("the page asks for %s", asked)
		}
	}
	if len(urls) < 5 {
		t.Errorf("the page asks only for %q", urls)
	}
}

// The page is served with a policy that lets nothing run but its own script. It is read-only, and
// other sites can't read what it shows.
func TestPageIsGuarded(t *testing.T) {
	p := loadPurgeable(t, "")
	a := caddytest.Send(t, "GET", p.admin+"/preconditions/", "").Expect(t, 200)
	policy := a.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %s in %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %v", a.Header)
	}
	caddytest.Send(t, "POST", p.admin+"/preconditions/", "").Expect(t, 405)
	caddytest.Send(t, "GET", p.admin+"/preconditions/none", "").Expect(t, 404)
	caddytest.Send(t, "GET", p.admin+"/preconditions/", "", "Origin", "http://evil.example").Expect(t, 403)

	url := servedPage(t, p.admin)
	if got := caddytest.Send(t, "GET", url, "").Expect(t, 200); got.Content != a.Content || got.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("got %s", got.Content)
	}
	for _, tt := range []struct {
		method, path string
		status       int
		fields       []string
	}{
		{"GET", "stats", 200, nil},
		{"GET", "refusals?limit=1", 200, []string{"Sec-Fetch-Site", "same-origin"}},
		{"GET", "stats", 200, []string{"Host", "localhost:1"}},
		{"GET", "stats", 200, []string{"Host", "[::1]:1"}},
		{"GET", "stats", 403, []string{"Host", "evil.example"}},
		{"GET", "stats", 403, []string{"Host", "localhost.evil.example:80"}},
		{"GET", "stats", 403, []string{"Sec-Fetch-Site", "cross-site"}},
		{"GET", "", 403, []string{"Sec-Fetch-Site", "cross-site"}},
		{"POST", "stats", 405, nil},
		{"POST", "purge", 404, []string{"Content-Type", "application/json"}},
		{"GET", "config/", 404, nil},
	} {
		got := caddytest.Send(t, tt.method, url+tt.path, "", tt.fields...)
		if got.StatusCode != tt.status {
			t.Errorf("%s %s %q: %s", tt.method, tt.path, tt.fields, got.Status)
		}
		if got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: other origins may read it", tt.method, tt.path)
		}
	}
}

// The operator can turn the page at the admin endpoint off, and back on with a reload.
func TestPageOff(t *testing.T) {
	admin := caddytest.LocalAddress(t)
	global := "{\nadmin " + admin + "\npersist_config off\nauto_https off\nlog {\nlevel PANIC\n}\n%s}\nhttp://" + caddytest.Address(t) + " {\npreconditions\n}\n"
	for options, status := range map[string]int{
		"preconditions {\npage off\n}\n": http.StatusNotFound, "preconditions {\npage on\n}\n": 200, "": 200, "preconditions {\n}\n": 200,
	} {
		caddytest.LoadCaddyfile(t, fmt.Sprintf(global, options))
		caddytest.Send(t, "GET", "http://"+admin+"/preconditions/", "").Expect(t, status)
		caddytest.Send(t, "GET", "http://"+admin+"/preconditions/stats", "").Expect(t, 200)
	}
}
