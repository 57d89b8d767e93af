package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// editors starts the quick start, and returns a browser and the addresses of Caddy and of the
// service.
func editors(t *testing.T) (browser *caddytest.Browser, site, service string) {
	t.Helper()
	browser = caddytest.StartBrowser(t)
	site, service = caddytest.LocalAddress(t), caddytest.LocalAddress(t)
	start(t, lastLine(steps), "--listen", site, "--backend", service)
	return browser, "http://" + site, "http://" + service
}

// editor is the page in a tab.
type editor struct {
	*caddytest.Tab
	t *testing.T
}

func open(t *testing.T, browser *caddytest.Browser, url string) editor {
	t.Helper()
	tab := browser.Open(url)
	tab.Call("Page.enable")
	tab.Await(`document.body?.dataset.ready === "yes"`)
	return editor{tab, t}
}

// replace changes the text of a pane, as typing does.
func (e editor) replace(pane, old, replacement string) {
	e.t.Helper()
	changed := e.Evaluate(fmt.Sprintf(`(() => {
		const text = document.querySelector("#%s textarea"), before = text.value;
		text.focus();
		text.value = before.replace(%q, %q);
		text.dispatchEvent(new Event("input"));
		return text.value !== before;
	})()`, pane, old, replacement))
	if changed != true {
		e.t.Fatalf("%s has no %q", pane, old)
	}
}

// click clicks a button of a pane.
func (e editor) click(pane, button string) {
	e.t.Helper()
	e.Evaluate(fmt.Sprintf(`document.querySelector("#%s button.%s").click()`, pane, button))
}

// says waits until the status of a pane begins with a text.
func (e editor) says(pane, text string) {
	e.t.Helper()
	e.Await(fmt.Sprintf(`document.querySelector("#%s .status").textContent.startsWith(%q) && !document.querySelector("#%s .save").disabled`, pane, text, pane))
}

// shows fails the test unless the text of a pane is this.
func (e editor) shows(pane, text string) {
	e.t.Helper()
	if got := e.Evaluate(fmt.Sprintf(`document.querySelector("#%s textarea").value`, pane)); got != text {
		e.t.Fatalf("%s shows %q, want %q", pane, got, text)
	}
}

// marks fails the test unless these words are marked in Ben's two versions.
func (e editor) marks(mine, theirs string) {
	e.t.Helper()
	for side, want := range map[string]string{"mine": mine, "theirs": theirs} {
		if got := e.Evaluate(fmt.Sprintf(`[...document.querySelectorAll("#ben .%s mark")].map((m) => m.textContent).join(" ")`, side)); got != want {
			e.t.Errorf("marked in %s: %v, want %s", side, got, want)
		}
	}
}

// requests returns those that the page has sent since it was loaded, the last one first.
func (e editor) requests() string {
	e.t.Helper()
	return e.Evaluate(`[...document.querySelectorAll("#requests li")].map((r) => r.textContent).join("\n")`).(string)
}

// stored fails the test unless the service has a text.
func stored(t *testing.T, service, text string) {
	t.Helper()
	if got := caddytest.Send(t, "GET", service+"/docs/checklist", "").Expect(t, 200).Content; got != text {
		t.Fatalf("the service has %q, want %q", got, text)
	}
}

// The lines that the tests change, and the document with one or the other changed.
const (
	friday, monday = "Ship on Friday", "code on Monday"
	conflicting    = "Not saved: the document has changed"
)

func with(replace ...string) string { return strings.NewReplacer(replace...).Replace(checklist) }

// conflict lets Ann save, and Ben save on top of what he read before. He has the conflict then.
func conflict(e editor, ann, ben string) {
	e.t.Helper()
	e.click("ann", "reload")
	e.click("ben", "reload")
	e.says("ann", "")
	e.says("ben", "")
	e.replace("ann", friday, ann)
	e.click("ann", "save")
	e.says("ann", "Saved.")
	e.replace("ben", friday, ben)
	e.click("ben", "save")
	e.says("ben", conflicting)
}

// TestEditors: of two people who edit one document, the second to save sees both versions, with
// what differs marked, and decides.
func TestEditors(t *testing.T) {
	t.Parallel()
	browser, site, service := editors(t)
	e := open(t, browser, site)
	reset := func(t *testing.T) {
		caddytest.Send(t, "PUT", service+"/docs/checklist", checklist, "Content-Type", "text/plain; charset=utf-8").Expect(t, 204)
		// The second read shows no change. Otherwise, after five resets in a row, the handler
		// may warn of a resource that differs on every read.
		for range 2 {
			caddytest.Send(t, "GET", site+"/docs/checklist", "").Expect(t, 200)
		}
	}

	t.Run("conflict", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		conflict(e, "Ship on Monday", "Ship on Thursday")
		stored(t, service, with(friday, "Ship on Monday"))
		e.shows("ben", with(friday, "Ship on Thursday")) // what he typed is still there
		e.marks("Thursday", "Monday")
		// The 412 showed Ann's version: it wasn't read again.
		if last, _, _ := strings.Cut(e.requests(), "\n"); !strings.HasPrefix(last, `PUT /docs/checklist If-Match: "`) || !strings.HasSuffix(last, "→ 412 Precondition Failed") {
			t.Errorf("the last request was %s", last)
		}
	})
	t.Run("keep mine", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		conflict(e, "Ship on Monday", "Ship on Thursday")
		e.replace("ben", "Thursday", "Thursday, perhaps") // who has a conflict may go on typing
		e.marks("Thursday, perhaps", "Monday")
		e.click("ben", "keep")
		e.says("ben", "Saved.")
		stored(t, service, with(friday, "Ship on Thursday, perhaps"))
	})
	t.Run("take theirs", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		conflict(e, "Ship on Monday", "Ship on Thursday")
		e.click("ben", "take")
		e.shows("ben", with(friday, "Ship on Monday"))
		e.replace("ben", monday, "code on Sunday")
		e.click("ben", "save") // on top of what Ann has saved, without reading again
		e.says("ben", "Saved.")
		stored(t, service, with(friday, "Ship on Monday", monday, "code on Sunday"))
	})
	t.Run("merge", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		conflict(e, "Ship on Monday", friday+" morning")
		e.click("ben", "merge")
		e.says("ben", "You have both changed the same lines")
		e.shows("ben", with("- "+friday, "- "+friday+" morning\n- Ship on Monday"))
		e.replace("ben", friday+" morning\n- Ship on Monday", "Ship on Monday morning")
		e.click("ben", "save")
		e.says("ben", "Saved.")
		stored(t, service, with(friday, "Ship on Monday morning"))
	})
	t.Run("merge of different lines", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		e.click("ann", "reload")
		e.click("ben", "reload")
		e.says("ann", "")
		e.says("ben", "")
		e.replace("ann", friday, "Ship on Monday")
		e.click("ann", "save")
		e.says("ann", "Saved.")
		e.replace("ben", monday, "code on Sunday")
		e.click("ben", "save")
		e.says("ben", conflicting)
		e.replace("ben", "Release", "Our")
		e.click("ben", "merge")
		e.says("ben", "Both changes are in.")
		e.click("ben", "save")
		e.says("ben", "Saved.")
		stored(t, service, with(friday, "Ship on Monday", monday, "code on Sunday", "Release", "Our"))
	})
	t.Run("a third one is faster than the merge", func(t *testing.T) {
		reset(t)
		e := editor{e.Tab, t}
		conflict(e, "Ship on Monday", "Ship on Thursday")
		e.replace("ann", "Tuesday", "Wednesday")
		e.click("ann", "save")
		e.says("ann", "Saved.")
		e.click("ben", "keep")
		e.says("ben", conflicting)
		stored(t, service, with(friday, "Ship on Monday", "Tuesday", "Wednesday"))
	})
}

// TestEditorsWithoutTheHandler: at the service itself, both saves succeed, and the first change
// is gone.
func TestEditorsWithoutTheHandler(t *testing.T) {
	t.Parallel()
	browser, site, service := editors(t)
	e := open(t, browser, site)
	e.Evaluate(`document.querySelector("#without").click()`)
	e.Await(`location.origin === "` + service + `" && document.body?.dataset.ready === "yes"`)
	e.replace("ann", friday, "Ship on Monday")
	e.click("ann", "save")
	e.says("ann", "Saved.")
	e.replace("ben", monday, "code on Sunday")
	e.click("ben", "save")
	e.says("ben", "Saved.")
	e.says("ann", "What you saved is gone")
	stored(t, service, with(monday, "code on Sunday"))
	e.Evaluate(`document.querySelector("#with").click()`)
	e.Await(`location.origin === "` + site + `" && document.body?.dataset.ready === "yes"`)
}

// TestEditorsRetry: a save that gets no answer, or is asked to come back, is sent again with
// the same condition.
func TestEditorsRetry(t *testing.T) {
	t.Parallel()
	browser, site, service := editors(t)
	for name, c := range map[string]struct {
		stage, then string
		params      []any
		statuses    string
	}{
		// 503 is given before the service hears of the write, so the second attempt passes.
		"busy": {
			"Request", "Fetch.fulfillRequest",
			[]any{"responseCode", 503, "responseHeaders", []any{map[string]any{"name": "Retry-After", "value": "0"}}},
			"204 503",
		},
		// The first attempt was performed. The second finds its own text there, which is no conflict.
		"answer lost": {"Response", "Fetch.failRequest", []any{"errorReason", "ConnectionReset"}, "412 no"},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, browser, site)
			e.Intercept(c.stage, "PUT", 1, c.then, c.params...)
			e.replace("ann", "Release", name+" release")
			e.Evaluate(`document.querySelector("#ann .save").focus()`)
			e.Press("Enter", 0)
			e.says("ann", "Saved.")
			e.Await(`document.activeElement === document.querySelector("#ann .save")`)
			if got := caddytest.Send(t, "GET", service+"/docs/checklist", "").Content; !strings.HasPrefix(got, name+" release") {
				t.Errorf("the service has %q", got)
			}
			var statuses []string
			for line := range strings.Lines(e.requests()) {
				if strings.HasPrefix(line, "PUT ") {
					_, result, _ := strings.Cut(line, "→ ")
					statuses = append(statuses, strings.Fields(result)[0])
				}
			}
			if got := strings.Join(statuses, " "); got != c.statuses {
				t.Errorf("the attempts got %q, want %q (the last one first)", got, c.statuses)
			}
			caddytest.Send(t, "PUT", service+"/docs/checklist", checklist, "Content-Type", "text/plain; charset=utf-8").Expect(t, 204)
		})
	}
	t.Run("bounded", func(t *testing.T) {
		e := open(t, browser, site)
		e.Intercept("Request", "PUT", 100, "Fetch.failRequest", "errorReason", "ConnectionRefused")
		e.replace("ann", friday, "Ship never")
		e.click("ann", "save")
		e.says("ann", "Not saved yet")
		e.shows("ann", with(friday, "Ship never"))
		if n := strings.Count(e.requests(), "PUT "); n != 4 {
			t.Errorf("%d attempts", n)
		}
		stored(t, service, checklist)
	})
}

// TestEditorsInTwoTabs: two tabs know nothing of each other. One of them is offline when it
// saves: it keeps the text, sends it when the network is back, and then has the conflict.
func TestEditorsInTwoTabs(t *testing.T) {
	t.Parallel()
	browser, site, service := editors(t)
	one, two := open(t, browser, site), open(t, browser, site)
	two.Call("Network.enable")
	offline := func(is bool) {
		two.Call("Network.emulateNetworkConditions", "offline", is, "latency", 0, "downloadThroughput", -1, "uploadThroughput", -1)
	}
	offline(true)
	two.replace("ben", friday, "Ship on Thursday")
	two.click("ben", "save")
	two.says("ben", "Not saved yet")
	two.shows("ben", with(friday, "Ship on Thursday"))

	one.replace("ann", friday, "Ship on Monday")
	one.click("ann", "save")
	one.says("ann", "Saved.")

	offline(false)
	two.says("ben", conflicting)
	stored(t, service, with(friday, "Ship on Monday"))
	two.click("ben", "take")
	two.shows("ben", with(friday, "Ship on Monday"))
}

// TestEditorsByKeyboardOnAPhone: 360 pixels are wide enough, each button can be hit with a
// thumb, and everything works without a pointer.
func TestEditorsByKeyboardOnAPhone(t *testing.T) {
	t.Parallel()
	browser, site, service := editors(t)
	e := open(t, browser, site)
	e.Call("Emulation.setDeviceMetricsOverride", "width", 360, "height", 740, "deviceScaleFactor", 2, "mobile", true)
	caddytest.Send(t, "PUT", service+"/docs/checklist", with(friday, "Ship on Monday"), "Content-Type", "text/plain; charset=utf-8").Expect(t, 204)

	e.Evaluate(`document.querySelector("#ben textarea").setSelectionRange(0, 0), document.querySelector("#ben textarea").focus()`)
	e.Call("Input.insertText", "text", "Our ")
	e.Press("s", 2)
	e.says("ben", conflicting)
	e.Await(`document.activeElement === document.querySelector("#ben h3")`)
	if wide := e.Evaluate(`document.documentElement.scrollWidth`); wide.(float64) > 360 {
		t.Errorf("the page is %v pixels wide", wide)
	}
	if low := e.Evaluate(`[...document.querySelectorAll("#ben button, nav a")].map((b) => b.getBoundingClientRect().height).filter((h) => h < 38).length`); low != 0.0 {
		t.Errorf("%v buttons are too low", low)
	}
	for range 3 { // to Merge
		e.Press("Tab", 0)
	}
	e.Press("Enter", 0)
	e.says("ben", "Both changes are in.")
	e.Press("s", 2)
	e.says("ben", "Saved.")
	stored(t, service, "Our "+with(friday, "Ship on Monday"))
}

// TestEditorsPicture takes the picture in the README, if an environment variable names a file
// to store it in. It is what the page looks like, so it needs no care but to be taken again:
//
//	QUICKSTART_PICTURE=$PWD/docs/two-editors.png go test -run TestEditorsPicture ./examples/quickstart
func TestEditorsPicture(t *testing.T) {
	t.Parallel()
	browser, site, _ := editors(t)
	e := open(t, browser, site)
	e.Call("Emulation.setDeviceMetricsOverride", "width", 800, "height", 800, "deviceScaleFactor", 1, "mobile", false)
	conflict(e, "Ship on Monday", "Ship on Thursday")
	picture := e.Picture()
	if len(picture) < 10_000 || len(picture) > 200_000 {
		t.Errorf("the picture has %d bytes", len(picture))
	}
	if file := os.Getenv("QUICKSTART_PICTURE"); file != "" {
		if err := os.WriteFile(file, picture, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConditionalIsSmall: what people copy is one file without imports, short enough to read.
func TestConditionalIsSmall(t *testing.T) {
	text, err := page.ReadFile("page/conditional.js")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 150 || strings.Contains(string(text), "\nimport ") {
		t.Errorf("it has %d lines, or imports something", n)
	}
}

// TestPageKnowsPorts: the switch leads to the ports of the flags.
func TestPageKnowsPorts(t *testing.T) {
	site, service := caddytest.LocalAddress(t), caddytest.LocalAddress(t)
	start(t, lastLine(steps), "--listen", site, "--backend", service)
	html := caddytest.Send(t, "GET", "http://"+site+"/", "").Expect(t, 200).Content
	for _, address := range []string{site, service} {
		if _, port, _ := net.SplitHostPort(address); !strings.Contains(html, `data-port="`+port+`"`) {
			t.Errorf("no port %s in\n%s", port, html)
		}
	}
}
