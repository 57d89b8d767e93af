package legacydocs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// do sends a request directly to the handler. Fields are pairs of a name and a value.
func do(h http.Handler, method, target, body string, fields ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for pair := range slices.Chunk(fields, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func content(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantStatus(t *testing.T, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Fatalf("status %d, want %d (%s)", resp.StatusCode, want, content(t, resp))
	}
}

// TestDocumentIsStoredAsSent: a GET returns the content and media type of the PUT.
func TestDocumentIsStoredAsSent(t *testing.T) {
	for contentType, body := range map[string]string{
		"text/plain; charset=utf-8": "one\r\ntwo\n",
		"application/json":          "{\"a\" : 1 }",
		"image/x-none":              "",
	} {
		s := legacydocs.New(legacydocs.Options{})
		wantStatus(t, do(s, "PUT", "/docs/plan", body, "Content-Type", contentType), 201)
		wantStatus(t, do(s, "PUT", "/docs/plan", body, "Content-Type", contentType), 204)

		resp := do(s, "GET", "/docs/plan", "")
		wantStatus(t, resp, 200)
		if got := content(t, resp); got != body {
			t.Errorf("content %q, want %q", got, body)
		}
		if got := resp.Header.Get("Content-Type"); got != contentType {
			t.Errorf("Content-Type %q, want %q", got, contentType)
		}
	}
}

// TestHeadHasFieldsOfGet: RFC 9110, section 9.3.2.
func TestHeadHasFieldsOfGet(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{})
	wantStatus(t, do(s, "PUT", "/docs/plan", "12345", "Content-Type", "text/plain"), 201)
	srv := httptest.NewServer(s)
	defer srv.Close()

	resp, err := http.Head(srv.URL + "/docs/plan")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wantStatus(t, resp, 200)
	if resp.ContentLength != 5 || resp.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("length %d, fields %v", resp.ContentLength, resp.Header)
	}
}

// TestIgnoresPreconditions: the service sends no validators and ignores
// preconditions, against RFC 9110, section 13. That makes it a legacy service.
func TestIgnoresPreconditions(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{})
	wantStatus(t, do(s, "PUT", "/docs/plan", "1"), 201)
	wantStatus(t, do(s, "PUT", "/docs/plan", "2", "If-None-Match", "*"), 204)
	wantStatus(t, do(s, "PUT", "/docs/plan", "3", "If-Match", `"no such tag"`), 204)
	wantStatus(t, do(s, "PUT", "/docs/plan", "4", "If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), 204)

	for _, target := range []string{"/docs/plan", "/docs/"} {
		resp := do(s, "GET", target, "", "If-None-Match", "*")
		wantStatus(t, resp, 200)
		for _, field := range []string{"ETag", "Last-Modified"} {
			if v := resp.Header.Get(field); v != "" {
				t.Errorf("GET %s has %s: %s", target, field, v)
			}
		}
	}
}

func TestCreateListDelete(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{})
	if got := content(t, do(s, "GET", "/docs/", "")); got != "[]\n" {
		t.Errorf("empty list: %q", got)
	}
	wantStatus(t, do(s, "PUT", "/docs/doc-1", "taken", "Content-Type", "text/plain"), 201)

	resp := do(s, "POST", "/docs/", "new", "Content-Type", "text/plain")
	wantStatus(t, resp, 201)
	if got := resp.Header.Get("Location"); got != "/docs/doc-2" {
		t.Fatalf("Location %q: want the first name that isn't taken", got)
	}
	want := `[{"name":"doc-1","href":"/docs/doc-1","type":"text/plain","size":5},` +
		`{"name":"doc-2","href":"/docs/doc-2","type":"text/plain","size":3}]` + "\n"
	if got := content(t, do(s, "GET", "/docs/", "")); got != want {
		t.Errorf("list\n%s want\n%s", got, want)
	}

	wantStatus(t, do(s, "DELETE", "/docs/doc-2", ""), 204)
	wantStatus(t, do(s, "DELETE", "/docs/doc-2", ""), 404)
	wantStatus(t, do(s, "GET", "/docs/doc-2", ""), 404)
	wantStatus(t, do(s, "PATCH", "/docs/doc-1", ""), 405)
	wantStatus(t, do(s, "GET", "/elsewhere", ""), 404)
}

func TestNamesAreEscaped(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{})
	resp := do(s, "PUT", "/docs/a%2Fb%20c", "x")
	wantStatus(t, resp, 201)
	if got := resp.Header.Get("Location"); got != "/docs/a%2Fb%20c" {
		t.Errorf("Location %q", got)
	}
	wantStatus(t, do(s, "GET", "/docs/a%2Fb%20c", ""), 200)
}

// TestLimits: a write beyond a limit is refused and not recorded.
func TestLimits(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{MaxDocuments: 1, MaxBytes: 4})
	wantStatus(t, do(s, "PUT", "/docs/a", "12345"), 413)
	wantStatus(t, do(s, "PUT", "/docs/a", "1234"), 201)
	wantStatus(t, do(s, "PUT", "/docs/b", "1"), 507)
	wantStatus(t, do(s, "POST", "/docs/", "1"), 507)
	wantStatus(t, do(s, "PUT", "/docs/a", "1"), 204)
	if n := len(s.Writes()); n != 2 {
		t.Errorf("%d writes recorded, want the 2 that were applied", n)
	}
}

// TestRecordIsLimited: the record keeps the last writes, without a gap.
func TestRecordIsLimited(t *testing.T) {
	const most = 25
	for more := range 10 {
		s := legacydocs.New(legacydocs.Options{MaxWrites: most})
		for range most + more {
			do(s, "PUT", "/docs/a", "1")
		}
		writes := s.Writes()
		if len(writes) > most {
			t.Errorf("%d writes kept", len(writes))
		}
		if first, last := writes[0].Seq, writes[len(writes)-1].Seq; last != most+more || first != last-len(writes)+1 {
			t.Errorf("writes %d to %d kept, want a record without a gap up to %d", first, last, most+more)
		}
	}
}

func TestWritesAreRecorded(t *testing.T) {
	s := legacydocs.New(legacydocs.Options{})
	one, two := legacydocs.Digest([]byte("one")), legacydocs.Digest([]byte("two"))
	do(s, "PUT", "/docs/plan", "one")
	do(s, "PUT", "/docs/plan", "two", "X-Based-On", one)
	do(s, "PUT", "/docs/plan", "one", "X-Based-On", one)
	do(s, "DELETE", "/docs/plan", "", "X-Based-On", one)
	do(s, "DELETE", "/docs/plan", "")
	do(s, "POST", "/docs/", "two")

	want := []legacydocs.Write{
		{Seq: 1, Method: "PUT", Path: "/docs/plan", Body: one},
		{Seq: 2, Method: "PUT", Path: "/docs/plan", Body: two, Previous: one, BasedOn: one},
		{Seq: 3, Method: "PUT", Path: "/docs/plan", Body: one, Previous: two, BasedOn: one},
		{Seq: 4, Method: "DELETE", Path: "/docs/plan", Previous: one, BasedOn: one},
		{Seq: 5, Method: "POST", Path: "/docs/doc-1", Body: two},
	}
	got := s.Writes()
	if !slices.Equal(got, want) {
		t.Fatalf("writes\n%+v want\n%+v", got, want)
	}
	for i, lost := range []bool{false, false, true, false, false} {
		if got[i].Lost() != lost {
			t.Errorf("write %d: Lost is %v", i+1, !lost)
		}
	}
}

func TestHooks(t *testing.T) {
	refuse := func(r *http.Request) int {
		if r.Header.Get("X-Fail") != "" {
			return 503
		}
		return 0
	}
	t.Run("before: no effect", func(t *testing.T) {
		s := legacydocs.New(legacydocs.Options{Before: refuse})
		wantStatus(t, do(s, "PUT", "/docs/a", "1", "X-Fail", "1"), 503)
		wantStatus(t, do(s, "GET", "/docs/a", ""), 404)
		wantStatus(t, do(s, "GET", "/docs/", "", "X-Fail", "1"), 503)
	})
	t.Run("after: applied anyway", func(t *testing.T) {
		s := legacydocs.New(legacydocs.Options{After: refuse})
		wantStatus(t, do(s, "PUT", "/docs/a", "1", "X-Fail", "1"), 503)
		wantStatus(t, do(s, "GET", "/docs/a", ""), 200)
		wantStatus(t, do(s, "GET", "/docs/a", "", "X-Fail", "1"), 503)
	})
	t.Run("after: a slow read returns what it read", func(t *testing.T) {
		var s *legacydocs.Service
		s = legacydocs.New(legacydocs.Options{After: func(r *http.Request) int {
			if r.Method == "GET" {
				do(s, "PUT", "/docs/a", "new")
			}
			return 0
		}})
		do(s, "PUT", "/docs/a", "old")
		if got := content(t, do(s, "GET", "/docs/a", "")); got != "old" {
			t.Errorf("content %q", got)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = time.Second
		s := legacydocs.New(legacydocs.Options{Delay: delay})
		var total time.Duration
		for range 20 {
			start := time.Now()
			do(s, "PUT", "/docs/a", "1")
			took := time.Since(start)
			if took >= delay {
				t.Errorf("took %v", took)
			}
			total += took
		}
		if total == 0 {
			t.Error("no request was delayed")
		}
	})
}

// TestUpdatesAreLost: all writers edit the same content and get a 2xx, and all
// updates but one are lost.
func TestUpdatesAreLost(t *testing.T) {
	const writers = 16
	s := legacydocs.New(legacydocs.Options{Delay: time.Millisecond})
	do(s, "PUT", "/docs/plan", "")
	base := legacydocs.Digest(nil)

	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			resp := do(s, "PUT", "/docs/plan", strings.Repeat("x", i+1), "X-Based-On", base)
			if resp.StatusCode != 204 {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()

	lost := 0
	for _, w := range s.Writes() {
		if w.Lost() {
			lost++
		}
	}
	if lost != writers-1 {
		t.Errorf("%d updates were lost, want %d", lost, writers-1)
	}
}
