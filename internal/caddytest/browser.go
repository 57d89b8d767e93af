package caddytest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
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

// chromium returns the path of the browser. Without a browser, it skips the test, or fails it
// if the environment variable CI is set.
func chromium(t testing.TB) string {
	t.Helper()
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	(&Backend{needs: browsers[:1]}).OrSkip(t)
	return ""
}

// RunInBrowser serves a page at an address, opens it in a headless Chromium, and returns, in
// JSON, what the script of the page returns. The script is the body of an async function.
// The test is skipped if there is no Chromium, or fails if the environment variable CI is
// set.
func RunInBrowser(t testing.TB, address, script string) []byte {
	t.Helper()
	browser := StartBrowser(t)
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
	browser.Open(ServeAt(t, address, mux).URL + "/")
	select {
	case result := <-results:
		return result
	case <-browser.exited:
		t.Fatalf("the browser exited:\n%s", browser.log)
	case <-time.After(2 * time.Minute):
		t.Fatal("the page in the browser returns nothing")
	}
	return nil
}

// Browser is a headless Chromium. It is driven by messages of the DevTools protocol
// (https://chromedevtools.github.io/devtools-protocol/), each of which a NUL ends, over a
// pipe.
type Browser struct {
	t      testing.TB
	log    *bytes.Buffer
	exited chan struct{}
	to     io.WriteCloser

	mu      sync.Mutex
	last    int                         // the number of the last message that was sent
	answers map[int]chan message        // by the number of the message
	events  map[string]func(params any) // by session and method
}

// message is a call, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// StartBrowser starts a browser that ends with the test. The test is skipped if there is no
// Chromium, or fails if the environment variable CI is set.
func StartBrowser(t testing.TB) *Browser {
	t.Helper()
	profile, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{
		t: t, log: new(bytes.Buffer), exited: make(chan struct{}), to: to,
		answers: make(map[int]chan message), events: make(map[string]func(any)),
	}
	cmd := exec.Command(chromium(t), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
		"--remote-debugging-pipe", "--user-data-dir="+profile)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.ExtraFiles = []*os.File{theirs, said}             // as the flag wants them: 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with all of its processes
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	said.Close()
	go func() {
		_ = cmd.Wait()
		close(b.exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-b.exited
		to.Close()
		from.Close()
	})
	go b.listen(bufio.NewReader(from))
	return b
}

// listen takes what the browser says, until it ends.
func (b *Browser) listen(from *bufio.Reader) {
	for {
		text, err := from.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		answer, event := b.answers[m.ID], b.events[m.Session+" "+m.Method]
		delete(b.answers, m.ID)
		b.mu.Unlock()
		if answer != nil {
			answer <- m
		} else if event != nil {
			go event(m.Params)
		}
	}
}

// send sends a message to a session, and returns where its answer will be.
func (b *Browser) send(session, method string, params any) (<-chan message, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	answer := make(chan message, 1)
	b.answers[b.last] = answer
	text, err := json.Marshal(message{ID: b.last, Session: session, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	return answer, err
}

// call sends a message and waits for its result, whose members it stores in result.
func (b *Browser) call(session, method string, params, result any) {
	b.t.Helper()
	answer, err := b.send(session, method, params)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", method, err, b.log)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v: %s", method, err, m.Result)
			}
		}
	case <-b.exited:
		b.t.Fatalf("the browser exited:\n%s", b.log)
	case <-time.After(time.Minute):
		b.t.Fatalf("%s: no answer", method)
	}
}

// Tab is a page in a browser.
type Tab struct {
	browser *Browser
	session string
}

// Open opens a page in a new tab. It may still be loading.
func (b *Browser) Open(url string) *Tab {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": url}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	return &Tab{b, attached.SessionID}
}

// Call calls a method of the DevTools protocol, such as Page.reload, whose parameters are
// pairs of name and value.
func (tab *Tab) Call(method string, params ...any) {
	tab.browser.t.Helper()
	tab.browser.call(tab.session, method, pairs(params), nil)
}

func pairs(list []any) map[string]any {
	all := make(map[string]any)
	for i := 0; i < len(list); i += 2 {
		all[list[i].(string)] = list[i+1]
	}
	return all
}

// Evaluate returns what an expression in the page is, or what it resolves to if it is a
// promise.
func (tab *Tab) Evaluate(expression string) any {
	tab.browser.t.Helper()
	var evaluated struct {
		Result struct {
			Value any
		}
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	tab.browser.call(tab.session, "Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true,
	}, &evaluated)
	if e := evaluated.ExceptionDetails; e != nil {
		tab.browser.t.Fatalf("%s: %s", expression, e.Exception.Description)
	}
	return evaluated.Result.Value
}

// Await waits until an expression in the page is true, or an object.
func (tab *Tab) Await(expression string) {
	tab.browser.t.Helper()
	Eventually(tab.browser.t, expression, func() bool { return tab.Evaluate("!!("+expression+")") == true })
}

// Press presses a key, such as Enter, with modifiers: 2 for Ctrl, 8 for Shift. Without any, it
// types the key's text.
func (tab *Tab) Press(key string, modifiers int) {
	tab.browser.t.Helper()
	code := map[string]int{"Enter": 13, "Tab": 9, "s": 83, " ": 32}[key]
	down := []any{"type", "rawKeyDown", "key", key, "modifiers", modifiers, "windowsVirtualKeyCode", code}
	text := key
	if key == "Enter" {
		text = "\r"
	}
	if len(text) == 1 && modifiers == 0 {
		down = append(down, "text", text)
		down[1] = "keyDown"
	}
	tab.Call("Input.dispatchKeyEvent", down...)
	tab.Call("Input.dispatchKeyEvent", "type", "keyUp", "key", key, "modifiers", modifiers, "windowsVirtualKeyCode", code)
}

// Resize gives the page a size in pixels.
func (tab *Tab) Resize(width, height int) {
	tab.browser.t.Helper()
	tab.Call("Emulation.setDeviceMetricsOverride", "width", width, "height", height, "deviceScaleFactor", 1, "mobile", false)
}

// Watch returns a function that returns what the page has complained about since, in JSON, and
// the URLs that it has asked for.
func (tab *Tab) Watch() func() (complaints, urls []string) {
	tab.browser.t.Helper()
	var mu sync.Mutex
	var complaints, urls []string
	b := tab.browser
	b.mu.Lock()
	for _, method := range []string{"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"} {
		b.events[tab.session+" "+method] = func(event any) {
			text, _ := json.Marshal(event)
			mu.Lock()
			defer mu.Unlock()
			complaints = append(complaints, string(text))
		}
	}
	b.events[tab.session+" Network.requestWillBeSent"] = func(event any) {
		sent, _ := event.(map[string]any)
		request, _ := sent["request"].(map[string]any)
		mu.Lock()
		defer mu.Unlock()
		urls = append(urls, fmt.Sprint(request["url"]))
	}
	b.mu.Unlock()
	for _, domain := range []string{"Runtime", "Log", "Network"} {
		tab.Call(domain + ".enable")
	}
	return func() ([]string, []string) {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(complaints), slices.Clone(urls)
	}
}

// Intercept lets a function answer the next request with a method, or fail it. The stage is
// Request, before the server has it, or Response, after the server has answered. The function
// returns the method of the domain Fetch to call, and its parameters. All other requests go on.
func (tab *Tab) Intercept(stage, method string, times int, then string, params ...any) {
	tab.browser.t.Helper()
	b := tab.browser
	var mu sync.Mutex
	b.mu.Lock()
	b.events[tab.session+" Fetch.requestPaused"] = func(event any) {
		paused, _ := event.(map[string]any)
		request, _ := paused["request"].(map[string]any)
		call, with := "Fetch.continueRequest", map[string]any{}
		mu.Lock()
		if request["method"] == method && times > 0 {
			times--
			call, with = then, pairs(params)
		}
		mu.Unlock()
		with["requestId"] = paused["requestId"]
		_, _ = b.send(tab.session, call, with)
	}
	b.mu.Unlock()
	tab.Call("Fetch.enable", "patterns", []any{map[string]any{"urlPattern": "*", "requestStage": stage}})
}

// Picture returns what the tab shows, as a PNG.
func (tab *Tab) Picture() []byte {
	tab.browser.t.Helper()
	var shot struct{ Data string }
	tab.browser.call(tab.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		tab.browser.t.Fatal(err)
	}
	return picture
}
