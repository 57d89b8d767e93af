package backends

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// In these tests, the question is what an answer says about a write: whether the backend
// may go on with it, so that others must wait.

// patientClaims are options with which a write that may go on keeps others out for as long
// as a test lasts, and others find that out at once.
const patientClaims = "lease 1h\nretention 2h\nwait 1ms\n"

// talker is a backend whose documents nobody can write. It answers a write with the
// status of the field X-Say, and with the fields that begin with X-Field-.
type talker struct {
	changed sync.Map // the paths of the documents that have changed
	paths   atomic.Int32
}

func (b *talker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		_, changed := b.changed.Load(r.URL.Path)
		_, _ = fmt.Fprintf(w, "%s, changed: %t", r.URL.Path, changed)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	for name, lines := range r.Header {
		if field, ok := strings.CutPrefix(name, "X-Field-"); ok {
			w.Header()[field] = lines
		}
		if strings.HasPrefix(name, "Preconditions-") {
			w.Header()[name] = lines // it repeats what it gets
		}
	}
	status, _ := strconv.Atoi(r.Header.Get("X-Say"))
	w.WriteHeader(status)
}

// path returns the path of a document of its own.
func (b *talker) path() string { return fmt.Sprint("/docs/", b.paths.Add(1)) }

// fateOf sends a write of a document of its own, and returns the answer and whether the
// write keeps others out.
func (b *talker) fateOf(t *testing.T, site, method string, conditional bool, fields ...string) (a caddytest.Answer, held bool) {
	t.Helper()
	path := b.path()
	tag := caddytest.Send(t, "GET", site+path, "").Expect(t, 200).Tag(t)
	content := "new"
	if method == "DELETE" {
		content = ""
	}
	if conditional {
		fields = append(fields, "If-Match", tag)
	}
	a = caddytest.Send(t, method, site+path, content, fields...)
	next := caddytest.Send(t, "PUT", site+path, "next", "If-Match", tag, "X-Say", "204")
	return a, next.StatusCode == 503 && next.Header.Get("X-Outcome") == "conflict"
}

// TestUnansweredStatuses: the option unanswered says after which answers others wait, and
// the client gets these as they are.
func TestUnansweredStatuses(t *testing.T) {
	t.Parallel()
	b := new(talker)
	backend := caddytest.Serve(t, b)
	statuses := []int{200, 202, 204, 207, 303, 400, 404, 408, 409, 425, 429, 499, 500, 501, 502, 503, 504, 507, 520, 524, 529, 530, 531, 598, 599, 999}
	for _, tt := range []struct {
		option string
		held   []int
	}{
		{"", []int{202, 499, 502, 503, 504, 520, 524, 529, 530, 598, 599, 999}},
		{"unanswered none", []int{499, 999}},
		{"unanswered 503", []int{499, 503, 999}},
		{"unanswered 207 409 524", []int{207, 409, 499, 524, 999}},
		{"unanswered 5xx", []int{499, 500, 501, 502, 503, 504, 507, 520, 524, 529, 530, 531, 598, 599, 999}},
		{"unanswered 202 4xx", []int{202, 400, 404, 408, 409, 425, 429, 499, 999}},
	} {
		for more, methods := range map[string][]string{"": {"PUT", "PATCH", "DELETE"}, "verify never": {"PUT"}, "write_etag always\nreplay": {"PUT"}} {
			t.Run(caddytest.Title(tt.option+"\n"+more), func(t *testing.T) {
				t.Parallel()
				site := caddytest.OneNodeAt(t, caddytest.Guarded(patientClaims+tt.option+"\n"+more, backend)).First()
				for _, status := range statuses {
					for _, method := range methods {
						for _, conditional := range []bool{true, false} {
							t.Run(fmt.Sprint(method, " ", status, " ", conditional), func(t *testing.T) {
								want := slices.Contains(tt.held, status)
								a, held := b.fateOf(t, site, method, conditional, "X-Say", fmt.Sprint(status))
								if a.StatusCode != status || held != want {
									t.Errorf("got %d, held %t, want %t", a.StatusCode, held, want)
								}
								if status == 202 && a.Header.Get("ETag") != "" {
									t.Errorf("the answer has the tag %s", a.Header.Get("ETag"))
								}
							})
						}
					}
				}
			})
		}
	}
}

// TestSettled: a backend that is done says so. Nobody else can, and the client never sees it.
func TestSettled(t *testing.T) {
	t.Parallel()
	b := new(talker)
	const field, signature = "Preconditions-Settled", "AWS4-HMAC-SHA256 Credential=x"
	for _, mode := range []string{"", "mode report\n"} {
		site := caddytest.OneNodeAt(t, caddytest.Guarded(patientClaims+"verify never\nsigned aws\n"+mode, caddytest.Serve(t, b))).First()
		for _, tt := range []struct {
			name   string
			status int
			fields []string
			held   bool
		}{
			{"503", 503, []string{"X-Field-" + field, "?1"}, false},
			{"202", 202, []string{"X-Field-" + field, "?1"}, false},
			{"599", 599, []string{"X-Field-" + field, "?1"}, false},
			{"204", 204, []string{"X-Field-" + field, "?1"}, false},
			{"412", 412, []string{"X-Field-" + field, "?1"}, false},
			{"another value", 503, []string{"X-Field-" + field, "?0"}, true},
			{"no boolean", 503, []string{"X-Field-" + field, "1"}, true},
			{"an echo", 503, []string{field, "?1"}, true},
			{"an echo in lower case", 503, []string{strings.ToLower(field), "?1"}, true},
			{"a signed echo", 503, []string{field, "?1", "Authorization", signature}, true},
			{"an answer to a signed request", 503, []string{"X-Field-" + field, "?1", "Authorization", signature}, false},
		} {
			t.Run(mode+tt.name, func(t *testing.T) {
				signed := slices.Contains(tt.fields, signature) // its condition couldn't be verified
				a, held := b.fateOf(t, site, "PUT", !signed, append(tt.fields, "X-Say", fmt.Sprint(tt.status))...)
				if a.Header.Get("Via") == "" {
					t.Errorf("the backend didn't answer: %s", a.Content)
				}
				if a.StatusCode != tt.status || held != (tt.held && mode == "") {
					t.Errorf("got %d, held %t", a.StatusCode, held)
				}
				if lines := a.Header.Values(field); len(lines) > 0 {
					t.Errorf("the client got %q", lines)
				}
			})
		}
	}
}

// TestHiddenAnswers: what the backend said counts, whatever the client is told.
func TestHiddenAnswers(t *testing.T) {
	t.Parallel()
	b := new(talker)
	backend := caddytest.Serve(t, b)
	const matcher = "@bad status 4xx 5xx\n"
	for name, directives := range map[string]string{
		"handle_response":           "reverse_proxy %s {\n" + matcher + "handle_response @bad {\nrespond 404\n}\n}",
		"handle_response and error": "reverse_proxy %s {\n" + matcher + "handle_response @bad {\nerror 404\n}\n}",
		"replace_status":            "reverse_proxy %s {\n" + matcher + "replace_status @bad 404\n}",
		"copy_response":             "reverse_proxy %s {\n" + matcher + "handle_response @bad {\ncopy_response 404\n}\n}",
		"intercept":                 "intercept {\n" + matcher + "handle_response @bad {\nrespond 404\n}\n}\nreverse_proxy %s",
		"intercept and error":       "intercept {\n" + matcher + "handle_response @bad {\nerror 404\n}\n}\nreverse_proxy %s",
		"intercept, replace_status": "intercept {\n" + matcher + "replace_status @bad 404\n}\nreverse_proxy %s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := caddytest.OneNodeAt(t, "header >X-Outcome {http.preconditions.outcome}\nroute {\npreconditions {\nlag 0s\nverify never\n"+
				patientClaims+"}\n"+fmt.Sprintf(directives, backend)+"\n}").First()
			for _, status := range []int{403, 500, 503, 504, 524} {
				for _, settled := range []string{"?0", "?1"} {
					t.Run(fmt.Sprint(status, settled), func(t *testing.T) {
						a, held := b.fateOf(t, site, "PUT", true, "X-Say", fmt.Sprint(status), "X-Field-Preconditions-Settled", settled)
						if want := status > 500 && settled == "?0"; a.StatusCode != 404 || held != want {
							t.Errorf("got %d, held %t, want %t", a.StatusCode, held, want)
						}
						if lines := a.Header.Values("Preconditions-Settled"); len(lines) > 0 {
							t.Errorf("the client got %q", lines)
						}
					})
				}
			}
			t.Run("nothing is believed after a 500", func(t *testing.T) {
				path := b.path()
				tag := caddytest.Send(t, "GET", site+path, "").Tag(t)
				caddytest.Send(t, "PUT", site+path, "new", "If-Match", tag, "X-Say", "500").Expect(t, 404)
				b.changed.Store(path, true)
				caddytest.Send(t, "PUT", site+path, "lost", "If-Match", tag, "X-Say", "204").Expect(t, 412)
			})
		})
	}
}

// TestAuthServices: what forward_auth sends is not the write.
func TestAuthServices(t *testing.T) {
	t.Parallel()
	b := new(talker)
	auth := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth") == "drop" && r.Header.Get("X-Forwarded-Method") != "GET" {
			panic(http.ErrAbortHandler)
		}
		if status, err := strconv.Atoi(r.Header.Get("X-Auth")); err == nil && r.Header.Get("X-Forwarded-Method") != "GET" {
			w.WriteHeader(status)
		}
	}))
	backend := caddytest.Serve(t, b)
	// A GET can't be asked for where nothing answers, so writes are told apart here.
	site := func(t *testing.T, auth, backend string) string {
		return caddytest.OneNodeAt(t, fmt.Sprintf(`header >X-Outcome {http.preconditions.outcome}
			route {
				preconditions {
					lag 0s
					verify never
					%s
				}
				@write not method GET
				@dead header X-Dead yes
				forward_auth @write %s {
					uri /auth
					%s
				}
				reverse_proxy @dead %s
				reverse_proxy %s
			}`, patientClaims, auth, caddytest.DialsFirst, caddytest.Address(t), backend)).First()
	}
	works, down := site(t, auth, backend), site(t, caddytest.Address(t), backend)
	for _, tt := range []struct {
		name   string
		site   string
		fields []string
		status int
		held   bool // after a DELETE also if the service doesn't say no: it could be the write
	}{
		{"it agrees", works, []string{"X-Say", "204"}, 204, false},
		{"it agrees, the backend refuses", works, []string{"X-Say", "409"}, 409, false},
		{"it agrees, the backend may go on", works, []string{"X-Say", "503"}, 503, true},
		{"it agrees, the backend is down", works, []string{"X-Dead", "yes"}, 502, false},
		{"it refuses", works, []string{"X-Auth", "401"}, 401, false},
		{"it leads elsewhere", works, []string{"X-Auth", "302"}, 302, false},
		{"it fails", works, []string{"X-Auth", "500"}, 500, false},
		{"it is overloaded", works, []string{"X-Auth", "503"}, 503, false},
		{"a gateway answers for it", works, []string{"X-Auth", "524"}, 524, false},
		{"it doesn't answer", works, []string{"X-Auth", "drop"}, 502, false},
		{"it is down", down, []string{"X-Say", "204"}, 502, false},
		// What a client sends proves nothing.
		{"the client forges a question", works, []string{"X-Forwarded-Method", "PUT", "X-Auth", "503"}, 503, true},
		{"the client forges a question to the backend", works, []string{"X-Forwarded-Method", "PUT", "X-Say", "503"}, 503, true},
	} {
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			t.Run(method+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				a, held := b.fateOf(t, tt.site, method, true, tt.fields...)
				unclear := method == "DELETE" && slices.Contains([]string{"503", "524", "drop"}, tt.fields[1])
				if a.StatusCode != tt.status || held != (tt.held || unclear) {
					t.Errorf("got %d, held %t", a.StatusCode, held)
				}
			})
		}
	}
}

// TestProxiesInARow: a proxy that asks with the method of the write, or whose request could
// be the write, may have done it.
func TestProxiesInARow(t *testing.T) {
	t.Parallel()
	b := new(talker)
	backend := caddytest.Serve(t, b)
	dead := caddytest.Address(t)
	for _, tt := range []struct {
		name, first string
		status      int
		held        bool
	}{
		{"the first gets the write", "", 502, false}, // and says that it is done
		{"the first may go on", "header_up X-Say 503\n", 502, true},
		{"the first gets the write, and the name of its method", "header_up X-Say 503\nheader_up X-Forwarded-Method {method}\n", 502, true},
		{"the first gets a GET", "method GET\nheader_up X-Say 503\n", 502, false}, // its answer counts, which is 200
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			site := caddytest.OneNodeAt(t, fmt.Sprintf(`header >X-Outcome {http.preconditions.outcome}
				route {
					preconditions {
						lag 0s
						verify never
						%s
					}
					@write header X-Twice yes
					reverse_proxy @write %s {
						%s%s
						@any status 2xx 4xx 5xx
						handle_response @any {
							reverse_proxy %s
						}
					}
					reverse_proxy %s
				}`, patientClaims, backend, tt.first, caddytest.DialsFirst, dead, backend)).First()
			a, held := b.fateOf(t, site, "PUT", true, "X-Twice", "yes", "X-Say", "204")
			if a.StatusCode != tt.status || held != tt.held {
				t.Errorf("got %d, held %t", a.StatusCode, held)
			}
		})
	}
}

// TestAnswersOfCaddyItself: `error` ends a write. A page that Caddy shows may as well be that
// of a handler that goes on.
func TestAnswersOfCaddyItself(t *testing.T) {
	t.Parallel()
	b := new(talker)
	backend := caddytest.Serve(t, b)
	for directive, want := range map[string]bool{"error 503": false, "respond 503": true, "respond 404": false, "respond 200": false} {
		t.Run(directive, func(t *testing.T) {
			t.Parallel()
			site := caddytest.OneNodeAt(t, fmt.Sprintf("header >X-Outcome {http.preconditions.outcome}\nroute {\npreconditions {\nlag 0s\nverify never\n%s}\n"+
				"@closed header X-Closed yes\nroute @closed {\n%s\n}\nreverse_proxy %s\n}", patientClaims, directive, backend)).First()
			status, _ := strconv.Atoi(directive[len(directive)-3:])
			a, held := b.fateOf(t, site, "PUT", true, "X-Closed", "yes")
			if a.StatusCode != status || held != want {
				t.Errorf("got %d, held %t", a.StatusCode, held)
			}
		})
	}
}

// TestAnswersOverHTTP2: a backend may speak HTTP/2. It shows the method of each request, so
// the questions of forward_auth can be told from any write. Its keepalive is off for the
// reason that [caddytest.DialsFirst] gives.
func TestAnswersOverHTTP2(t *testing.T) {
	t.Parallel()
	serve := func(h http.Handler) string {
		l := caddytest.Listen(t)
		s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
		s.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(func() { _ = s.Close() })
		go s.Serve(l) //nolint:errcheck // ends with the listener
		return l.Addr().String()
	}
	b := new(talker)
	auth := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := strconv.Atoi(r.Header.Get("X-Auth")); err == nil {
			w.WriteHeader(status)
		}
	}))
	site := caddytest.OneNodeAt(t, fmt.Sprintf(`header >X-Outcome {http.preconditions.outcome}
		route {
			preconditions {
				lag 0s
				verify never
				%s
			}
			forward_auth %s {
				uri /auth
				transport http {
					versions h2c
					keepalive off
				}
			}
			reverse_proxy %s {
				transport http {
					versions h2c
				}
			}
		}`, patientClaims, auth, serve(b))).First()
	for _, method := range []string{"PUT", "DELETE"} {
		for _, tt := range []struct {
			fields []string
			status int
			held   bool
		}{
			{[]string{"X-Say", "204"}, 204, false},
			{[]string{"X-Say", "409"}, 409, false},
			{[]string{"X-Say", "503"}, 503, true},
			{[]string{"X-Say", "503", "X-Field-Preconditions-Settled", "?1"}, 503, false},
			{[]string{"X-Auth", "503"}, 503, false},
			{[]string{"X-Auth", "524"}, 524, false},
		} {
			t.Run(method+" "+strings.Join(tt.fields, " "), func(t *testing.T) {
				t.Parallel()
				a, held := b.fateOf(t, site, method, true, tt.fields...)
				if a.StatusCode != tt.status || held != tt.held {
					t.Errorf("got %d, held %t", a.StatusCode, held)
				}
			})
		}
	}
}
