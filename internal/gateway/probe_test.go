package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A 412 means that a condition was false, and nothing else does. Whatever the origin
// answers to a probe, what the client can do something about is relayed, and the rest is a
// 503 that says when to come again (RFC 9110, section 13.2.1).
func TestNotProbed(t *testing.T) {
	s := newSite()
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m"))
	if d := x.notProbed(proxyhooks.Probed{Err: io.ErrUnexpectedEOF}, validator.IfMatch); d.kind != refuse || d.refusal.Outcome != answer.Unavailable {
		t.Errorf("no answer: %+v", d)
	}
	relayed := []int{
		300, 301, 302, 307, 308,
		400, 401, 402, 403, 405, 406, 407, 409, 414, 421, 423, 424, 425, 426, 429, 431, 451, 418, 498,
	}
	for status := 200; status < 600; status++ {
		if status == 404 || status == 410 || status == 200 || status == 204 {
			continue // these show the state
		}
		named := http.StatusText(status) != "" || slices.Contains(relayed, status)
		d := x.notProbed(proxyhooks.Probed{Status: status, Header: http.Header{"Retry-After": {"7"}}}, validator.IfMatch)
		switch wanted := slices.Contains(relayed, status); {
		case d.kind != relay && d.kind != refuse:
			t.Errorf("%d: %+v", status, d)
		case named && (d.kind == relay) != wanted:
			t.Errorf("%d: relayed: %v", status, d.kind == relay)
		case d.kind == refuse && (d.refusal.Status != 503 || d.refusal.RetryAfter != 7*time.Second):
			t.Errorf("%d: %+v", status, d.refusal)
		case d.kind == refuse && (status >= 500 || status == 408) != (d.refusal.Outcome == answer.Unavailable):
			t.Errorf("%d: %s", status, d.refusal.Outcome)
		}
	}
}

// A probe reads a limited amount of content. If that isn't enough for the tag, nobody can
// tell whether the condition holds.
func TestProbeLimit(t *testing.T) {
	s := newSite()
	s.Verify.Passing = true
	tag := s.tagOf(t, "/m")
	for limit, want := range map[int64]kind{int64(len("content")): forward, 3: refuse} {
		x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m", "If-Match: "+tag))
		x.origin.limit = limit
		w := x.newWriting()
		view, err := x.lookUp()
		if err != nil {
			t.Fatal(err)
		}
		d := w.decide(view)
		w.release()
		if d.kind != want || d.kind == refuse && (d.refusal.Status != 503 || d.refusal.Outcome != answer.Unverifiable) {
			t.Errorf("%d bytes: %+v", limit, d)
		}
	}
}

// A redirection that clients answer with a GET would turn a POST into a success that
// never was (RFC 9110, section 15.4.3).
func TestRelayedRedirection(t *testing.T) {
	for method, want := range map[string]map[int]int{
		"PUT":  {301: 301, 302: 302, 307: 307, 308: 308},
		"POST": {301: 308, 302: 307, 307: 307, 308: 308},
	} {
		for status, want := range want {
			s := newSite()
			s.origin = func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
				return nil
			}
			w, err := s.serve(requestOf(t.Context(), method+" /m", "If-Match: *"))
			if err != nil || w.Code != want || w.Header().Get("Location") != "/elsewhere" {
				t.Errorf("%s: %d is relayed as %d, %v", method, status, w.Code, err)
			}
		}
	}
}

// Credentials that are good for the write only aren't sent with a GET. What that GET shows
// counts, unless the origin refuses to show the resource without them: then what is stored
// decides, and the backend checks the credentials of the write.
func TestOneTimeCredentials(t *testing.T) {
	for _, fields := range [][]string{
		{`Authorization: Digest username="ann", response="x"`},
		{"Authorization: OAuth oauth_signature=x"},
		{`Authorization: Hawk id="a", mac="b"`},
		{"Authorization: DPoP x", "DPoP: proof"},
		{"Authorization: Negotiate x"},
		{"Authorization: Bearer x", "X-Hub-Signature-256: sha256=x"},
		{"Authorization: Basic x", "X-GitHub-OTP: 123456"},
		{"Authorization: Bearer x", "Authorization: Digest x"},
		{"X-Hub-Signature-256: sha256=x"},
	} {
		for _, tt := range []struct {
			anonymous int // what the origin answers without credentials
			stored    bool
			want      int
		}{
			{200, false, 204},
			{200, true, 204},
			{401, true, 204},
			{403, true, 204},
			{404, true, 204}, // hidden, unless strangers get a challenge there
			{302, true, 204}, // to a page for logging in
			{401, false, 503},
			{404, false, 503},
			{500, true, 503},
			{429, true, 503},
		} {
			t.Run(fmt.Sprint(fields[0], tt), func(t *testing.T) {
				s := newSite()
				s.Verify.Passing = true
				if strings.HasPrefix(fields[0], "Authorization: B") && tt.anonymous != 200 {
					tt.want = 503 // the others may be made up
				}
				if tt.anonymous == 404 && (strings.Contains(fields[0], "Digest") || strings.Contains(fields[0], "Negotiate")) {
					tt.want = 503 // deleted, for all we know
				}
				tag := s.tagOf(t, "/m")
				if !tt.stored {
					s = newSite()
				}
				inner, probes := s.origin, 0
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					if r.Method == http.MethodGet {
						probes++
						for _, name := range []string{"Authorization", "Dpop", "X-Hub-Signature-256", "X-Github-Otp"} {
							if r.Header[name] != nil {
								t.Errorf("the probe has %s", name)
							}
						}
						if tt.anonymous != 200 {
							w.WriteHeader(tt.anonymous)
							return nil
						}
					} else if name, _, _ := strings.Cut(fields[0], ":"); r.Header[name] == nil {
						t.Error("the write lacks its credentials")
					}
					return inner(w, r)
				}
				w, err := s.serve(requestOf(t.Context(), "PUT /m", append(fields, "If-Match: "+tag)...))
				if err != nil || w.Code != tt.want || probes == 0 {
					t.Errorf("status %d after %d probes, %v", w.Code, probes, err)
				}
			})
		}
	}
}

// An origin that answers strangers differently must show them what is stored: otherwise
// nobody can tell whether somebody who doesn't come through here has changed it.
func TestOneTimeCredentialsAndVary(t *testing.T) {
	for _, field := range []string{"Vary: authorization", "Vary: *", "WWW-Authenticate: Digest realm=r"} {
		for content, want := range map[string]int{"content": 204, "changed elsewhere": 503} {
			s := newSite()
			s.Verify.Passing = true
			shown := "content"
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				name, value, _ := strings.Cut(field, ": ")
				w.Header().Set(name, value)
				if r.Method == http.MethodGet {
					_, err := io.WriteString(w, shown)
					return err
				}
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
			claimed := "Authorization: Digest x"
			r, err := s.serve(requestOf(t.Context(), "GET /m", claimed))
			if err != nil {
				t.Fatal(err)
			}
			tag := r.Header().Get("ETag")
			shown = content
			if field == "Vary: *" {
				want = 503 // nothing is ever known of such a resource
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /m", claimed, "If-Match: "+tag))
			if err != nil || w.Code != want {
				t.Errorf("%s, %s: status %d, want %d, %v", field, content, w.Code, want, err)
			}
		}
	}
}

// Under verify all, somebody who only claims to have credentials learns nothing of a
// resource that the origin doesn't show: the answer is the same whatever is stored.
func TestOneTimeCredentialsAndVerifyAll(t *testing.T) {
	for status, want := range map[int]int{401: 401, 403: 403, 404: 404, 302: 302, 303: 503, 429: 429, 500: 503} {
		s := newSite()
		s.Verify = Verification{Passing: true, Refused: true}
		open := s.origin
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Header.Get("Authorization") == "Hawk right" {
				return open(w, r)
			}
			w.Header().Set("X-Refused", "by the backend")
			w.WriteHeader(status)
			return nil
		}
		r, err := s.serve(requestOf(t.Context(), "GET /m", "Authorization: Hawk right"))
		if err != nil || r.Code != 200 {
			t.Fatal(r.Code, err)
		}
		for _, line := range []string{"PUT /m", "PUT /never-read"} {
			for _, field := range []string{"If-Match: " + r.Header().Get("ETag"), `If-Match: "guess"`, "If-Match: *", "If-None-Match: *"} {
				w, err := s.serve(requestOf(t.Context(), line, "Authorization: Hawk wrong", field))
				if err != nil || w.Code != want || (want != 503) != (w.Header().Get("X-Refused") != "" && w.Body.Len() == 0) {
					t.Errorf("%d, %s, %s: %d %v %s, %v", status, line, field, w.Code, w.Header(), w.Body, err)
				}
			}
		}
		if r, err = s.serve(requestOf(t.Context(), "GET /m", "Authorization: Hawk right")); err != nil {
			t.Fatal(err) // after a write that was redirected, nothing is known
		}
		passes := 204
		if want == 429 || want == 503 {
			passes = want
		}
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "Authorization: Hawk right", "If-Match: "+r.Header().Get("ETag")))
		if err != nil || w.Code != passes {
			t.Errorf("%d: status %d, %v", status, w.Code, err)
		}
	}
}

// A probe without the client's credentials may reach a cache, too.
func TestOneTimeCredentialsAndCache(t *testing.T) {
	s := newSite()
	s.Verify.Passing = true
	s.Learned = NewLearned(time.Minute)
	s.Learned.learnClock(http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}, time.Now())
	tag := s.tagOf(t, "/m")
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Date", time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat))
		_, err := io.WriteString(w, "content")
		return err
	}
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "Authorization: Digest x", "If-Match: "+tag))
	if err != nil || w.Code != 503 {
		t.Errorf("status %d, %v", w.Code, err)
	}
}

// Retry-After: 0 is no reason to say nothing at all.
func TestRetryAtOnce(t *testing.T) {
	s := newSite()
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m"))
	d := x.notProbed(proxyhooks.Probed{Status: 503, Header: http.Header{"Retry-After": {"0"}}}, validator.IfMatch)
	if d.refusal.RetryAfter != s.Answers.RetryAfter {
		t.Errorf("got %+v", d.refusal)
	}
}

// Absence that an origin shows to a stranger isn't absence: the resource may be hidden.
func TestHiddenResource(t *testing.T) {
	s := newSite()
	s.origin = func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-None-Match: *", `Authorization: Digest username="ann"`))
	if err != nil || w.Code != 503 {
		t.Errorf("status %d, %v", w.Code, err)
	}
}
