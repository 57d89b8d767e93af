package origin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// moody is a backend whose documents never change. It answers the GETs of a path with
// the status that is set for it, in its own words.
type moody struct {
	moods  sync.Map // status by path
	writes sync.Map // paths that were written
}

const ownWords = "the origin's own words"

// ofAnswer are fields that tell a client what to do about a status.
var ofAnswer = map[string]string{
	"Retry-After": "7", "Location": "/elsewhere", "Www-Authenticate": `Basic realm="legacy"`, "Allow": "PUT", "X-Backend": "legacy",
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		m.writes.Store(r.URL.Path, true)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status, _ := m.moods.Load(r.URL.Path)
	if status == nil || status == 200 {
		_, _ = io.WriteString(w, "content")
		return
	}
	for name, value := range ofAnswer {
		w.Header().Set(name, value)
	}
	w.Header().Set("ETag", `"of an error"`)
	w.WriteHeader(status.(int))
	if bodyAllowed(status.(int)) {
		_, _ = io.WriteString(w, ownWords)
	}
}

func bodyAllowed(status int) bool { return status != 204 && status != 304 && status != 205 }

// documented reads the table of the answers to probes from the documentation: the cell for
// each status and method.
func documented(t *testing.T) func(status int, method string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### What the answer to a probe means\n")
	_, table, _ := strings.Cut(section, "|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	columns := map[string]int{"PUT": 2, "PATCH": 2, "POST": 3, "DELETE": 4}
	named := make(map[int][]string)
	var others, otherErrors []string
	codes := regexp.MustCompile("`([2-5][0-9][0-9])`(?:–`([2-5][0-9][0-9])`)?")
	for row := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
		cells := strings.Split(row, "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		if len(cells) != 6 {
			t.Fatalf("a row of the table is %q", row)
		}
		switch first := strings.Split(row, "|")[1]; {
		case strings.Contains(first, "`4xx`"):
			otherErrors = cells
		case strings.Contains(first, "else"):
			others = cells
		default:
			for _, match := range codes.FindAllStringSubmatch(first, -1) {
				from, _ := strconv.Atoi(match[1])
				to, err := strconv.Atoi(match[2])
				if err != nil {
					to = from
				}
				for status := from; status <= to; status++ {
					if named[status] != nil {
						t.Fatalf("%d is in two rows", status)
					}
					named[status] = cells
				}
			}
		}
	}
	if len(named) == 0 || others == nil || otherErrors == nil {
		t.Fatal("there is no such table")
	}
	return func(status int, method string) string {
		cells := named[status]
		switch {
		case cells != nil:
		case status/100 == 3 || status/100 == 4:
			cells = otherErrors
		default:
			cells = others
		}
		return cells[columns[method]]
	}
}

// ofEachKind are statuses of every row of the table.
var ofEachKind = []int{200, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 408, 410, 422, 425, 429, 451, 500, 503, 504}

// A 412 says that a condition was false, and nothing else does. Whatever the origin answers
// to a probe, the client learns what it can do about it, the backend doesn't hear of the
// write, nothing stays locked, and the next write after the recovery succeeds (RFC 9110,
// section 13.2.1; RFC 6585, section 4). The documentation has the table.
func TestProbeStatus(t *testing.T) {
	cell := documented(t)
	for _, verify := range []string{"passing", "all", "never", "1h"} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, known %v", verify, known), func(t *testing.T) {
				t.Parallel()
				backend := new(moody)
				url := caddytest.OneNode(t, "wait 1m\nlease 1m\nwrite_etag off\nverify "+verify, backend).First()
				tag := caddytest.Send(t, "GET", url+"/other", "").Tag(t)
				for _, method := range []string{"PUT", "PATCH", "POST", "DELETE"} {
					statuses := ofEachKind
					if verify == "passing" && !known && !testing.Short() {
						statuses = nil
						for status := 200; status < 600; status++ {
							statuses = append(statuses, status)
						}
					}
					for _, status := range statuses {
						p := probedWrite{backend, url, fmt.Sprintf("/%s/%d", method, status), method, tag}
						if known {
							caddytest.Send(t, "GET", p.url+p.path, "").Expect(t, 200)
						}
						want := cell(status, method)
						if known && (verify == "never" || verify == "1h") {
							want = "unasked"
						}
						p.expect(t, status, want)
					}
				}
			})
		}
	}
}

// probedWrite is a conditional write of a path that a moody backend serves.
type probedWrite struct {
	backend           *moody
	url, path, method string
	tag               string
}

func (p probedWrite) send(t *testing.T, tag string) caddytest.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // less than a lease
	defer cancel()
	a, err := caddytest.Try(ctx, p.method, p.url+p.path, "new", "If-Match", tag)
	if err != nil {
		t.Fatalf("%s %s: %v", p.method, p.path, err)
	}
	return a
}

// expect compares the answer to a write with a cell of the table, while probes get a
// status, and afterwards.
func (p probedWrite) expect(t *testing.T, status int, want string) {
	t.Helper()
	p.backend.moods.Store(p.path, status)
	if want == "the condition decides" {
		if a := p.send(t, `"stale"`); a.StatusCode != 412 {
			t.Errorf("%s: %d", p.path, a.StatusCode)
		}
		want = "412"
		if status == 200 {
			want = "unasked" // as if nobody had asked
		}
	}
	a := p.send(t, p.tag)
	_, written := p.backend.writes.Load(p.path)
	wanted, err := strconv.Atoi(want)
	relayed := false
	switch {
	case want == "unasked":
		wanted = 204
	case want == "relayed":
		wanted, relayed = status, true
	case err != nil:
		t.Fatalf("the table says %q", want)
	default:
		relayed = wanted/100 == 3
	}
	if a.StatusCode != wanted || written != (wanted == 204) {
		t.Errorf("%s, the probe got %d: %d, written %v, want %d", p.path, status, a.StatusCode, written, wanted)
	}
	for name, value := range ofAnswer {
		got := a.Header.Get(name)
		if relayed != (got == value) && (name != "Retry-After" || wanted != 503) {
			t.Errorf("%s, the probe got %d: %s: %q", p.path, status, name, got)
		}
	}
	switch {
	case a.Header.Get("ETag") == `"of an error"`:
		t.Errorf("%s: the tag of an error", p.path)
	case relayed && a.Content != ownWords:
		t.Errorf("%s: the content is %q", p.path, a.Content)
	case wanted == 503 && a.Header.Get("Retry-After") != "7":
		t.Errorf("%s: Retry-After: %q", p.path, a.Header.Get("Retry-After"))
	case wanted == 503 && a.Header.Get("X-Outcome") != "unavailable" && a.Header.Get("X-Outcome") != "unverifiable":
		t.Errorf("%s: outcome %s", p.path, a.Header.Get("X-Outcome"))
	}

	p.backend.moods.Store(p.path, 200)
	if slices.Contains([]int{204, 404, 410}, status) {
		caddytest.Send(t, "GET", p.url+p.path, "").Expect(t, 200) // the store has learned of the other state
	}
	if a := p.send(t, p.tag); a.StatusCode != 204 {
		t.Errorf("%s, after %d: %d %s", p.path, status, a.StatusCode, a.Content)
	}
}

// An origin that gives no advice, or one that is none, doesn't leave the client without.
func TestRetryAfterOfProbe(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"": "5", "0": "5", "soon": "5", "-3": "5", "3600": "3600", caddytest.LegacyDate: "5"} {
		backend := caddytest.Page("content")
		page := backend.Answer
		backend.Answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" && r.URL.Path == "/full" {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(503)
				return
			}
			page(w, r)
		}
		url := caddytest.OneNode(t, "", backend).First()
		if got := caddytest.Send(t, "PUT", url+"/full", "x", "If-Match", "*").Expect(t, 503).Header.Get("Retry-After"); got != want {
			t.Errorf("Retry-After: %s becomes %s, want %s", value, got, want)
		}
	}
}
