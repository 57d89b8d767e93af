package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/answer"
)

// strict is an origin that has a tag of its own and wants to see it.
type strict struct {
	content  string
	tag      string
	refuses  func(ifMatch []string) (status int) // zero for a write that passes
	onPut    func()                              // runs before the condition is checked
	accepted []string                            // the contents that were written
	got      []string                            // the If-Match of each write
}

func (s *strict) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("ETag", s.tag)
	if r.Method == http.MethodGet {
		_, err := io.WriteString(w, s.content)
		return err
	}
	if s.onPut != nil {
		s.onPut()
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	s.got = append(s.got, strings.Join(r.Header["If-Match"], "|"))
	if status := s.refuses(r.Header["If-Match"]); status != 0 {
		w.Header().Set("X-Refused", "by the backend")
		w.WriteHeader(status)
		return nil
	}
	s.accepted = append(s.accepted, string(sent))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// The backend's own condition goes along. A backend that refuses it although it still holds
// gets the write once more, whole, in the form that it wants; its last word goes to the
// client.
func TestBackendsOwnCondition(t *testing.T) {
	wants := func(tags ...string) func([]string) int {
		return func(lines []string) int {
			switch {
			case lines == nil:
				return http.StatusPreconditionRequired
			case len(lines) == 1 && slices.Contains(tags, lines[0]):
				return 0
			default:
				return http.StatusPreconditionFailed
			}
		}
	}
	strongly := func(lines []string) int { // RFC 9110, section 13.1.1
		if lines == nil || lines[0] == "*" {
			return 0
		}
		return http.StatusPreconditionFailed
	}
	for _, tt := range []struct {
		name    string
		tag     string // of the backend
		refuses func([]string) int
		field   string // of the client; empty for its tag in If-Match
		got     []string
		status  int
	}{
		{"a weak tag that is wanted", `W/"1"`, wants(`W/"1"`), "", []string{`W/"1"`}, 204},
		{"any tag", `W/"1"`, wants("*", `W/"1"`), "If-Match: *", []string{"*"}, 204},
		{"a weak tag that never matches", `W/"1"`, strongly, "", []string{`W/"1"`, ""}, 204},
		{"a weak tag that never matches, and a condition is wanted", `W/"1"`, wants("*"), "", []string{`W/"1"`, "", "*"}, 204},
		{"a weak tag that nobody looks at", `W/"1"`, func([]string) int { return 0 }, "", []string{`W/"1"`}, 204},
		{"no tag, and a condition is wanted", "", wants("*"), "", []string{"", "*"}, 204},
		{"no tag, and no condition will do", "", wants(), "", []string{"", "*"}, 412},
		{"a strong tag that has changed", `"1"`, wants(`"2"`), "", []string{`"1"`}, 412},
		{"any tag, and the backend accepts none", `W/"1"`, wants(), "If-Match: *", []string{"*"}, 412},
		{"refused for another reason", `W/"1"`, func([]string) int { return 422 }, "", []string{`W/"1"`}, 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			origin := &strict{content: "content", tag: tt.tag, refuses: tt.refuses}
			s := newSite()
			s.origin = origin.serve
			s.Verify.Passing = true
			tag := s.tagOf(t, "/m")
			field := tt.field
			if field == "" {
				field = "If-Match: " + tag
			}
			w, err := s.serve(putOf(t.Context(), "new content", field))
			if err != nil || w.Code != tt.status || !slices.Equal(origin.got, tt.got) {
				t.Errorf("status %d, %v; the backend got %q, want %q", w.Code, err, origin.got, tt.got)
			}
			if passed := tt.status == 204; passed != slices.Equal(origin.accepted, []string{"new content"}) || passed == (w.Header().Get("X-Refused") != "") {
				t.Errorf("accepted %q, header %v", origin.accepted, w.Header())
			}
		})
	}
}

// Without a probe there is no gap to close, and the backend gets its own tag only if it
// asks for one. The handler remembers that it did.
func TestBackendAsksForItsTag(t *testing.T) {
	origin := &strict{content: "content", tag: `W/"1"`, refuses: func(lines []string) int {
		if fmt.Sprint(lines) == `[W/"1"]` {
			return 0
		}
		return http.StatusPreconditionRequired
	}}
	s := newSite()
	s.origin = origin.serve
	s.Learned = NewLearned(0)
	for range 2 {
		w, err := s.serve(putOf(t.Context(), "new content", "If-Match: "+s.tagOf(t, "/m")))
		if err != nil || w.Code != 204 {
			t.Errorf("status %d, %v", w.Code, err)
		}
	}
	if want := []string{"", `W/"1"`, `W/"1"`}; !slices.Equal(origin.got, want) {
		t.Errorf("the backend got %q, want %q", origin.got, want)
	}
}

// If the state has changed between the probe and the write, the backend's own check finds
// out, and the client is told what there is now.
func TestBackendClosesTheGap(t *testing.T) {
	origin := &strict{content: "content", tag: `W/"1"`}
	origin.refuses = func(lines []string) int {
		if len(lines) == 1 && lines[0] == origin.tag {
			return 0
		}
		return http.StatusPreconditionFailed
	}
	origin.onPut = func() { origin.content, origin.tag = "changed elsewhere", `W/"2"` }
	s := newSite()
	s.origin = origin.serve
	s.Verify.Passing = true
	tag := s.tagOf(t, "/m")
	r := putOf(t.Context(), "new content", "If-Match: "+tag)
	w, err := s.serve(r)
	if err != nil || w.Code != 412 || len(origin.accepted) > 0 || outcome(r) != string(answer.Failed) {
		t.Errorf("status %d, %v, outcome %s, accepted %q", w.Code, err, outcome(r), origin.accepted)
	}
	if current := s.tagOf(t, "/m"); w.Header().Get("ETag") != current || current == tag {
		t.Errorf("the client was told %s, current is %s", w.Header().Get("ETag"), current)
	}
}

// The version may have moved although what it shows is the same. The condition still holds
// for what the client has seen, so the write goes along with the new version.
func TestBackendsVersionMoves(t *testing.T) {
	origin := &strict{content: "content", tag: `W/"1"`}
	origin.refuses = func(lines []string) int {
		if fmt.Sprint(lines) == "["+origin.tag+"]" {
			return 0
		}
		return http.StatusPreconditionFailed
	}
	moved := false
	origin.onPut = func() {
		if !moved {
			origin.tag, moved = `W/"2"`, true
		}
	}
	s := newSite()
	s.origin = origin.serve
	s.Verify.Passing = true
	w, err := s.serve(putOf(t.Context(), "new content", "If-Match: "+s.tagOf(t, "/m")))
	if err != nil || w.Code != 204 || !slices.Equal(origin.got, []string{`W/"1"`, `W/"2"`}) {
		t.Errorf("status %d, %v; the backend got %q", w.Code, err, origin.got)
	}
}

// A weak tag that differs on every response can't be in a condition.
func TestBackendsVersionNeverMatches(t *testing.T) {
	n := 0
	origin := &strict{content: "content"}
	origin.refuses = func(lines []string) int {
		if lines != nil {
			return http.StatusPreconditionFailed
		}
		return 0
	}
	s := newSite()
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		n++
		origin.tag = fmt.Sprintf(`W/"%d"`, n)
		return origin.serve(w, r)
	}
	s.Verify.Passing = true
	w, err := s.serve(putOf(t.Context(), "new content", "If-Match: "+s.tagOf(t, "/m")))
	if err != nil || w.Code != 204 || len(origin.got) != 3 || len(origin.accepted) != 1 {
		t.Errorf("status %d, %v; the backend got %q", w.Code, err, origin.got)
	}
}

// The second attempt is handled as the first one was, whatever the handlers behind this one
// have changed in between. It takes nothing a second time.
func TestSecondAttempt(t *testing.T) {
	s := newSite()
	s.Verify.Passing = true
	s.affects(t, "/a/m", "/b/**")
	attempts := 0
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
		if r.URL.Path != "/a/m" || vars["seen"] != nil {
			t.Errorf("%s %s reaches the origin with %v", r.Method, r.URL.Path, vars)
		}
		vars["seen"], r.URL.Path = true, "/m"
		r.Header.Del("X-Needed")
		w.Header().Set("ETag", `W/"1"`)
		if r.Method == http.MethodGet {
			_, err := w.Write([]byte("content"))
			return err
		}
		if attempts++; r.Header.Get("If-Match") != "" {
			w.WriteHeader(http.StatusPreconditionFailed)
			return nil
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	tag := s.tagOf(t, "/a/m")
	w, err := s.serve(requestOf(t.Context(), "PUT /a/m", "If-Match: "+tag, "X-Needed: x"))
	if err != nil || w.Code != 204 || attempts != 2 {
		t.Errorf("status %d, %v, %d attempts", w.Code, err, attempts)
	}
	list := s.take()
	releasedBeforeAnswered(t, list)
	if n := strings.Count(strings.Join(list, "|"), "pass age /b"); n != 1 {
		t.Errorf("%d passes on the subtree: %q", n, list)
	}
}

// A write whose claim is lost while the backend refuses the form of its condition isn't sent
// again: somebody else may write by now.
func TestClaimLostBetweenAttempts(t *testing.T) {
	for _, refusal := range []int{http.StatusPreconditionFailed, http.StatusPreconditionRequired} {
		synctest.Test(t, func(t *testing.T) {
			origin := &strict{content: "content", tag: `W/"1"`, refuses: func([]string) int { return refusal }}
			if refusal == http.StatusPreconditionRequired {
				origin.tag = ""
			}
			s := newSite()
			s.Verify.Passing = true
			var away atomic.Bool
			renewal := unavailable("renew /m")
			s.store.fail = func(call string) error {
				if away.Load() {
					return renewal(call)
				}
				return nil
			}
			lose := func() {
				away.Store(true)
				time.Sleep(2 * s.Terms.Lease)
			}
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				if refusal == http.StatusPreconditionFailed && r.Method == http.MethodGet && len(origin.got) > 0 {
					lose() // during the probe between the attempts
				}
				return origin.serve(w, r)
			}
			tag := s.tagOf(t, "/m")
			if refusal == http.StatusPreconditionRequired {
				origin.refuses = func([]string) int { // during the first attempt
					lose()
					return refusal
				}
			}
			want := http.StatusServiceUnavailable
			if refusal == http.StatusPreconditionRequired {
				want = refusal // the backend has answered, after all
			}
			w, err := s.serve(putOf(t.Context(), "new content", "If-Match: "+tag))
			if err != nil || w.Code != want || len(origin.got) != 1 {
				t.Errorf("%d: status %d, %v; the backend got %q", refusal, w.Code, err, origin.got)
			}
		})
	}
}

// In mode report the backend decides, so it gets a condition about its own validators even
// if it would be refused here.
func TestConditionInModeReport(t *testing.T) {
	for _, tt := range []struct{ tag, field, want string }{
		{`"1"`, `If-Match: "stale"`, `"stale"`},
		{`"1"`, `If-Match: "1"`, `"1"`},
		{`W/"1"`, `If-Match: "stale"`, ""}, // it was compared with a tag that the backend doesn't know
	} {
		origin := &strict{content: "content", tag: tt.tag, refuses: func([]string) int { return 0 }}
		s := newSite()
		s.Answers.Mode = answer.ReportOnly
		s.origin = origin.serve
		s.tagOf(t, "/m")
		w, err := s.serve(requestOf(t.Context(), "PUT /m", tt.field))
		if err != nil || w.Code != 204 || !slices.Equal(origin.got, []string{tt.want}) {
			t.Errorf("%s, %s: %d %v; the backend got %q", tt.tag, tt.field, w.Code, err, origin.got)
		}
	}
}

// putOf makes a PUT with content.
func putOf(ctx context.Context, content string, fields ...string) *http.Request {
	r := requestOf(ctx, "PUT /m", fields...)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), int64(len(content))
	return r
}
