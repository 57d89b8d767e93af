package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Writes with the same key wait for each other. Writes with different keys don't.
func TestOptionKey(t *testing.T) {
	for _, tt := range []struct {
		options string
		status  int
	}{
		{"wait 1ms", 204},
		{"wait 1ms\nkey {http.request.host}/all", 503},
	} {
		t.Run(tt.options, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			caddytest.Bypass(t, docs, "PUT", "/docs/b", "b")
			url := caddytest.Site(t, tt.options, docs)
			first := g.Send(t.Context(), t, "PUT", url+"/docs/a", "a2", "If-Match", "*")
			caddytest.Send(t, "PUT", url+"/docs/b", "b2", "If-Match", "*").Expect(t, tt.status)
			g.Open()
			caddytest.ExpectResult(t, first, 204)
		})
	}
}

// With a key that leaves out the host, several hosts share one resource.
func TestOptionKeyAcrossHosts(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	url := caddytest.AnyHost(t, fmt.Sprintf("preconditions {\nkey {http.request.uri.path}\nverify never\n}\nreverse_proxy %s", caddytest.Serve(t, docs))) + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "", "Host", "one.example").Tag(t)
	caddytest.Send(t, "PUT", url, "b", "Host", "two.example", "If-Match", tag).Expect(t, 204)
	caddytest.Send(t, "PUT", url, "c", "Host", "one.example", "If-Match", tag).Expect(t, 412)
}

func TestOptionETag(t *testing.T) {
	tests := []struct {
		name    string
		options string
		own     string // the backend's
		minted  bool   // whether the client gets a tag from the handler
		want    string // the tag if minted is false
	}{
		{"the backend's tag if it is strong", "", `"own"`, false, `"own"`},
		{"the handler's if the backend's is weak", "", `W/"own"`, true, ""},
		{"the handler's if the backend has no tag", "", "", true, ""},
		{"the handler's if the backend's is malformed", "", `own`, true, ""},
		{"etag upstream: the backend's", "etag upstream", `"own"`, false, `"own"`},
		{"etag upstream: a weak tag stays", "etag upstream", `W/"own"`, false, `W/"own"`},
		{"etag upstream: no tag if the backend has none", "etag upstream", "", false, ""},
		{"etag body: the handler's, even if the backend has one", "etag body", `"own"`, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var fields []string
			if tt.own != "" {
				fields = []string{"ETag", tt.own}
			}
			backend := caddytest.Page("content", fields...)
			url := caddytest.Site(t, tt.options, backend)
			a := caddytest.Send(t, "GET", url, "").Expect(t, 200)
			got := a.Header.Get("ETag")
			if tt.minted {
				if got == "" || got == tt.own || got[0] != '"' {
					t.Fatalf("got %s, want a tag from the handler", got)
				}
			} else if got != tt.want {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if got == "" || got[0] != '"' {
				// Without a strong tag, conditional writes fail. Conditional reads still work.
				caddytest.Send(t, "PUT", url, "new", "If-Match", `"own"`).Expect(t, 412)
				caddytest.Send(t, "PUT", url, "new", "If-Match", `W/"own"`).Expect(t, 412)
				caddytest.Send(t, "GET", url, "", "If-None-Match", `"other"`).Expect(t, 200)
				if got != "" { // weak comparison (RFC 9110, section 13.1.2)
					if a := caddytest.Send(t, "GET", url, "", "If-None-Match", got).Expect(t, 304); a.Header.Get("ETag") != got {
						t.Errorf("ETag: %s", a.Header.Get("ETag"))
					}
				}
				backend.Unwritten(t)
				return
			}
			// A write with the tag from the GET passes. The backend gets its own tag in
			// the condition, if it has one, and never the handler's.
			caddytest.Send(t, "PUT", url, "new", "If-Match", got).Expect(t, 204)
			want := tt.own
			if want == "own" {
				want = "" // no tag
			}
			if forwarded := backend.Last(t, "PUT").Header.Get("If-Match"); forwarded != want {
				t.Errorf("the backend got If-Match: %s", forwarded)
			}
			if tt.minted && tt.own != "" {
				caddytest.Send(t, "PUT", url, "new", "If-Match", tt.own).Expect(t, 412)
			}
		})
	}
}

// A response that exceeds the buffer is streamed without a tag.
func TestOptionBuffer(t *testing.T) {
	seen := make(chan struct{})
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Query().Get("first"))
		if r.URL.Query().Has("second") {
			_ = http.NewResponseController(w).Flush()
			<-seen
			_, _ = io.WriteString(w, r.URL.Query().Get("second"))
		}
	}}
	url := caddytest.Site(t, "buffer 10", backend)

	caddytest.Send(t, "GET", url+"/?first=0123456789", "").Expect(t, 200).Tag(t)
	if a := caddytest.Send(t, "GET", url+"/?first=0123456789x", "").Expect(t, 200); a.Header.Get("ETag") != "" || a.Content != "0123456789x" {
		t.Errorf("got %s and %q", a.Header.Get("ETag"), a.Content)
	}

	r, err := caddytest.Client.Get(url + "/?first=0123456789x&second=y")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	first := make([]byte, 11)
	if _, err := io.ReadFull(r.Body, first); err != nil { // while the backend waits
		t.Fatal(err)
	}
	close(seen)
	rest, err := io.ReadAll(r.Body)
	if err != nil || string(rest) != "y" || r.Header.Get("ETag") != "" {
		t.Errorf("got %q, %v, ETag %s", rest, err, r.Header.Get("ETag"))
	}
}

func TestOptionRequire(t *testing.T) {
	for _, tt := range []struct {
		options string
		refused string // the methods that are refused without a condition
	}{
		{"", ""},
		{"require", "PUT PATCH DELETE"},
		{"require POST LOCK", "POST LOCK"},
	} {
		t.Run(tt.options, func(t *testing.T) {
			backend := caddytest.Page("content")
			url := caddytest.Site(t, tt.options, backend)
			for _, method := range []string{"PUT", "PATCH", "DELETE", "POST", "LOCK", "GET", "HEAD", "OPTIONS", "PROPFIND"} {
				a := caddytest.Send(t, method, url, "")
				if got, want := a.StatusCode == 428, strings.Contains(" "+tt.refused+" ", " "+method+" "); got != want {
					t.Errorf("%s was refused: %v, want %v", method, got, want)
				}
			}
			if tt.refused != "" {
				// A condition that must be ignored doesn't count. A method in
				// an override field does, and so does one in lower case.
				method := strings.Fields(tt.refused)[0]
				caddytest.Send(t, strings.ToLower(method), url, "").Expect(t, 428)
				caddytest.Send(t, method, url, "", "If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT").Expect(t, 428)
				caddytest.Send(t, "PROPPATCH", url, "", "X-HTTP-Method-Override", method).Expect(t, 428)
				caddytest.Send(t, method, url, "", "If-Match", "*").Expect(t, 204)
			}
		})
	}
}

// The option verify decides which writes cost a GET.
func TestOptionVerify(t *testing.T) {
	for _, tt := range []struct {
		verify          string
		refused, passed int
	}{
		{"passing", 0, 1},
		{"all", 1, 1},
		{"never", 0, 0},
		{"1h", 0, 0},  // the entry is younger than that
		{"1ns", 0, 1}, // the entry is older than that
	} {
		t.Run(tt.verify, func(t *testing.T) {
			backend := caddytest.Page("content")
			url := caddytest.Site(t, "write_etag off\nverify "+tt.verify, backend)
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			if got := backend.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412) }); got != tt.refused {
				t.Errorf("a refused write costs %d GETs, want %d", got, tt.refused)
			}
			if got := backend.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 204) }); got != tt.passed {
				t.Errorf("a write that passes costs %d GETs, want %d", got, tt.passed)
			}
			if got := backend.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 204) }); got != 1 {
				t.Errorf("a write to a resource in an unknown state costs %d GETs, want 1", got)
			}
		})
	}
}

// The option wait limits how long a write waits for the write before it.
func TestOptionWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wait   string
		status int
	}{
		{"1ms", 503},
		{"1m", 412},
	} {
		t.Run(tt.wait, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			url := caddytest.Site(t, "wait "+tt.wait, docs) + "/docs/a"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			first := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", tag)
			if tt.status == 412 {
				// whether it is decided before or after b lands, it must not overwrite b
				g.Open()
			}
			a := caddytest.Send(t, "PUT", url, "c", "If-Match", tag).Expect(t, tt.status)
			if got := a.Header.Get("Retry-After"); tt.status == 503 && got != "1" {
				t.Errorf("Retry-After: %s", got)
			}
			g.Open()
			caddytest.ExpectResult(t, first, 204)
		})
	}
}

// The handler passes the configured lease, retention and grace to the store. What nothing is
// known of is kept for a minute.
func TestOptionTerms(t *testing.T) {
	for options, want := range map[string]etagcache.Terms{
		"":                           {Lease: 30 * time.Second, Retention: 24 * time.Hour, Grace: 10 * time.Second},
		"lease 3s\nretention 7d":     {Lease: 3 * time.Second, Retention: 7 * 24 * time.Hour, Grace: time.Second},
		"lease 1s\nretention 1500ms": {Lease: time.Second, Retention: 1500 * time.Millisecond, Grace: time.Second / 3},
		"grace 30s":                  {Lease: 30 * time.Second, Retention: 24 * time.Hour, Grace: 30 * time.Second},
	} {
		t.Run(options, func(t *testing.T) {
			url := caddytest.Site(t, "store test terms\n"+options, caddytest.Page("content"))
			caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, 204)
			caddytest.Send(t, "PUT", url, "x").Expect(t, 204)
			terms := caddytest.Opened(t, "terms").Terms()
			if len(terms) == 0 {
				t.Fatal("the store was never called")
			}
			want.Brief = time.Minute
			for _, got := range terms {
				if got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
		})
	}
}

// A write that got no answer blocks other writes until its lease expires.
func TestOptionLease(t *testing.T) {
	t.Parallel()
	unanswered := func(t *testing.T, options string) string {
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			if r.Header.Get("X-Abort") == r.Method {
				panic(http.ErrAbortHandler)
			}
			return 0
		}})
		caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
		url := caddytest.Site(t, options, docs) + "/docs/a"
		caddytest.Send(t, "PUT", url, "b", "If-Match", "*", "X-Abort", "PUT").Expect(t, 502)
		return url
	}
	t.Run("long", func(t *testing.T) {
		caddytest.Send(t, "PUT", unanswered(t, "lease 1h\nretention 2h\nwait 1ms"), "c", "If-Match", "*").Expect(t, 503)
	})
	t.Run("short", func(t *testing.T) {
		caddytest.Send(t, "PUT", unanswered(t, "lease 1s\nwait 1m"), "c", "If-Match", "*").Expect(t, 204)
	})
}

// TestLeaseOfTheUnanswered: a write that fails without an answer may still land.
// It blocks others for a whole new lease from then on, however little was left of
// its current one.
func TestLeaseOfTheUnanswered(t *testing.T) {
	m := caddytest.UsedMiniredis(t)
	begun := time.Now()
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
		g.Pass(r)
		if r.Header.Get("X-Abort") == r.Method {
			panic(http.ErrAbortHandler)
		}
		return 0
	}})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nlease 1h\nwait 100ms", m.Addr()), docs) + "/docs/a"
	caddytest.Send(t, "PUT", url, "a").Expect(t, 204) // returns once the grace is over
	first := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", "*", "X-Abort", "PUT")
	m.SetTime(begun.Add(50 * time.Minute))
	g.Open()
	caddytest.ExpectResult(t, first, 502)
	m.SetTime(begun.Add(100 * time.Minute))
	caddytest.Send(t, "PUT", url, "c", "If-Match", "*").Expect(t, 503)
	m.SetTime(begun.Add(2 * time.Hour))
	caddytest.Send(t, "PUT", url, "c", "If-Match", "*").Expect(t, 204)
}

// Mode report forwards everything, and reports what would have been refused.
func TestOptionModeReport(t *testing.T) {
	backend := caddytest.Page("content")
	sites, url, metrics := caddytest.WithMetrics(t, caddytest.Guarded("mode report\nrequire", caddytest.Serve(t, backend)))
	caddytest.Start(t, sites)
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	many := strings.Repeat(`"stale",`, 257) + tag
	bypassed := caddytest.Counted(t, metrics, "bypassed", "report") // the count that other tests in this process left
	for _, tt := range []struct {
		method  string
		fields  []string
		outcome string
	}{
		{"PUT", []string{"If-Match", `"stale"`}, "failed"},
		{"PUT", []string{"If-None-Match", "*"}, "failed"},
		{"PUT", []string{"If-Match", tag}, "passed"},
		{"PUT", nil, "required"},
		{"POST", nil, "unconditional"},
		{"GET", []string{"If-Match", `"stale"`}, "failed"},
		{"GET", []string{"If-None-Match", tag}, "unmodified"},
		{"PUT", []string{"If-Match", many}, "unverifiable"},
		{"GET", []string{"If-Match", many}, "unverifiable"},
		{"GET", []string{"If-None-Match", many}, "unverifiable"},
	} {
		writes, before := len(backend.All("PUT", "POST")), caddytest.Counted(t, metrics, tt.outcome, "report")
		a := caddytest.Send(t, tt.method, url, "", tt.fields...).ExpectOutcome(t, tt.outcome)
		if tt.method != "GET" {
			a.Expect(t, 204)
			if len(backend.All("PUT", "POST")) != writes+1 {
				t.Errorf("%s %v was not forwarded once", tt.method, tt.fields)
			}
		} else if a.StatusCode >= 400 {
			t.Errorf("%s %v: got %s", tt.method, tt.fields, a.Status)
		}
		if n := caddytest.Counted(t, metrics, tt.outcome, "report") - before; n != 1 {
			t.Errorf("%s %v: counted %d times as %s", tt.method, tt.fields, n, tt.outcome)
		}
	}
	if n := caddytest.Counted(t, metrics, "failed", "report"); n == 0 || caddytest.Counted(t, metrics, "bypassed", "report") != bypassed {
		t.Errorf("counted %d as failed, or some as bypassed", n)
	}
}

// With errors caddy, handle_errors writes the answer.
func TestOptionErrorsCaddy(t *testing.T) {
	backend := caddytest.Page("content")
	options := "errors caddy\nrequire"
	handled := `
handle_errors {
	header X-Reason "{http.preconditions.condition} {http.preconditions.provided_etag} {http.preconditions.current_etag}"
	header X-Outcome {http.preconditions.outcome}
	respond "{err.status_code} {http.preconditions.problem}"
}`
	url := caddytest.OneNodeAt(t, caddytest.Guarded(options, caddytest.Serve(t, backend))+handled).First()
	tag := caddytest.Send(t, "GET", url, "").Tag(t)

	a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412).ExpectOutcome(t, "failed")
	status, problem, _ := strings.Cut(a.Content, " ")
	var members map[string]any
	if err := json.Unmarshal([]byte(problem), &members); err != nil {
		t.Fatalf("%v in %q", err, a.Content)
	}
	if status != "412" || members["status"] != 412.0 || members["current_etag"] != tag {
		t.Errorf("got %s and %v", status, members)
	}
	if got, want := a.Header.Get("X-Reason"), `If-Match "stale" `+tag; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := a.Header.Values("ETag"); len(got) != 1 || got[0] != tag {
		t.Errorf("ETag: %v", got)
	}
	if a := caddytest.Send(t, "PUT", url, "x").Expect(t, 428); !strings.HasPrefix(a.Content, "428 {") {
		t.Errorf("got %q", a.Content)
	}
	backend.Unwritten(t)

	t.Run("without handle_errors the answer is only the status", func(t *testing.T) {
		url := caddytest.OneNodeAt(t, caddytest.Guarded(options, caddytest.Serve(t, backend))).First()
		if a := caddytest.Send(t, "PUT", url, "x", "If-Match", `"stale"`).Expect(t, 412); a.Content != "" {
			t.Errorf("got %q", a.Content)
		}
	})
}

// Placeholders without a value are empty, for example in an error that doesn't come
// from the handler.
func TestPlaceholdersWithoutValue(t *testing.T) {
	url := caddytest.OneNodeAt(t, caddytest.Guarded("errors caddy", caddytest.Address(t))+`
handle_errors {
	respond "[{http.preconditions.condition}{http.preconditions.provided_etag}{http.preconditions.current_etag}{http.preconditions.problem}]"
}`).First()
	for _, method := range []string{"GET", "PUT", "OPTIONS"} {
		if a := caddytest.Send(t, method, url, "").Expect(t, 502); a.Content != "[]" {
			t.Errorf("%s: got %q", method, a.Content)
		}
	}
}

// With disclose off, refusals don't contain the current validators.
func TestOptionDisclose(t *testing.T) {
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	for _, disclose := range []bool{true, false} {
		word := map[bool]string{true: "on", false: "off"}[disclose]
		t.Run(word, func(t *testing.T) {
			backend := caddytest.Page("content", "ETag", `"current"`, "Last-Modified", date)
			url := caddytest.OneNodeAt(t, "header >X-Current [{http.preconditions.current_etag}]\n"+caddytest.Guarded("disclose "+word, caddytest.Serve(t, backend))).First()
			if a := caddytest.Send(t, "GET", url, "").Expect(t, 200); a.Header.Get("Last-Modified") != date {
				t.Fatalf("Last-Modified: %s", a.Header.Get("Last-Modified"))
			}
			for _, fields := range [][]string{
				{"If-Match", `"stale"`},
				{"If-None-Match", "*"},
				{"If-Unmodified-Since", "Wed, 31 Dec 2025 00:00:00 GMT"},
			} {
				a := caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, 412)
				disclosed := map[string]bool{
					"the field ETag":           a.Header.Get("ETag") == `"current"`,
					"the field Last-Modified":  a.Header.Get("Last-Modified") == date,
					"the member current_etag":  problemOf(t, a)["current_etag"] == `"current"`,
					"the member last_modified": problemOf(t, a)["last_modified"] == date,
					"the placeholder":          a.Header.Get("X-Current") == `["current"]`,
				}
				for what, is := range disclosed {
					if is != disclose {
						t.Errorf("%v: %s shows the validator: %v, want %v", fields, what, is, disclose)
					}
				}
				if text := fmt.Sprint(a.Header, a.Content); !disclose && (strings.Contains(text, `current"`) || strings.Contains(text, date)) {
					t.Errorf("%v: a validator is in the refusal: %s", fields, text)
				}
			}
		})
	}
}

// Unconditional writes wait for a conditional write in flight. With unconditional
// forward they are forwarded at once, and mark the resource as changed.
func TestOptionUnconditional(t *testing.T) {
	for _, tt := range []struct {
		word   string
		status int
	}{
		{"serialize", 503},
		{"forward", 204},
	} {
		t.Run(tt.word, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			url := caddytest.Site(t, "verify never\nwait 1ms\nunconditional "+tt.word, docs) + "/docs/a"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			first := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", tag)
			caddytest.Send(t, "PUT", url, "c").Expect(t, tt.status)
			g.Open()
			caddytest.ExpectResult(t, first, 204)

			tag = caddytest.Send(t, "GET", url, "").Tag(t)
			caddytest.Send(t, "PUT", url, "d").Expect(t, 204)
			caddytest.Send(t, "PUT", url, "e", "If-Match", tag).Expect(t, 412)
		})
	}
}

func TestOptionStoreDown(t *testing.T) {
	tests := []struct {
		options                      string
		holds, fails, none, required int // the status of a PUT whose condition holds, fails, is absent or must be ignored
		retryAfter                   string
	}{
		{"", 503, 503, 204, 204, "5"},
		{"store_down {\nretry_after 7s\n}", 503, 503, 204, 204, "7"},
		{"store_down {\nconditional refuse\nunconditional refuse\n}", 503, 503, 503, 503, "5"},
		{"store_down {\nconditional forward\n}", 204, 412, 204, 204, ""},
		{"store_down {\nconditional forward\nunconditional refuse\nretry_after 1m\n}", 204, 412, 503, 503, "60"},
		{"store_down {\nconditional forward\n}\nunconditional forward", 204, 412, 204, 204, ""},
		{"store_down {\nconditional forward\n}\nrequire", 204, 412, 428, 428, ""},
	}
	for _, tt := range tests {
		t.Run(tt.options, func(t *testing.T) {
			backend := caddytest.Page("content")
			url := caddytest.Site(t, "store redis redis://"+caddytest.Address(t)+"\n"+tt.options, backend)

			// Reads are still answered, with tags.
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304)
			caddytest.Send(t, "GET", url, "", "If-Match", `"stale"`).Expect(t, 412)

			// Nobody knows whether the content was ever read, so HEAD doesn't read it.
			for _, fields := range [][]string{nil, {"If-None-Match", tag}, {"If-Match", `"stale"`}} {
				if got := caddytest.Send(t, "HEAD", url, "", fields...).Expect(t, 200).Header.Get("ETag"); got != "" {
					t.Errorf("HEAD shows the tag %s", got)
				}
			}

			for _, write := range []struct {
				status int
				fields []string
			}{
				{tt.holds, []string{"If-Match", tag}},
				{tt.fails, []string{"If-Match", `"stale"`}},
				{tt.none, nil},
				{tt.required, []string{"If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"}},
			} {
				before := len(backend.All("PUT"))
				a := caddytest.Send(t, "PUT", url, "x", write.fields...).Expect(t, write.status)
				if got := a.Header.Get("Retry-After"); write.status == 503 && got != tt.retryAfter {
					t.Errorf("%v: Retry-After: %s, want %s", write.fields, got, tt.retryAfter)
				}
				if forwarded := len(backend.All("PUT")) - before; (forwarded == 1) != (write.status == 204) {
					t.Errorf("%v: forwarded %d times", write.fields, forwarded)
				}
			}
		})
	}
}

// After an outage of the store, the handler marks resources that were written
// meanwhile as changed. It trusts the store only after that.
func TestStoreAwayAndBack(t *testing.T) {
	for _, options := range []string{"", "unconditional forward", "store_down {\nconditional forward\n}"} {
		t.Run(options, func(t *testing.T) {
			m := caddytest.UsedMiniredis(t)
			docs := legacydocs.New(legacydocs.Options{})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
			caddytest.Bypass(t, docs, "PUT", "/docs/b", "b")
			url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nverify never\n%s", m.Addr(), options), docs)
			tagA, tagB := caddytest.Send(t, "GET", url+"/docs/a", "").Tag(t), caddytest.Send(t, "GET", url+"/docs/b", "").Tag(t)

			back := caddytest.TakeAway(t, m)
			var fields []string
			if strings.Contains(options, "conditional forward\n}") {
				fields = []string{"If-Match", tagA}
			}
			caddytest.Send(t, "PUT", url+"/docs/a", "a2", fields...).Expect(t, 204)
			back()

			caddytest.Send(t, "PUT", url+"/docs/a", "a3", "If-Match", tagA).Expect(t, 412)
			caddytest.Send(t, "PUT", url+"/docs/b", "b2", "If-Match", tagB).Expect(t, 204) // nothing happened to b
			if got := caddytest.WritesOf(docs, "/docs/a"); len(got) != 2 {
				t.Errorf("a was written %d times, want 2", len(got))
			}
		})
	}
}

// If a write begins while the store is away, and is still in flight when the store
// is back, conditional writes of the same resource wait for it. Writes of other
// resources don't.
func TestStoreBackDuringWrite(t *testing.T) {
	m := caddytest.UsedMiniredis(t)
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	for i := range 9 {
		caddytest.Bypass(t, docs, "PUT", fmt.Sprintf("/docs/%d", i), "old")
	}
	options := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nverify never\nwait 100ms", m.Addr())
	url := caddytest.OneNode(t, options, docs).First()
	tag := caddytest.Send(t, "GET", url+"/docs/0", "").Tag(t)

	back := caddytest.TakeAway(t, m)
	first := g.Send(t.Context(), t, "PUT", url+"/docs/0", "new")
	back()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := caddytest.Try(ctx, "PUT", url+"/docs/0", "newer", "If-Match", tag)
	if err != nil {
		t.Fatal(err)
	}
	a.Expect(t, 503).ExpectOutcome(t, "conflict")

	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			to := fmt.Sprintf("%s/docs/%d", url, i+1)
			for range 10 {
				a, err := caddytest.Try(t.Context(), "PUT", to, "new", "If-Match", "*")
				if err != nil || a.StatusCode != 204 {
					t.Errorf("a write of another resource: %v, %v", a.Response, err)
					return
				}
			}
		})
	}
	all.Wait()

	g.Open()
	caddytest.ExpectResult(t, first, 204)
	caddytest.Send(t, "PUT", url+"/docs/0", "newer", "If-Match", tag).Expect(t, 412)
}

// TestForwardedEnds: with unconditional forward, a tag that was read during a write
// is no longer valid once that write has ended. This also holds if the store is
// away when it ends.
func TestForwardedEnds(t *testing.T) {
	for _, away := range []bool{false, true} {
		m := caddytest.UsedMiniredis(t)
		g := caddytest.NewGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
		url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nverify never\nunconditional forward", m.Addr()), docs) + "/docs/a"
		caddytest.Send(t, "PUT", url, "old", "If-None-Match", "*").Expect(t, 201) // returns once the grace is over
		first := g.Send(t.Context(), t, "PUT", url, "new")
		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		back := func() {}
		if away {
			back = caddytest.TakeAway(t, m)
		}
		g.Open()
		caddytest.ExpectResult(t, first, 204)
		back()
		caddytest.Send(t, "PUT", url, "newer", "If-Match", tag).Expect(t, 412)
	}
}
