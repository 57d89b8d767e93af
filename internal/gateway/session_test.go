package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// headerOf makes a header of lines such as "Name: value".
func headerOf(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// After a probe, a write carries what a browser would send that had seen the probe's
// answer.
func TestSessionRenewals(t *testing.T) {
	for _, tt := range []struct {
		name         string
		sent, answer []string
		want         []string // the fields that change, as they then are
	}{
		{"nothing new", []string{"Cookie: a=1", "X-CSRF-Token: t"}, []string{"Content-Type: text/html"}, nil},
		{"the same cookie", []string{"Cookie: a=1"}, []string{"Set-Cookie: a=1; Path=/; Max-Age=60"}, nil},
		{"the same cookie in quotes", []string{`Cookie: a="1"`}, []string{"Set-Cookie: a=1"}, nil},
		{"a new value", []string{"Cookie: a=1; b=2"}, []string{"Set-Cookie: a=3; HttpOnly"}, []string{"Cookie: a=3; b=2"}},
		{"in two lines", []string{"Cookie: a=1", "Cookie: b=2"}, []string{"Set-Cookie: b=3"}, []string{"Cookie: a=1; b=3"}},
		{"a cookie that the client doesn't have", []string{"Cookie: a=1"}, []string{"Set-Cookie: c=3"}, nil},
		{"a deleted cookie", []string{"Cookie: a=1; b=2"}, []string{"Set-Cookie: a=; Max-Age=0"}, []string{"Cookie: b=2"}},
		{"an expired cookie", []string{"Cookie: a=1"}, []string{"Set-Cookie: a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, []string{"Cookie: "}},
		{"a cookie for a different path", []string{"Cookie: a=1"}, []string{"Set-Cookie: a=2; Path=/other"}, nil},
		{"a cookie for a path above", []string{"Cookie: a=1"}, []string{"Set-Cookie: a=2; Path=/docs"}, []string{"Cookie: a=2"}},
		{"a cookie that a script repeats", []string{"Cookie: XSRF-TOKEN=a%3D", "X-XSRF-TOKEN: a="}, []string{"Set-Cookie: XSRF-TOKEN=b%3D"}, []string{"Cookie: XSRF-TOKEN=b%3D", "X-XSRF-TOKEN: b="}},
		{"in quotes", []string{"Cookie: a=1"}, []string{`Set-Cookie: a="2 3"`}, []string{`Cookie: a="2 3"`}},
		{"with a plus sign", []string{"Cookie: XSRF-TOKEN=a+b%3D", "X-XSRF-TOKEN: a+b="}, []string{"Set-Cookie: XSRF-TOKEN=c+d%3D"}, []string{"Cookie: XSRF-TOKEN=c+d%3D", "X-XSRF-TOKEN: c+d="}},
		{"a token", []string{"X-CSRF-Token: 1"}, []string{"X-CSRF-Token: 2"}, []string{"X-CSRF-Token: 2"}},
		{"a token of a REST API", []string{"access-token: 1", "client: c"}, []string{"access-token: 2", "client: c"}, []string{"Access-Token: 2"}},
		{"a bearer token", []string{"Authorization: Bearer 1"}, []string{"Authorization: Bearer 2"}, []string{"Authorization: Bearer 2"}},
		{"a token that the client doesn't send", nil, []string{"X-CSRF-Token: 2"}, nil},
		{"a token that isn't renewed", []string{"access-token: 1"}, []string{"access-token: "}, nil},
		{
			"a version is a condition, not a session",
			[]string{"X-Version: 1", "Lock-Token: 1", "X-Concurrency-Token: 1", "X-Revision: 1"},
			[]string{"X-Version: 2", "Lock-Token: 2", "X-Concurrency-Token: 2", "X-Revision: 2"},
			nil,
		},
	} {
		s := newSession("/docs/plan", headerOf(tt.sent...))
		s.absorb(headerOf(tt.answer...), "/docs/plan")
		h := headerOf(tt.sent...)
		before := h.Clone()
		proxyhooks.EditHeader(h, s.renewals())
		var got []string
		for _, name := range []string{"Cookie", "X-Csrf-Token", "X-Xsrf-Token", "Access-Token", "Authorization", "Client", "X-Version", "Lock-Token", "X-Concurrency-Token", "X-Revision"} {
			if !slices.Equal(h[name], before[name]) {
				got = append(got, name+": "+strings.Join(h[name], "|"))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(canonical(tt.want)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// canonical spells field names as a header does.
func canonical(lines []string) (all []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		all = append(all, http.CanonicalHeaderKey(name)+": "+value)
	}
	return all
}

// The client gets what probes were told, unless the answer to its write says something
// newer.
func TestSessionTellsTheClient(t *testing.T) {
	s := newSession("/m", headerOf("Cookie: a=1; b=1", "X-CSRF-Token: 1"))
	s.absorb(headerOf("Set-Cookie: a=2; Secure", "Set-Cookie: b=2", "Set-Cookie: flash=; Max-Age=0", "X-CSRF-Token: 2", "Authorization: Bearer 2"), "/m")
	answer := headerOf("Set-Cookie: b=3", "X-CSRF-Token: 3")
	s.answered(answer)
	if got := s.renewals(); got["Cookie"][0] != "a=2; b=3" || got["X-Csrf-Token"][0] != "3" {
		t.Errorf("the next probe changes %q", got)
	}
	s.absorb(headerOf("Set-Cookie: a=4"), "/m") // of the probe after the write
	s.tell(answer)
	if got, want := answer["Set-Cookie"], []string{"b=3", "flash=; Max-Age=0", "a=4"}; !slices.Equal(got, want) {
		t.Errorf("cookies %q, want %q", got, want)
	}
	if answer.Get("X-CSRF-Token") != "3" || answer.Get("Authorization") != "" {
		t.Errorf("tokens %v", answer)
	}
	again := make(http.Header)
	if s.tell(again); len(again) > 0 {
		t.Errorf("told twice: %v", again)
	}
}

// Looking for words first changes nothing about which names are matched.
func TestTokenWords(t *testing.T) {
	parts := []string{
		"", "x-", "wp-", "__", "-", "csrf", "xsrf", "access", "auth", "authenticity", "session", "refresh", "bearer", "id", "api",
		"security", "-token", "nonce", "authorization", "-id", "request-verification", "content-length", "etag",
	}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				name := a + b + c
				if got, want := isTokenField(strings.ToUpper(name)), tokenFields.MatchString(name); got != want {
					t.Fatalf("%s: %v, want %v", name, got, want)
				}
			}
		}
	}
}

// A client without cookies and tokens gets none from a probe.
func TestNoSession(t *testing.T) {
	s := newSession("/m", headerOf("Accept: */*"))
	s.absorb(headerOf("Set-Cookie: a=2", "X-CSRF-Token: 2"), "/m")
	h := make(http.Header)
	if s.tell(h); len(h) > 0 || s.renewals() != nil {
		t.Errorf("told %v, sends %v", h, s.renewals())
	}
}

// A cookie without a path gets its path from the request whose answer set it (RFC 6265,
// section 5.1.4), even if the client receives the cookie in the answer to a different one.
func TestSessionPaths(t *testing.T) {
	for _, tt := range []struct {
		target, probed string
		set            []string
		answered       string
		told           []string
	}{
		{"/orders/7", "/orders/7", []string{"a=1"}, "", []string{"a=1"}},
		{"/orders/7/ship?now", "/orders/7", []string{"a=1", "b=1; Path=/", "c=1; Path=x"}, "", []string{"a=1; Path=/orders", "b=1; Path=/", "c=1; Path=x; Path=/orders"}},
		{"/orders/7", "/orders/7", []string{"a=1; Path=/orders"}, "a=2", nil},
		{"/orders;Domain=example.com/7/ship", "/orders;Domain=example.com/7", []string{"a=1"}, "", []string{"a=1"}}, // no attribute is added
		{"/orders/7", "/orders/7", []string{"a=1; Path=/; Domain=.example.com"}, "a=2; Path=/; Domain=Example.com", nil},
		{"/orders/7", "/orders/7", []string{"a=1; Path=/"}, "a=2", []string{"a=1; Path=/"}},
	} {
		s := newSession(tt.target, headerOf("Cookie: a=0"))
		s.absorb(http.Header{"Set-Cookie": tt.set}, tt.probed)
		if tt.answered != "" {
			s.answered(headerOf("Set-Cookie: " + tt.answered))
		}
		h := make(http.Header)
		if s.tell(h); !slices.Equal(h["Set-Cookie"], tt.told) {
			t.Errorf("%s, %q: told %q, want %q", tt.target, tt.set, h["Set-Cookie"], tt.told)
		}
	}
}

// A cache that doesn't ask the origin may hold the session of somebody else, and an origin
// that shows nothing to a stranger may begin a session for the stranger. Neither is the
// client's.
func TestSessionOfSomebodyElse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer []string
		status int
		fields []string
	}{
		{"a cache", []string{"X-Cache: HIT", "Set-Cookie: sid=2", "X-CSRF-Token: 2"}, 200, nil},
		{"a page for logging in", []string{"Location: /login", "Set-Cookie: sid=2"}, 302, []string{"Authorization: Digest x"}},
	} {
		s := newSite()
		s.Verify.Passing = true
		tag := s.tagOf(t, "/m")
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodGet {
				for name, lines := range headerOf(tt.answer...) {
					w.Header()[name] = lines
				}
				w.WriteHeader(tt.status)
				_, err := w.Write([]byte("content"))
				return err
			}
			if got := r.Header.Get("Cookie") + r.Header.Get("X-CSRF-Token"); got != "sid=11" {
				t.Errorf("%s: the write has %v", tt.name, r.Header)
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		w, err := s.serve(requestOf(t.Context(), "PUT /m", append(tt.fields, "If-Match: "+tag, "Cookie: sid=1", "X-CSRF-Token: 1")...))
		if err != nil || w.Header()["Set-Cookie"] != nil || w.Header().Get("X-CSRF-Token") != "" {
			t.Errorf("%s: %d %v, %v", tt.name, w.Code, w.Header(), err)
		}
	}
}

// The client doesn't see the answer with which the backend refuses the form of a condition.
// What that says of the session counts all the same.
func TestSessionOfARefusal(t *testing.T) {
	token := 1
	s := newSite()
	s.Verify.Passing = true
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("ETag", `W/"1"`)
		if r.Method == http.MethodGet {
			_, err := w.Write([]byte("content"))
			return err
		}
		current := fmt.Sprint(token)
		token++
		w.Header().Set("X-CSRF-Token", fmt.Sprint(token))
		switch {
		case r.Header.Get("X-CSRF-Token") != current:
			w.WriteHeader(http.StatusForbidden)
		case r.Header.Get("If-Match") != "":
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
		return nil
	}
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+s.tagOf(t, "/m"), "X-CSRF-Token: 1"))
	if err != nil || w.Code != 204 || w.Header().Get("X-CSRF-Token") != "3" {
		t.Errorf("status %d, %v, %v", w.Code, w.Header(), err)
	}
}

// An application that gives out a new token on every response sees a client that always
// has the last one, however many probes there are, and whatever becomes of the write.
func TestRenewedTokens(t *testing.T) {
	for _, writeETag := range []WriteETag{WriteETagOff, WriteETagVerbatim, WriteETagAlways} {
		for _, tt := range []struct {
			name   string
			field  string
			prefer string
			status int
		}{
			{"forwarded", "", "X: y", 204},
			{"refused", `If-Match: "stale"`, "X: y", 412},
			{"refused with the representation", `If-Match: "stale"`, "Prefer: return=representation", 412},
		} {
			t.Run(fmt.Sprint(tt.name, " ", writeETag), func(t *testing.T) {
				token, content := 0, "content"
				s := newSite()
				s.Verify = Verification{Passing: true, Refused: true}
				s.WriteETag = writeETag
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					if r.Method == http.MethodPut && (r.Header.Get("X-CSRF-Token") != fmt.Sprint(token) || r.Header.Get("Cookie") != fmt.Sprintf("sid=%d", token)) {
						w.WriteHeader(http.StatusForbidden)
						return nil
					}
					token++
					w.Header().Set("X-CSRF-Token", fmt.Sprint(token))
					w.Header().Set("Set-Cookie", fmt.Sprintf("sid=%d; Path=/", token))
					if r.Method == http.MethodPut {
						content = "new content"
						w.WriteHeader(http.StatusNoContent)
						return nil
					}
					_, err := w.Write([]byte(content))
					return err
				}
				field := "If-Match: " + s.tagOf(t, "/m")
				if tt.field != "" {
					field = tt.field
				}
				w, err := s.serve(putOf(t.Context(), "new content", field, tt.prefer,
					fmt.Sprintf("X-CSRF-Token: %d", token), fmt.Sprintf("Cookie: sid=%d", token)))
				if err != nil || w.Code != tt.status {
					t.Fatalf("status %d, %v", w.Code, err)
				}
				cookies := w.Header()["Set-Cookie"]
				if w.Header().Get("X-CSRF-Token") != fmt.Sprint(token) || len(cookies) == 0 ||
					cookies[len(cookies)-1] != fmt.Sprintf("sid=%d; Path=/", token) {
					t.Errorf("the client has %v, current is %d", w.Header(), token)
				}
			})
		}
	}
}
