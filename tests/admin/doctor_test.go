package admin

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// advised is what the doctor says.
type advised struct {
	Findings []struct{ Asked, Found string }
	Options  []struct {
		Option, Why string
		Default     bool
	}
	Notes     []string
	Caddyfile string
}

// cell is a backend with one document, which PUT replaces.
type cell struct {
	mu      sync.Mutex
	content string
	heard   []string // methods
	// show shows the document, and save answers a PUT after it was stored.
	show func(w http.ResponseWriter, r *http.Request, content string)
	save func(w http.ResponseWriter, r *http.Request, content string)
	// prepare may refuse or change a write.
	prepare func(r *http.Request, content string) (status int, stored string)
}

func (c *cell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = append(c.heard, r.Method)
	if r.Method != http.MethodPut {
		c.show(w, r, c.content)
		return
	}
	sent, _ := io.ReadAll(r.Body)
	content := string(sent)
	if c.prepare != nil {
		status, stored := c.prepare(r, content)
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		content = stored
	}
	c.content = content
	if c.save != nil {
		c.save(w, r, content)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// now returns the document, and the methods of all requests so far. The race detector can't see
// that requests of other processes are over.
func (c *cell) now() (content string, heard []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.content, slices.Clone(c.heard)
}

// plain shows a text as it is.
func plain(w http.ResponseWriter, _ *http.Request, content string) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, content)
}

// asJSON shows content as JSON.
func asJSON(w http.ResponseWriter, _ *http.Request, content string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, content)
}

const password = "hunter2"

// patients are backends, with what the doctor must advise. Written says that it may write.
var patients = []struct {
	name    string
	backend *cell
	written bool
	options []string // that aren't defaults
	finds   string
}{
	{name: "text without validators", backend: &cell{show: plain}, finds: "no ETag"},
	{name: "a strong and stable tag", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("ETag", fmt.Sprintf("%q", content))
		plain(w, r, content)
	}}, finds: "a strong ETag"},
	{name: "a tag that differs on every read", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("ETag", fmt.Sprintf("%q", rand.Text()))
		plain(w, r, content)
	}}, options: []string{"etag body"}, finds: "a strong ETag that differs on every read"},
	{name: "JSON with a clock and a version", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		asJSON(w, r, fmt.Sprintf(`{"now":%q,"meta":{"versionId":7},"text":%q}`, rand.Text(), content))
	}}, options: []string{"etag json /meta/versionId"}, finds: "different content"},
	{name: "JSON with a clock", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		asJSON(w, r, fmt.Sprintf(`{"now":%q,"text":%q,"title":"x"}`, rand.Text(), content))
	}}, options: []string{"etag json /text /title"}, finds: "different content"},
	{name: "a page with a token and a version in a field", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("X-Version", "3")
		plain(w, r, content+rand.Text())
	}}, options: []string{"etag header X-Version"}, finds: "different content"},
	{name: "a page with a token", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		plain(w, r, content+rand.Text())
	}}, options: []string{"etag version"}, finds: "different content"},
	{name: "long content with a date", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("Last-Modified", "Mon, 03 Nov 2025 12:00:00 GMT")
		w.Header().Set("Content-Length", fmt.Sprint(3<<20))
		plain(w, r, strings.Repeat("x", 3<<20))
	}}, options: []string{"etag modified"}, finds: "3145728 bytes"},
	{name: "long content without anything", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, _ string) {
		plain(w, r, strings.Repeat("x", 3<<20))
	}}, options: []string{"buffer 4MiB"}, finds: "3145728 bytes"},
	{name: "negotiation without Vary", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		if r.Header.Get("Accept") == "application/json" {
			asJSON(w, r, `{"text":"x"}`)
			return
		}
		plain(w, r, content)
	}}, options: []string{"vary Accept"}, finds: "something else, and Vary doesn't say so"},
	{name: "negotiation with Vary", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("Vary", "Accept-Language")
		plain(w, r, content+r.Header.Get("Accept-Language"))
	}}, finds: "something else, and Vary says so"},
	{name: "for those with a password", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		if !strings.Contains(r.Header.Get("Authorization"), password) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		plain(w, r, content)
	}}, options: []string{"verify all"}, finds: "401"},
	{name: "HEAD isn't known", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		plain(w, r, content)
	}}, finds: "405"},
	{name: "stores what it is sent", backend: &cell{show: plain}, written: true, finds: "it doesn't check"},
	{name: "answers with what it stores", backend: &cell{show: asJSON, save: asJSON}, written: true, options: []string{"write_etag answer"}, finds: "it doesn't check"},
	{name: "adds to what it is sent", backend: &cell{show: asJSON, prepare: func(_ *http.Request, content string) (int, string) {
		return 0, content + " "
	}}, written: true, options: []string{"write_etag always"}, finds: "something else than was sent"},
	{name: "checks itself", backend: &cell{show: func(w http.ResponseWriter, r *http.Request, content string) {
		w.Header().Set("ETag", `"1"`)
		plain(w, r, content)
	}, prepare: func(r *http.Request, content string) (int, string) {
		switch tag := r.Header.Get("If-Match"); tag {
		case `"1"`:
			return 0, content
		case "":
			return http.StatusPreconditionRequired, ""
		default:
			return http.StatusPreconditionFailed, ""
		}
	}}, written: true, finds: "it checks itself"},
}

// The doctor advises what fits each of these backends. With its advice, the handler gives every
// read the same tag, and a write with that tag succeeds. Without --write it only reads. It never
// tells a credential.
func TestDoctor(t *testing.T) {
	for _, tt := range patients {
		t.Run(tt.name, func(t *testing.T) {
			tt.backend.content = `{"text":"one"}`
			backend := caddytest.Serve(t, tt.backend)
			args := []string{"doctor", "http://" + backend + "/docs/a?key=1", "-H", "Authorization: Bearer " + password, "-H", "Cookie: a=" + password}
			if tt.written {
				args = append(args, "--write")
			}
			out := told(t, append(args, "--json")...)
			described := told(t, args...)
			if strings.Contains(out+described, password) {
				t.Errorf("it tells the password:\n%s\n%s", out, described)
			}
			var got advised
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var options []string
			for _, o := range got.Options {
				if o.Why == "" || !strings.Contains(described, o.Option) {
					t.Errorf("%+v in\n%s", o, described)
				}
				if !o.Default {
					options = append(options, o.Option)
				}
			}
			if !slices.Equal(options, tt.options) {
				t.Errorf("advised %q, want %q\n%s", options, tt.options, described)
			}
			if !strings.Contains(described, tt.finds) || !strings.HasSuffix(described, got.Caddyfile) {
				t.Errorf("no %q in\n%s", tt.finds, described)
			}
			now, heard := tt.backend.now()
			if slices.Contains(heard, "PUT") != tt.written {
				t.Errorf("the backend got %q", heard)
			}
			if now = strings.TrimSpace(now); now != `{"text":"one"}` {
				t.Errorf("the document has become %q", now)
			}

			caddytest.Adapt(t, got.Caddyfile)
			if !strings.Contains(got.Caddyfile, "reverse_proxy "+backend) {
				t.Errorf("got\n%s", got.Caddyfile)
			}
			site := caddytest.Site(t, strings.Join(options, "\n"), tt.backend) + "/docs/a"
			if tt.options != nil && tt.options[0] == "etag modified" {
				return // nobody knows of a date what happened within its second
			}
			read := func() string { return caddytest.Send(t, "GET", site, "", "Authorization", password).Tag(t) }
			tag := read()
			if again := read(); again != tag {
				t.Errorf("the tag was %s, and is %s", tag, again)
			}
			caddytest.Send(t, "PUT", site, "two", "If-Match", tag, "Authorization", password).ExpectSuccess(t)
		})
	}
}

// The doctor refuses what it can't do, and says what to write instead.
func TestDoctorRefuses(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	backend := "http://" + caddytest.Serve(t, docs)
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"docs.example.com"}, "must begin with http"},
		{[]string{backend + "/docs/none"}, "GET answers 404"},
		{[]string{backend + "/docs/a", backend + "/docs/a"}, "give one URL"},
		{[]string{backend + "/docs/a", "--content", "{n}"}, "--content needs --race"},
		{[]string{backend + "/docs/a", "--race", "--write"}, "can't be combined"},
		{[]string{backend + "/docs/a", "-H", "secret"}, "-H must be a field"},
		{[]string{"http://user:" + password + "@" + caddytest.Address(t) + "/"}, "connection refused"},
		{[]string{backend + "/docs/a", "--race"}, "has no ETag"},
		{nil, "requires at least 1 arg"},
	} {
		out, status := runCommand(t, append([]string{"doctor"}, tt.args...)...)
		if status != 1 || !strings.Contains(out, tt.says) || strings.Contains(out, password) {
			t.Errorf("%v: exit code %d\n%s", tt.args, status, out)
		}
	}
}

// doctor --race tells a deployment that lets one writer win from one that doesn't, and puts the
// content back.
func TestDoctorRace(t *testing.T) {
	check := func(t *testing.T, wantStatus int, says string, backend func() string, args ...string) {
		t.Helper()
		before := backend()
		out, status := runCommand(t, append([]string{"doctor", "--race"}, args...)...)
		if status != wantStatus || !strings.Contains(out, says) || !strings.Contains(out, "was put back") && !strings.Contains(out, `"restored":true`) {
			t.Errorf("exit code %d\n%s", status, out)
		}
		if after := backend(); after != before {
			t.Errorf("the content has become %q", after)
		}
	}
	t.Run("with the handler", func(t *testing.T) {
		caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
			docs := legacydocs.New(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			var urls []string
			for _, node := range deploy(t, "", docs) {
				urls = append(urls, node+"/docs/a")
			}
			content := func() string { return caddytest.Bypass(t, docs, "GET", "/docs/a", "") }
			check(t, 0, "PASSED: exactly one of 32 writers won", content, append(urls, "--content", "writer {n}")...)
			if lost := len(caddytest.WritesOf(docs, "/docs/a")); lost != 3 {
				t.Errorf("the backend applied %d writes, and should have the first, the winner's and the last", lost)
			}
		})
	})
	for name, show := range map[string]func(http.ResponseWriter, *http.Request, string){"text": plain, "JSON": asJSON} {
		document := &cell{content: `{"text":"one"}`, show: func(w http.ResponseWriter, r *http.Request, content string) {
			w.Header().Set("ETag", fmt.Sprintf("%q", legacydocs.Digest([]byte(content))))
			show(w, r, content)
		}}
		now := func() string {
			text, _ := document.now()
			return text
		}
		t.Run("without it, "+name, func(t *testing.T) {
			check(t, 1, "FAILED: 32 of 32 writers with one tag won: 31 updates were lost. If the site", now, "http://"+caddytest.Serve(t, document)+"/docs/a")
		})
		t.Run("with it, "+name, func(t *testing.T) {
			check(t, 0, `"won":1,"lost_updates":0,`, now, caddytest.OneNode(t, "", document).First()+"/docs/a", "--json")
		})
	}
}
