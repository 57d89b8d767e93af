package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// liar is an origin whose answers to writes show the same whatever it stores. It counts what
// it hears.
type liar struct{ stored, answer string }

func (l *liar) serve(w http.ResponseWriter, r *http.Request) error {
	shown := l.stored
	if r.Method != http.MethodGet {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		l.stored, shown = "stored: "+string(content), l.answer
		if shown == "" {
			shown = l.stored
		}
	}
	_, err := w.Write([]byte(shown))
	return err
}

// newSiteOf returns a site with write_etag answer in front of an origin, and what it warns of.
func newSiteOf(l *liar) (*site, *observer.ObservedLogs) {
	s := newSite()
	core, logs := observer.New(zap.WarnLevel)
	s.Logger, s.WriteETag, s.Learned = zap.New(core), WriteETagAnswer, NewLearned(0)
	s.origin = l.serve
	return s, logs
}

// put writes content under a condition, and returns the status and the tag of the answer.
func (s *site) put(t *testing.T, path, content, tag string) (status int, etag string) {
	t.Helper()
	r := requestOf(t.Context(), "PUT "+path, "If-Match: "+tag)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), int64(len(content))
	w, err := s.serve(r)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, w.Header().Get("Etag")
}

// TestBrokenPromise: if the origin shows something else than the answer to a write that was
// taken for the representation, that is logged once in a while, and the origin is asked after
// the writes that follow. A client's read finds it out, and so does the confirmation of a
// condition.
func TestBrokenPromise(t *testing.T) {
	for _, found := range []string{"by a read", "by a confirmation"} {
		t.Run(found, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, logs := newSiteOf(&liar{stored: "old", answer: "ok"})
				s.Verify = Verification{Passing: true}
				save := func(path string) (status int, current bool) {
					status, given := s.put(t, path, fmt.Sprint("at ", time.Now().UnixNano()), s.tagOf(t, path))
					time.Sleep(time.Second)
					if found == "by a confirmation" {
						again, _ := s.put(t, path, "more", given)
						return status, again == http.StatusOK
					}
					return status, s.tagOf(t, path) == given
				}
				for i, want := range []struct {
					current bool
					warned  int
				}{{false, 1}, {true, 1}, {true, 1}} {
					status, current := save("/a")
					if status != http.StatusOK || current != want.current || logs.Len() != want.warned {
						t.Errorf("save %d: %d, the tag is current: %t; %d warnings", i, status, current, logs.Len())
					}
				}
				time.Sleep(disbeliefLasts)
				if _, current := save("/a"); current || logs.Len() != 2 {
					t.Errorf("later: the tag is current: %t; %d warnings", current, logs.Len())
				}
				if fields := logs.All()[0].ContextMap(); fields["resource"] != "/a" {
					t.Errorf("the warning names %v", fields)
				}
			})
		})
	}
}

// TestKeptPromise: nothing is logged if a GET shows what the answer did, nor if somebody else
// has written since: another client, or, once the origin has shown the same as the answer,
// somebody who writes past the handler.
func TestKeptPromise(t *testing.T) {
	l := &liar{stored: "old"}
	s, logs := newSiteOf(l)
	_, given := s.put(t, "/a", "1", s.tagOf(t, "/a"))
	if now := s.tagOf(t, "/a"); now != given {
		t.Errorf("the answer has %s, a GET %s", given, now)
	}
	l.stored = "written past the handler"
	s.tagOf(t, "/a")
	_, given = s.put(t, "/a", "2", s.tagOf(t, "/a"))

	// A read that began before the next write, and is answered after it.
	l2 := *l
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		s.origin = l2.serve
		if status, _ := s.put(t, "/a", "3", given); status != http.StatusOK {
			t.Errorf("the write between got %d", status)
		}
		return l2.serve(w, r)
	}
	s.tagOf(t, "/a")
	if logs.Len() != 0 || !s.Learned.believesAnswers(time.Now()) {
		t.Errorf("warned: %v", logs.All())
	}
}

// TestPromisesAreBounded: any number of writes keep a bounded number of promises, and the
// last one is among them.
func TestPromisesAreBounded(t *testing.T) {
	l := &liar{stored: "old"}
	s, logs := newSiteOf(l)
	for i := range maxPromises + 10 {
		s.put(t, fmt.Sprint("/", i), fmt.Sprint(i), "*")
	}
	if got := len(s.Learned.promises.tags); got != maxPromises {
		t.Errorf("%d promises are kept, want %d", got, maxPromises)
	}
	l.stored = "something else"
	s.tagOf(t, fmt.Sprint("/", maxPromises+9))
	if logs.Len() != 1 {
		t.Errorf("%d warnings", logs.Len())
	}
}

// TestSameAnswerTwice: an answer that shows the state which the write was to replace proves
// nothing, even with verify never: an answer that is always the same would do that. The
// origin is asked, and the tag of the answer can't be held by two clients.
func TestSameAnswerTwice(t *testing.T) {
	s, _ := newSiteOf(&liar{stored: "old", answer: "ok"})
	_, first := s.put(t, "/a", "1", s.tagOf(t, "/a"))
	status, second := s.put(t, "/a", "2", first) // verify never: the operator's word
	if status != http.StatusOK || second == first {
		t.Errorf("%d, with the tag %s again", status, second)
	}
	if status, _ := s.put(t, "/a", "3", first); status != http.StatusPreconditionFailed {
		t.Errorf("a second client with the tag of the first answer got %d", status)
	}
}

// TestAnswerOfAGuardedWrite: the answer to a write that is about a different resource gets
// no tag: a guard's condition isn't about the target.
func TestAnswerOfAGuardedWrite(t *testing.T) {
	s, _ := newSiteOf(&liar{stored: "old"})
	s.guards(t, "/a/ship", "/a")
	if status, given := s.put(t, "/a/ship", "1", s.tagOf(t, "/a")); status != http.StatusOK || given != "" {
		t.Errorf("%d, with the tag %q", status, given)
	}

	// Not even if a GET of the guard shows the backend's own tag on the answer.
	tagged := s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Etag", `"own"`)
		return tagged(w, r)
	}
	s.Replay = true
	if status, given := s.put(t, "/a/ship", "1", s.tagOf(t, "/a")); status != http.StatusOK || given != "" {
		t.Errorf("%d, with the backend's own tag %q", status, given)
	}
}
