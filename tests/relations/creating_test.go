package relations

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// library is a backend at which a POST to a collection creates, or replaces, what its
// content names, as many do that use an upsert.
type library struct {
	mu    sync.Mutex
	books map[string]string
	saved []string // the identifiers, in the order of the POSTs
	gate  *caddytest.Gate
}

func newLibrary() *library { return &library{books: make(map[string]string)} }

func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if l.gate != nil {
		l.gate.Pass(r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id, one := strings.CutPrefix(r.URL.Path, "/books/")
	book, exists := l.books[id]
	switch {
	case r.Method == "POST":
		var sent map[string]any
		_ = json.Unmarshal(content, &sent)
		id := fmt.Sprint(sent["id"])
		l.books[id] = string(content)
		l.saved = append(l.saved, id)
		w.Header().Set("Location", "/books/"+id)
		w.WriteHeader(http.StatusCreated)
	case one && !exists:
		w.WriteHeader(http.StatusNotFound)
	case one:
		_, _ = io.WriteString(w, book)
	default:
		_ = json.NewEncoder(w).Encode(l.books)
	}
}

// create sends a POST of JSON content to the collection.
func create(t testing.TB, base, content string, fields ...string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, "POST", base+"/books", content, append(fields, "Content-Type", "application/json")...)
}

const guardsBooks = "guards /books /books/{id}\n"

// Of any number of clients that create one resource, exactly one does.
func TestCreateOnce(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", "verify never\n"} {
		t.Run(caddytest.Title(more), func(t *testing.T) {
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				l := newLibrary()
				n := deploy(t, guardsBooks+more, l)
				for _, id := range []string{`"a b"`, "7", `"ä?#:@+&=,x"`} {
					if created := l.contest(t, n, id); created != 1 || len(l.saved) != 1 {
						t.Errorf("%s: %d clients were told that they created it, and the backend heard %q", id, created, l.saved)
					}
					l.saved = nil
				}
			})
		})
	}
}

// contest lets 16 clients create a book at once, and returns how many were told that they
// did.
func (l *library) contest(t *testing.T, n caddytest.Nodes, id string) (created int) {
	t.Helper()
	var all []<-chan caddytest.Result
	for i := range 16 {
		content := fmt.Sprintf(`{"by":%d,"id":%s}`, i, id)
		all = append(all, caddytest.Go(t.Context(), "POST", n[i%len(n)]+"/books", content, "If-None-Match", "*", "Content-Type", "application/json"))
	}
	for _, one := range all {
		switch r := <-one; {
		case r.Err != nil:
			t.Error(r.Err)
		case r.StatusCode == http.StatusCreated:
			created++
		default:
			r.Expect(t, 412)
		}
	}
	return created
}

// The condition is about what the content names, and not about the collection. Afterwards
// nothing is known about either.
func TestCreateIsAboutWhatIsCreated(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		l := newLibrary()
		n := deploy(t, guardsBooks+"verify never\n", l)
		list := caddytest.Send(t, "GET", n.First()+"/books", "").Tag(t)
		create(t, n.First(), `{"id":"x"}`, "If-None-Match", "*").Expect(t, 201)
		create(t, n.Other(), `{"id":"x"}`, "If-None-Match", "*").Expect(t, 412)
		create(t, n.Other(), `{"id":"X"}`, "If-None-Match", "*").Expect(t, 201) // the key of X is that of x, but the origin is asked
		create(t, n.Other(), `{"id":"y"}`, "If-None-Match", "*").Expect(t, 201)
		caddytest.Send(t, "PUT", n.First()+"/books", "x", "If-Match", list).Expect(t, 412)

		tag := caddytest.Send(t, "GET", n.First()+"/books/x", "").Tag(t)
		create(t, n.First(), `{"id":"x","n":2}`, "If-Match", `"other"`).Expect(t, 412)
		create(t, n.Other(), `{"id":"x","n":2}`, "If-Match", tag).Expect(t, 201)
		create(t, n.First(), `{"id":"x","n":3}`, "If-Match", tag).Expect(t, 412)
	})
}

// If the content doesn't say what a condition is about, the write is refused. Without a
// condition it passes.
func TestCreateUnclear(t *testing.T) {
	t.Parallel()
	l := newLibrary()
	n := caddytest.OneNode(t, guardsBooks+"buffer 1KiB\n", l)
	for _, tt := range []struct {
		content string
		status  int
		says    string
	}{
		{`{}`, 400, "member id of its JSON content"},
		{`{"ID":"x"}`, 400, "member id"},
		{`{"id":null}`, 400, "member id"},
		{`{"id":""}`, 400, "member id"},
		{`{"id":1.5}`, 400, "member id"},
		{`{"id":["x"]}`, 400, "member id"},
		{`{"id":"x","id":"y"}`, 400, "there once"},
		{`{"id":"a/b"}`, 400, "one segment"},
		{`{"id":"a\\b"}`, 400, "one segment"},
		{`{"id":"a%2Fb"}`, 400, "one segment"},
		{`{"id":".."}`, 400, "one segment"},
		{`{"id":"."}`, 400, "one segment"},
		{`{"id":"index.html"}`, 400, "one segment"},
		{`{"id":"a\u0000b"}`, 400, "one segment"},
		{`{"id":" "}`, 400, "one segment"},
		{`[{"id":"x"}]`, 400, "member id"},
		{`"x"`, 400, "member id"},
		{`{"id":"x"`, 400, "isn't valid JSON"},
		{`{"id":"x","a":"` + strings.Repeat("x", 1024) + `"}`, 413, "longer than"},
	} {
		a := create(t, n.First(), tt.content, "If-None-Match", "*")
		if a.StatusCode != tt.status || !strings.Contains(a.Content, tt.says) {
			t.Errorf("%.40s: got %s, want %d and %q\n%s", tt.content, a.Status, tt.status, tt.says, a.Content)
		}
	}
	caddytest.Send(t, "POST", n.First()+"/books", `{"id":"x"}`, "If-None-Match", "*", "Content-Type", "text/plain").Expect(t, 400)
	caddytest.Send(t, "POST", n.First()+"/books", "", "If-None-Match", "*").Expect(t, 400)
	create(t, n.First(), `{"id":"x"}`, "If-None-Match", "*", "Content-Encoding", "gzip").Expect(t, 415)
	if len(l.saved) != 0 {
		t.Errorf("the backend heard %q", l.saved)
	}
	create(t, n.First(), `{"n":1}`).Expect(t, 201).ExpectOutcome(t, "unconditional")
	create(t, n.First(), `{"id":"a/b"}`).Expect(t, 201).ExpectOutcome(t, "unconditional")
	create(t, n.First(), `{"id":"y","a":"`+strings.Repeat("x", 4096)+`"}`).Expect(t, 201).ExpectOutcome(t, "unconditional")
	if got := caddytest.Send(t, "GET", n.First()+"/books/y", "").Content; len(got) < 4096 {
		t.Errorf("the backend got %s", got)
	}
	// A condition on the collection, with any other method, is about the collection.
	caddytest.Send(t, "PUT", n.First()+"/books", "{}", "If-Match", `"x"`, "Content-Type", "application/json").Expect(t, 412)
}

// A POST without a condition waits for one that creates the same under a condition.
func TestCreateWaits(t *testing.T) {
	t.Parallel()
	l := newLibrary()
	l.gate = caddytest.NewGate()
	n := caddytest.OneNode(t, guardsBooks+"wait 100ms\nverify never\n", l)
	caddytest.Send(t, "GET", n.First()+"/books/y", "").Expect(t, 404)
	first := l.gate.Send(t.Context(), t, "POST", n.First()+"/books", `{"id":"x"}`, "Content-Type", "application/json")
	create(t, n.First(), `{"id":"x"}`, "If-None-Match", "*").Expect(t, 503)
	l.gate.Open()
	caddytest.ExpectResult(t, first, 201)
	create(t, n.First(), `{"id":"x"}`, "If-None-Match", "*").Expect(t, 412)
}

// A rule may take one segment from the path, and another from the content.
func TestCreateBelow(t *testing.T) {
	t.Parallel()
	b := caddytest.Obedient()
	n := caddytest.OneNode(t, "guards /shelves/*/books /shelves/*/books/{isbn}\n", b)
	caddytest.Send(t, "POST", n.First()+"/shelves/a%20b/books?x=1", `{"isbn":"1 2;3"}`, "If-None-Match", "*", "Content-Type", "application/json")
	asked := b.Last(t, "GET").RequestURI
	if want := "/shelves/a%20b/books/1%202%3B3"; asked != want {
		t.Errorf("the origin was asked for %s, want %s", asked, want)
	}
}

// Without such a rule, the refusal says what the condition is about, and what the operator
// can do.
func TestCreateWithoutRule(t *testing.T) {
	t.Parallel()
	l := newLibrary()
	n := caddytest.OneNode(t, "", l)
	a := create(t, n.First(), `{"id":"x"}`, "If-None-Match", "*").Expect(t, 412)
	for _, words := range []string{"the target of the POST", "option guards"} {
		if !strings.Contains(a.Content, words) {
			t.Errorf("the refusal doesn't say %q: %s", words, a.Content)
		}
	}
	ship := caddytest.OneNode(t, "guards /books /shelf\n", caddytest.Page("x"))
	if a := create(t, ship.First(), "{}", "If-None-Match", "*").Expect(t, 412); strings.Contains(a.Content, "target of the POST") {
		t.Error(a.Content)
	}
}
