package origin

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// restless is a backend whose responses change the session of whoever asks: a write passes
// only with what the last response gave out.
type restless struct {
	renew func(b *restless, w http.ResponseWriter, r *http.Request)
	valid func(b *restless, r *http.Request) bool

	mu      sync.Mutex
	n       int // the sessions that were given out
	content map[string]string
}

func (b *restless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Method != http.MethodGet && !b.valid(b, r) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	b.n++
	b.renew(b, w, r)
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, "of "+r.URL.Path+b.content[r.URL.Path])
		return
	}
	if b.content == nil {
		b.content = make(map[string]string)
	}
	b.content[r.URL.Path] = string(sent)
	w.WriteHeader(http.StatusNoContent)
}

func cookieIs(r *http.Request, name, value string) bool {
	c, err := r.Cookie(name)
	return err == nil && c.Value == value
}

// renewals are the ways in which applications renew what a write needs.
var renewals = map[string]*restless{
	"a token in a field": { // older Connect
		renew: func(b *restless, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-CSRF-Token", fmt.Sprint("t", b.n))
		},
		valid: func(b *restless, r *http.Request) bool { return r.Header.Get("X-CSRF-Token") == fmt.Sprint("t", b.n) },
	},
	"an access token": { // devise_token_auth
		renew: func(b *restless, w http.ResponseWriter, _ *http.Request) {
			for name, value := range map[string]string{"access-token": fmt.Sprint("t", b.n), "token-type": "Bearer", "client": "c", "uid": "ann", "expiry": fmt.Sprint(b.n)} {
				w.Header().Set(name, value)
			}
		},
		valid: func(b *restless, r *http.Request) bool {
			return r.Header.Get("access-token") == fmt.Sprint("t", b.n) && r.Header.Get("client") == "c"
		},
	},
	"a session cookie": {
		renew: func(b *restless, w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Set-Cookie", fmt.Sprintf("sid=s%d; Path=/; HttpOnly", b.n))
			w.Header().Add("Set-Cookie", "seen=yes; Path=/elsewhere")
		},
		valid: func(b *restless, r *http.Request) bool { return cookieIs(r, "sid", fmt.Sprint("s", b.n)) },
	},
	"a cookie that a script repeats": { // Angular, Laravel
		renew: func(b *restless, w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Set-Cookie", fmt.Sprintf("XSRF-TOKEN=a+%d%%3D; Path=/", b.n))
		},
		valid: func(b *restless, r *http.Request) bool {
			return cookieIs(r, "XSRF-TOKEN", fmt.Sprintf("a+%d%%3D", b.n)) && r.Header.Get("X-XSRF-TOKEN") == fmt.Sprintf("a+%d=", b.n)
		},
	},
	"a cookie of the directory": { // as a browser takes it from the URL
		renew: func(b *restless, w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Set-Cookie", fmt.Sprintf("sid=s%d", b.n))
		},
		valid: func(b *restless, r *http.Request) bool { return cookieIs(r, "sid", fmt.Sprint("s", b.n)) },
	},
}

// page is a browser with a page of the application open: it keeps cookies, and its script
// repeats the tokens of the last response.
type page struct {
	client *http.Client
	tokens http.Header
}

func newPage(t *testing.T) *page {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &page{&http.Client{Jar: jar, Transport: caddytest.Client.Transport}, make(http.Header)}
}

func (p *page) send(t *testing.T, method, target, content string, fields ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, lines := range p.tokens {
		r.Header[name] = lines
	}
	for _, c := range p.client.Jar.Cookies(r.URL) {
		if c.Name == "XSRF-TOKEN" {
			value, err := url.PathUnescape(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-XSRF-TOKEN", value)
		}
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Csrf-Token", "Access-Token", "Client", "Uid"} {
		if lines := a.Header[name]; lines != nil {
			p.tokens[name] = lines
		}
	}
	return a
}

// A user whose application renews the session on every response stays logged in, whatever
// becomes of the writes: the handler's own GETs are the user's to the application.
func TestRestlessSession(t *testing.T) {
	for name, b := range renewals {
		for _, options := range []string{
			"", "verify all", "verify never", "write_etag off", "write_etag always\nreplay", "guards /docs/*/publish /docs/*", "mode report",
		} {
			t.Run(name+" "+caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := &restless{renew: b.renew, valid: b.valid}
				target := caddytest.OneNodeAt(t, "handle_path /app/* {\n"+caddytest.Guarded("etag body\n"+options, caddytest.Serve(t, b))+"\n}").First() + "/app/docs/plan"
				p := newPage(t)
				expect := func(want int, method, target string, fields ...string) *http.Response {
					t.Helper()
					a := p.send(t, method, target, "x", fields...)
					if a.StatusCode != want && options != "mode report" || a.StatusCode == 403 {
						t.Fatalf("%s %s %q: %d, want %d", method, target, fields, a.StatusCode, want)
					}
					return a
				}
				for range 2 {
					tag := expect(200, "GET", target).Header.Get("ETag")
					expect(204, "PUT", target, "If-Match", tag)
					expect(412, "PUT", target, "If-Match", `"stale"`)
					expect(412, "PUT", target, "If-Match", `"stale"`, "Prefer", "return=representation")
					tag = expect(200, "GET", target).Header.Get("ETag")
					expect(204, "PATCH", target, "If-Match", tag)
					if name != "a cookie of the directory" { // that is a different directory
						expect(204, "POST", target+"/publish", "If-Match", "*")
					}
					expect(204, "PUT", target) // without a condition
				}
			})
		}
	}
}

// What a client uses to say which state it has seen isn't renewed for it. One client's
// session never gets to another, and what a GET of the client is answered is untouched.
func TestSessionStaysTheClients(t *testing.T) {
	t.Parallel()
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "sid="+r.Header.Get("X-User")+"-"+r.Method+"; Path=/")
		for _, name := range []string{"X-Version", "X-Revision", "Lock-Token", "X-Etag", "Sync-Token"} {
			w.Header().Set(name, "2")
		}
		_, _ = io.WriteString(w, "content")
	}}
	url := caddytest.OneNode(t, "", backend).First() + "/doc"
	tag := caddytest.Send(t, "GET", url, "", "X-User", "ann").Tag(t)
	for _, user := range []string{"ann", "bob"} {
		a := caddytest.Send(t, "PUT", url, "x", "If-Match", tag, "X-User", user, "Cookie", "sid=1; other=1",
			"X-Version", "1", "X-Revision", "1", "Lock-Token", "1", "X-Etag", "1", "Sync-Token", "1")
		h := backend.Last(t, "PUT").Header
		for _, name := range []string{"X-Version", "X-Revision", "Lock-Token", "X-Etag", "Sync-Token"} {
			if h.Get(name) != "1" {
				t.Errorf("%s became %s", name, h.Get(name))
			}
		}
		if got, want := h.Get("Cookie"), "sid="+user+"-GET; other=1"; got != want {
			t.Errorf("cookies %s, want %s", got, want)
		}
		for _, cookie := range a.Header["Set-Cookie"] {
			if !strings.HasPrefix(cookie, "sid="+user+"-") {
				t.Errorf("%s got %s", user, cookie)
			}
		}
		if a := caddytest.Send(t, "GET", url, "", "X-User", user, "If-None-Match", `"x"`); len(a.Header["Set-Cookie"]) != 1 {
			t.Errorf("a GET got %q", a.Header["Set-Cookie"])
		}
	}
}

// A probe may end the session. Then the client gets the refusal and the new cookies, as if
// it had sent the GET itself.
func TestSessionEndedByProbe(t *testing.T) {
	t.Parallel()
	ended := false
	var b caddytest.Witness
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if ended {
			w.Header().Add("Set-Cookie", "sid=; Path=/; Max-Age=0")
			w.Header().Add("Set-Cookie", "csrf=new; Path=/")
			w.Header().Set("WWW-Authenticate", "Cookie")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "content")
	}
	url := caddytest.OneNode(t, "", &b).First() + "/doc"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	ended = true
	a := caddytest.Send(t, "PUT", url, "x", "If-Match", tag, "Cookie", "sid=1").Expect(t, 401)
	if got := a.Header["Set-Cookie"]; len(got) != 2 || a.Header.Get("WWW-Authenticate") != "Cookie" {
		t.Errorf("got %v", a.Header)
	}
	b.Unwritten(t)
}
