package clients

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Scripts of other origins can read an answer only if it has the fields of the CORS protocol
// (Fetch standard). In these tests, the application decides who may read what.

const app = "https://app.example"

// corsFields are those of an answer, in a fixed order.
func corsFields(h http.Header) string {
	var lines []string
	for _, name := range []string{"Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Expose-Headers"} {
		for _, line := range h["Access-Control-"+name] {
			lines = append(lines, name+": "+line)
		}
	}
	return strings.Join(lines, "; ")
}

const exposed = "ETag, Last-Modified, Retry-After, Preference-Applied, Content-Location"

// service is a backend with one document, that allows origins as policy says.
func service(policy func(h http.Header, r *http.Request)) *caddytest.Witness {
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		policy(w.Header(), r)
		switch {
		case r.Method == "OPTIONS":
			w.WriteHeader(204)
		case r.Method == "GET", r.Method == "HEAD":
			_, _ = fmt.Fprint(w, "doc")
		default:
			w.WriteHeader(204)
		}
	}}
}

// reflect allows the app, with credentials.
func reflect(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	if r.Header.Get("Origin") != app {
		return
	}
	h.Set("Access-Control-Allow-Origin", app)
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == "OPTIONS" {
		h.Set("Access-Control-Allow-Methods", "PUT, PATCH")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
	}
}

func allowAll(h http.Header, _ *http.Request) { h.Set("Access-Control-Allow-Origin", "*") }

// TestCrossOriginRefusals: an origin that may read what the backend answers may also read the
// refusal in its place, whether or not the backend has said so before.
func TestCrossOriginRefusals(t *testing.T) {
	t.Parallel()
	reflected := "Allow-Origin: " + app + "; Allow-Credentials: true; Expose-Headers: " + exposed
	for _, known := range []bool{true, false} {
		for _, tt := range refusals {
			for _, p := range []struct {
				name   string
				policy func(http.Header, *http.Request)
				origin string
				want   string
			}{
				{"its origin", reflect, app, reflected},
				{"every origin", allowAll, app, "Allow-Origin: *; Expose-Headers: " + exposed},
				{"a different origin", reflect, "https://other.example", ""},
				{"no origin", func(http.Header, *http.Request) {}, app, ""},
				{"not a script", reflect, "", ""},
			} {
				for _, errors := range []string{"", "errors caddy"} {
					t.Run(fmt.Sprint(tt.name, "/", p.name, "/known: ", known, " ", errors), func(t *testing.T) {
						t.Parallel()
						url := caddytest.Site(t, tt.options+"\n"+errors, service(p.policy)) + "/doc"
						var fields []string
						if p.origin != "" {
							fields = append(fields, "Origin", p.origin)
						}
						if known {
							caddytest.Send(t, "GET", url, "", fields...).Expect(t, 200)
						}
						for _, line := range tt.fields {
							name, value, _ := strings.Cut(line, ":")
							fields = append(fields, name, strings.TrimSpace(value))
						}
						for range 2 {
							a := caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, tt.status)
							if got := corsFields(a.Header); got != p.want {
								t.Errorf("got %s\nwant %s", got, p.want)
							}
							if vary := slices.Contains(a.Header["Vary"], "Origin"); vary != strings.Contains(p.want, app) {
								t.Errorf("Vary: %q", a.Header["Vary"])
							}
						}
					})
				}
			}
		}
	}
}

// TestCrossOriginStanding: what stands for an answer of the backend has its fields, once.
func TestCrossOriginStanding(t *testing.T) {
	t.Parallel()
	url := caddytest.Site(t, "replay\nwrite_etag always", service(reflect)) + "/doc"
	want := "Allow-Origin: " + app + "; Allow-Credentials: true; Expose-Headers: " + exposed
	tag := caddytest.Send(t, "GET", url, "", "Origin", app).Tag(t)
	for _, tt := range []struct {
		name, method string
		status       int
		fields       []string
	}{
		{"200", "GET", 200, nil},
		{"HEAD", "HEAD", 200, nil},
		{"304", "GET", 304, []string{"If-None-Match", tag}},
		{"412 on GET", "GET", 412, []string{"If-Match", `"old"`}},
		{"206", "GET", 206, []string{"If-Match", tag, "Range", "bytes=0-1"}},
		{"412 with the representation", "PUT", 412, []string{"If-Match", `"old"`, "Prefer", "return=representation"}},
		{"204", "PUT", 204, []string{"If-Match", tag}},
		{"204 again, without the backend", "PUT", 204, []string{"If-Match", tag}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := caddytest.Send(t, tt.method, url, "", append(tt.fields, "Origin", app)...).Expect(t, tt.status)
			if got := corsFields(a.Header); got != want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestCrossOriginOfCaddy: Caddy's directive header may allow origins in place of the backend,
// in front of the handler or behind it.
func TestCrossOriginOfCaddy(t *testing.T) {
	t.Parallel()
	const one, other = "header Access-Control-Allow-Origin " + app, "preconditions\n"
	for name, directives := range map[string]string{
		"in front of it":              one + "\n" + other,
		"behind it":                   other + one,
		"in front of it, by default":  "header ?Access-Control-Allow-Origin " + app + "\n" + other,
		"in front of it, at the end":  "header >Access-Control-Allow-Origin " + app + "\n" + other,
		"in front of it, and behind":  one + "\n" + other + "header >Access-Control-Allow-Origin " + app,
		"in front of it, and default": "header ?Access-Control-Allow-Origin " + app + "\n" + one + "\n" + other,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := service(func(http.Header, *http.Request) {})
			url := caddytest.AnyHost(t, "route {\n"+directives+"\nreverse_proxy "+caddytest.Serve(t, backend)+"\n}") + "/doc"
			a := caddytest.Send(t, "PUT", url, "x", "Origin", app, "If-Match", `"old"`).Expect(t, 412)
			if got := a.Header["Access-Control-Allow-Origin"]; !slices.Equal(got, []string{app}) {
				t.Errorf("got %q", got)
			}
			caddytest.Send(t, "GET", url, "", "Origin", app).Expect(t, 200)
			a = caddytest.Send(t, "PUT", url, "x", "Origin", app, "If-Match", `"old"`).Expect(t, 412)
			if got := a.Header["Access-Control-Allow-Origin"]; !slices.Equal(got, []string{app}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestCrossOriginOfCaddyAlone: a site whose application knows nothing of other origins lets a
// page in with the directives that the documentation names.
func TestCrossOriginOfCaddyAlone(t *testing.T) {
	t.Parallel()
	url := caddytest.AnyHost(t, `
		header {
			Access-Control-Allow-Origin `+app+`
			Access-Control-Allow-Methods "GET, PUT, DELETE"
			Access-Control-Allow-Headers "Content-Type"
		}
		@preflight {
			method OPTIONS
			header Access-Control-Request-Method *
		}
		respond @preflight 204
		preconditions
		reverse_proxy `+caddytest.Serve(t, caddytest.Page("doc"))) + "/doc"
	a := caddytest.Send(t, "OPTIONS", url, "", "Origin", app, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,if-match").Expect(t, 204)
	if got := a.Header.Get("Access-Control-Allow-Headers"); got != "Content-Type, If-Match" {
		t.Errorf("the preflight allows %q", got)
	}
	caddytest.Send(t, "GET", url, "", "Origin", app).Tag(t)
	a = caddytest.Send(t, "PUT", url, "x", "Origin", app, "If-Match", `"old"`).Expect(t, 412)
	want := "Allow-Origin: " + app + "; Allow-Methods: GET, PUT, DELETE; Allow-Headers: Content-Type; Expose-Headers: " + exposed
	if got := corsFields(a.Header); got != want {
		t.Errorf("got %s", got)
	}
}

// TestCrossOriginQuestion: what isn't known, the handler asks as a browser would, without
// credentials, and once.
func TestCrossOriginQuestion(t *testing.T) {
	t.Parallel()
	backend := service(reflect)
	base := caddytest.Site(t, "require", backend)
	put := func(path string, fields ...string) {
		t.Helper()
		caddytest.Send(t, "PUT", base+path, "{}", append(fields, "Content-Type", "application/json", "Cookie", "a=b", "Authorization", "Bearer x", "X-Api-Key", "x")...).Expect(t, 428)
	}
	put("/a", "Origin", app, "Prefer", "wait=1")
	asked := backend.Last(t, "OPTIONS")
	for name, want := range map[string]string{
		"Origin": app, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,content-type,prefer",
		"Cookie": "", "Authorization": "", "X-Api-Key": "", "Content-Type": "", "Prefer": "",
	} {
		if got := asked.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	questions := func(f func()) int { before := len(backend.All()); f(); return len(backend.All()) - before }
	for _, tt := range []struct {
		name   string
		path   string
		fields []string
		want   int
	}{
		{"the same again", "/a", []string{"Origin", app}, 0},
		{"a different resource", "/b", []string{"Origin", app}, 1},
		{"a different spelling, which may be a different resource", "/B", []string{"Origin", app}, 1},
		{"a different query, likewise", "/a?x", []string{"Origin", app}, 1},
		{"a different origin", "/a", []string{"Origin", "https://other.example"}, 1},
		{"that origin again, which isn't allowed", "/a", []string{"Origin", "https://other.example"}, 0},
		{"no script", "/c", nil, 0},
		{"a script of this origin", "/c", []string{"Origin", base}, 0},
		{"a script of this origin, as the browser says", "/c", []string{"Origin", app, "Sec-Fetch-Site", "same-origin"}, 0},
		{"an opaque origin", "/c", []string{"Origin", "null"}, 1},
		{"no origin", "/c", []string{"Origin", app + ", " + app}, 0},
	} {
		if got := questions(func() { put(tt.path, tt.fields...) }); got != tt.want {
			t.Errorf("%s: %d questions, want %d", tt.name, got, tt.want)
		}
	}
	if got := len(backend.All("GET", "PUT")); got != 0 {
		t.Errorf("the backend got %d other requests", got)
	}
}

// TestCrossOriginOfUsers: what the backend lets a script see in the name of one user says
// nothing about another.
func TestCrossOriginOfUsers(t *testing.T) {
	t.Parallel()
	backend := service(func(h http.Header, r *http.Request) {
		if r.Header.Get("Cookie") == "user=a" {
			reflect(h, r)
		}
	})
	url := caddytest.Site(t, "", backend) + "/doc"
	for _, user := range []string{"a", "b"} {
		caddytest.Send(t, "GET", url, "", "Origin", app, "Cookie", "user="+user).Expect(t, 200)
	}
	for user, want := range map[string]string{"a": app, "b": ""} {
		a := caddytest.Send(t, "PUT", url, "x", "Origin", app, "Cookie", "user="+user, "If-Match", `"old"`).Expect(t, 412)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: got %q, want %q", user, got, want)
		}
	}
}

// TestCrossOriginStatic: an answer that no script has asked for is good for scripts, too, if it
// allows everybody, or always the same origin.
func TestCrossOriginStatic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"this origin", []string{"Access-Control-Allow-Origin", app}, app},
		{"every origin", []string{"Access-Control-Allow-Origin", "*"}, "*"},
		{"a different origin", []string{"Access-Control-Allow-Origin", "https://other.example"}, ""},
		{"this origin, which may depend on who asks", []string{"Access-Control-Allow-Origin", app, "Vary", "Origin"}, ""},
		{"no origin", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Like many small servers, it knows no OPTIONS.
			url := caddytest.Site(t, "require", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "OPTIONS" || r.Header.Get("Origin") != "" {
					w.WriteHeader(501)
					return
				}
				for i := 0; i < len(tt.fields); i += 2 {
					w.Header().Set(tt.fields[i], tt.fields[i+1])
				}
				_, _ = fmt.Fprint(w, "doc")
			}}) + "/doc"
			caddytest.Send(t, "GET", url, "").Expect(t, 200)
			a := caddytest.Send(t, "PUT", url, "x", "Origin", app).Expect(t, 428)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCrossOriginLastWord: if the backend no longer allows an origin, refusals don't, either.
// An error says nothing, as many servers don't put the fields on errors.
func TestCrossOriginLastWord(t *testing.T) {
	t.Parallel()
	var stopped, failing atomic.Bool
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case failing.Load():
			w.WriteHeader(500)
			return
		case !stopped.Load():
			reflect(w.Header(), r)
		}
		_, _ = fmt.Fprint(w, "doc")
	}}
	url := caddytest.Site(t, "", backend) + "/doc"
	for i, tt := range []struct {
		stop, fail bool
		want       string
	}{{false, false, app}, {false, true, app}, {true, false, ""}, {false, false, app}} {
		stopped.Store(tt.stop)
		failing.Store(tt.fail)
		caddytest.Send(t, "GET", url, "", "Origin", app)
		failing.Store(false)
		a := caddytest.Send(t, "PUT", url, "x", "Origin", app, "If-Match", `"old"`).Expect(t, 412)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
			t.Errorf("%d: got %q, want %q", i, got, tt.want)
		}
		a = caddytest.Send(t, "GET", url, "", "Origin", app, "If-None-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 304)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
			t.Errorf("%d: 304: got %q, want %q", i, got, tt.want)
		}
	}
}

// TestCrossOriginReported: mode report changes no answer, and neither is the answer to a
// signed request changed.
func TestCrossOriginReported(t *testing.T) {
	t.Parallel()
	backend := service(reflect)
	reporting := caddytest.Site(t, "require\nmode report", backend) + "/doc"
	enforcing := caddytest.Site(t, "signed rfc9421", backend) + "/doc"
	const allowed = "Allow-Origin: " + app + "; Allow-Credentials: true"
	preflight := []string{"Origin", app, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "if-match"}
	for _, tt := range []struct {
		name, method, url string
		fields            []string
		want              string
	}{
		{"a read", "GET", reporting, []string{"Origin", app}, allowed},
		{"a write", "PUT", reporting, []string{"Origin", app}, allowed},
		{"a write that would be refused", "PUT", reporting, []string{"Origin", app, "If-Match", `"old"`}, allowed},
		{"a preflight", "OPTIONS", reporting, preflight, allowed + "; Allow-Methods: PUT, PATCH; Allow-Headers: Content-Type"},
		{"a signed read", "GET", enforcing, []string{"Origin", app, "Signature-Input", "sig=()", "Signature", "sig=:YQ==:"}, allowed},
		{"a signed write", "PUT", enforcing, []string{"Origin", app, "Signature-Input", "sig=()", "Signature", "sig=:YQ==:"}, allowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := caddytest.Send(t, tt.method, tt.url, "", tt.fields...).ExpectSuccess(t)
			if got := corsFields(a.Header); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	a := caddytest.Send(t, "PUT", enforcing, "", "Origin", app, "If-Match", `"old"`, "Signature-Input", "sig=()", "Signature", "sig=:YQ==:").Expect(t, 412)
	if got := corsFields(a.Header); got != allowed+"; Expose-Headers: "+exposed {
		t.Errorf("the refusal of a signed request: %s", got)
	}
}
