package clients

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// adorner is a JSON API with one document, at any path. It stores what it is sent together
// with a revision of its own, and shows that in the answers to writes as well.
type adorner struct {
	mu       sync.Mutex
	content  string
	revision int

	seen caddytest.Witness // of the GETs

	// answer, if not nil, writes the answer to a write.
	answer func(w http.ResponseWriter, r *http.Request, stored string)
	read   func(w http.ResponseWriter, r *http.Request, stored string) // the same for a GET
}

func newAdorner() *adorner {
	b := &adorner{content: `{"text":"old","revision":0}`}
	b.seen.Answer = func(w http.ResponseWriter, r *http.Request) {
		if b.read != nil {
			b.read(w, r, b.content)
			return
		}
		show(w, r, b.content)
	}
	return b
}

func (b *adorner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.Method == "GET" && b.content == "":
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method == "GET":
		b.seen.ServeHTTP(w, r)
		return
	}
	sent, _ := io.ReadAll(r.Body)
	if text := string(sent); text != "unchanged" {
		b.revision++
		b.content = fmt.Sprintf(`{"text":%q,"revision":%d}`, text, b.revision)
	}
	if b.answer != nil {
		b.answer(w, r, b.content)
		return
	}
	show(w, r, b.content)
}

// show is how the backend shows what it stores.
func show(w http.ResponseWriter, _ *http.Request, stored string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, stored)
}

// showWith is show with more fields, as pairs of name and value.
func showWith(status int, fields ...string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, stored string) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, stored)
		}
	}
}

// TestSaveTwice: with write_etag answer, the answer to a write that shows what was stored
// has the tag of the next GET, without another GET. A client can save again and again.
func TestSaveTwice(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, method := range []string{"PUT", "PATCH"} {
			b := newAdorner()
			n := deploy(t, "write_etag answer\nverify never", b)
			tag := caddytest.Send(t, "GET", n.First()+"/notes/"+method, "").Expect(t, 200).Tag(t)
			asks := b.seen.Asks(func() {
				for i := range 3 {
					tag = caddytest.Send(t, method, n.Random()+"/notes/"+method, fmt.Sprint("text ", i), "If-Match", tag).Expect(t, 200).Tag(t)
				}
				caddytest.Send(t, method, n.Random()+"/notes/"+method, "stale", "If-Match", `"stale"`).Expect(t, 412)
			})
			if asks != 0 {
				t.Errorf("%s: the origin was asked %d times, want 0", method, asks)
			}
			if now := caddytest.Send(t, "GET", n.First()+"/notes/"+method, "").Tag(t); now != tag {
				t.Errorf("%s: the answer had the tag %s, a GET has %s", method, tag, now)
			}
		}
	})
}

// TestSaveTwiceConfirmed: verify passing costs one GET for each of these saves, and no more.
func TestSaveTwiceConfirmed(t *testing.T) {
	b := newAdorner()
	url := caddytest.Site(t, "write_etag answer", b) + "/notes/1"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	asks := b.seen.Asks(func() {
		for i := range 3 {
			tag = caddytest.Send(t, "PATCH", url, fmt.Sprint(i), "If-Match", tag).Expect(t, 200).Tag(t)
		}
	})
	if asks != 3 {
		t.Errorf("the origin was asked %d times, want 3", asks)
	}
}

// TestSaveTwiceWithinTheLag: where the origin may show the past, the answer proves what is
// there: content that comes back, and a write that changes nothing, are no doubt.
func TestSaveTwiceWithinTheLag(t *testing.T) {
	b := newAdorner()
	b.answer = func(w http.ResponseWriter, r *http.Request, stored string) {
		text, _, _ := strings.Cut(stored, `,"revision"`)
		show(w, r, text+"}")
	}
	b.read = b.answer
	url := caddytest.Site(t, "write_etag answer\nlag 1h\nretention 2h", b) + "/notes/1"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	for _, sent := range []string{"one", "unchanged", "two", "one", "unchanged", "three"} {
		tag = caddytest.Send(t, "PUT", url, sent, "If-Match", tag).Expect(t, 200).Tag(t)
	}
}

// TestWhatAnswersShow: write_etag answer takes the content of an answer for the
// representation only if that can be. Otherwise a GET tells, and the answer has the tag of
// that in any case. A created resource's tag is its own (RFC 9110, section 15.3.2).
func TestWhatAnswersShow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string // PUT unless set
		sent   string
		answer func(http.ResponseWriter, *http.Request, string)
		read   func(http.ResponseWriter, *http.Request, string)
		fields []string
		asks   int // after the write
	}{
		{name: "200"},
		{name: "201", answer: showWith(201)},
		{name: "201 with its own Location", answer: showWith(201, "Location", "/notes/1")},
		{name: "200 with its own Content-Location (8.7)", answer: showWith(200, "Content-Location", "/notes/1")},
		{name: "200 with another Content-Location (6.4.2)", answer: showWith(200, "Content-Location", "/notes/1/status"), asks: 1},
		{name: "204", answer: showWith(204), asks: 1},
		{name: "205", answer: func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(205) }, asks: 1},
		{name: "206", answer: showWith(206, "Content-Range", "bytes 0-1/100"), asks: 1},
		{name: "no content", answer: func(http.ResponseWriter, *http.Request, string) {}, asks: 1},
		{name: "a content coding", answer: showWith(200, "Content-Encoding", "x-own"), asks: 1},
		{name: "return=minimal (RFC 7240)", answer: showWith(200, "Preference-Applied", "return=minimal"), asks: 1},
		{name: "a different media type", answer: showWith(200, "Content-Type", "application/json; charset=utf-8"), asks: 1},
		{name: "a different language", answer: showWith(200, "Content-Language", "de"), asks: 1},
		{name: "POST, which may answer with anything", method: "POST", asks: 1},
		{name: "PUT overridden to PATCH", fields: []string{"X-HTTP-Method-Override", "PATCH"}, asks: 1},
		{name: "the state before, as after a write that changed nothing", sent: "unchanged", asks: 1},
		{name: "a weak tag", answer: showWith(200, "ETag", `W/"x"`), read: showWith(200, "ETag", `W/"x"`)},
		{name: "a strong tag on the answer only", answer: showWith(200, "ETag", `"of-the-answer"`)},
		{name: "a strong tag on reads only", read: stronglyTagged, asks: 1},
		{name: "strong tags", answer: stronglyTagged, read: stronglyTagged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newAdorner()
			b.answer, b.read = tt.answer, tt.read
			url := caddytest.Site(t, "write_etag answer", b) + "/notes/1"
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			if tt.method == "" {
				tt.method = "PUT"
			}
			if tt.sent == "" {
				tt.sent = "new"
			}
			var a caddytest.Answer
			asks := b.seen.Asks(func() {
				a = caddytest.Send(t, tt.method, url, tt.sent, append(tt.fields, "If-Match", tag)...)
			})
			if got, want := asks, 1+tt.asks; got != want { // one confirms the condition
				t.Errorf("the origin was asked %d times, want %d", got, want)
			}
			if now := caddytest.Send(t, "GET", url, "").Tag(t); a.Header.Get("ETag") != now {
				t.Errorf("the answer has the tag %q, want %s", a.Header.Get("ETag"), now)
			}
			if a.Header.Get("Last-Modified") != "" {
				t.Error("the answer has a date")
			}
			caddytest.Send(t, "PUT", url, "newer", "If-Match", a.Header.Get("ETag")).Expect(t, max(a.StatusCode, 200))
		})
	}
}

// stronglyTagged shows what is stored with a strong tag made from it.
func stronglyTagged(w http.ResponseWriter, r *http.Request, stored string) {
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, stored))
	show(w, r, stored)
}

// TestAnswersThatShowNothing: an answer that is too long, not done, or a refusal gets no tag.
func TestAnswersThatShowNothing(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, string){
		"longer than the buffer": func(w http.ResponseWriter, _ *http.Request, _ string) {
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
		},
		"a stream": showWith(200, "Content-Type", "text/event-stream"),
		"202":      showWith(202), "207": showWith(207), "303": showWith(303), "400": showWith(400), "500": showWith(500),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newAdorner()
			b.answer = answer
			url := caddytest.Site(t, "write_etag answer\nbuffer 1000", b) + "/notes/1"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			if a := caddytest.Send(t, "PUT", url, "new", "If-Match", tag); a.Header.Get("ETag") != "" {
				t.Errorf("%d with the tag %s", a.StatusCode, a.Header.Get("ETag"))
			}
		})
	}
}

// TestAnswerToACreation: with write_etag answer, the answer to a POST that creates a resource
// elsewhere has the tag of that resource (RFC 9110, section 15.3.2), with or without a
// condition.
func TestAnswerToACreation(t *testing.T) {
	for _, conditional := range []bool{false, true} {
		b := newAdorner()
		b.answer = showWith(201, "Location", "/notes/7")
		url := caddytest.Site(t, "write_etag answer", b)
		var fields []string
		if conditional {
			fields = []string{"If-Match", caddytest.Send(t, "GET", url+"/notes", "").Tag(t)}
		}
		tag := caddytest.Send(t, "POST", url+"/notes", "new", fields...).Expect(t, 201).Tag(t)
		if now := caddytest.Send(t, "GET", url+"/notes/7", "").Tag(t); tag != now {
			t.Errorf("the answer has the tag %s, the resource has %s", tag, now)
		}
		caddytest.Send(t, "PATCH", url+"/notes/7", "newer", "If-Match", tag).Expect(t, 201)
		caddytest.Send(t, "PATCH", url+"/notes/7", "newer", "If-Match", tag).Expect(t, 412)
	}
}

// TestAnswerToACreationThatShowsSomethingElse: such an answer has no tag.
func TestAnswerToACreationThatShowsSomethingElse(t *testing.T) {
	for _, fields := range [][]string{
		{"Content-Location", "/receipts/1"}, {"Preference-Applied", "return=minimal"}, {"Content-Encoding", "x-own"},
	} {
		b := newAdorner()
		b.answer = showWith(201, append(fields, "Location", "/notes/7")...)
		url := caddytest.Site(t, "write_etag answer", b)
		if a := caddytest.Send(t, "POST", url+"/notes", "new").Expect(t, 201); a.Header.Get("ETag") != "" {
			t.Errorf("%s: the answer has the tag %s", fields, a.Header.Get("ETag"))
		}
	}
}

// TestAnswerToACreationInPlace: nobody has seen yet whether reads show a tag of the backend's
// own, so a GET tells whether the one on the answer to a creation is about the resource.
func TestAnswerToACreationInPlace(t *testing.T) {
	for i, tt := range []struct {
		answer, read func(http.ResponseWriter, *http.Request, string)
		asks         int
	}{{nil, nil, 0}, {stronglyTagged, nil, 1}, {stronglyTagged, stronglyTagged, 1}} {
		b := newAdorner()
		b.content, b.answer, b.read = "", tt.answer, tt.read
		url := fmt.Sprint(caddytest.Site(t, "write_etag answer", b), "/notes/", i) // the sites share a store
		var tag string
		if asks := b.seen.Asks(func() {
			tag = caddytest.Send(t, "PUT", url, "new", "If-None-Match", "*").Expect(t, 200).Tag(t)
		}); asks != tt.asks {
			t.Errorf("the origin was asked %d times after the write, want %d", asks, tt.asks)
		}
		caddytest.Send(t, "PUT", url, "newer", "If-Match", tag).Expect(t, 200)
	}
}

// TestAnswerWithoutCondition: an answer to a write without a condition gets the tag of its
// content, too, because that tag is current or is refused.
func TestAnswerWithoutCondition(t *testing.T) {
	b := newAdorner()
	url := caddytest.Site(t, "write_etag answer", b) + "/notes/1"
	tag := caddytest.Send(t, "PUT", url, "one").Expect(t, 200).Tag(t)
	second := caddytest.Send(t, "PUT", url, "two").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url, "three", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", url, "three", "If-Match", second).Expect(t, 200)
}

// TestAnswerWithVersion: with etag version, the answer has the version that the write has led
// to, without a GET.
func TestAnswerWithVersion(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := newAdorner()
		n := deploy(t, "write_etag answer\netag version", b)
		tag := caddytest.Send(t, "GET", n.First()+"/notes/1", "").Tag(t)
		if asks := b.seen.Asks(func() {
			for range 3 {
				tag = caddytest.Send(t, "PATCH", n.Random()+"/notes/1", "new", "If-Match", tag).Expect(t, 200).Tag(t)
			}
		}); asks != 0 {
			t.Errorf("the origin was asked %d times, want 0", asks)
		}
		if now := caddytest.Send(t, "GET", n.First()+"/notes/1", "").Tag(t); now != tag {
			t.Errorf("the answer had the tag %s, a GET has %s", tag, now)
		}
	})
}

// TestAnswersAreUncoded: with write_etag answer, writes ask for the identity coding, as reads
// do, so that one content has one hash.
func TestAnswersAreUncoded(t *testing.T) {
	for option, want := range map[string]string{"write_etag answer": "identity", "": "gzip"} {
		backend := caddytest.Page("content")
		url := caddytest.Site(t, option, backend) + "/page"
		caddytest.Send(t, "PUT", url, "new", "If-Match", "*", "Accept-Encoding", "gzip").Expect(t, 204)
		if got := backend.Last(t, "PUT").Header.Get("Accept-Encoding"); got != want {
			t.Errorf("%q: the backend got Accept-Encoding: %s, want %s", option, got, want)
		}
	}
}

// TestBackendsOwnTagOnAnswers: a backend's strong tag on the answer to a write is believed if
// the GET after the write shows the same one. It is removed if it is the tag of the answer,
// as Express gives one to whatever it sends, or if only answers have one.
func TestBackendsOwnTagOnAnswers(t *testing.T) {
	ofTheAnswer := func(w http.ResponseWriter, r *http.Request, _ string) { stronglyTagged(w, r, `{"ok":true}`) }
	for _, tt := range []struct {
		name                       string
		answer, read               func(http.ResponseWriter, *http.Request, string)
		verbatim, always, asAnswer bool // whether a PUT gets the tag that reads show
	}{
		{"strong tags on reads and answers", stronglyTagged, stronglyTagged, true, true, true},
		{"the same on an answer without content", func(w http.ResponseWriter, r *http.Request, stored string) {
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, stored))
			w.WriteHeader(http.StatusNoContent)
		}, stronglyTagged, true, true, true},
		{"on answers only", stronglyTagged, nil, false, true, true},
		{"on answers, of their own content", ofTheAnswer, stronglyTagged, false, true, false},
		{"weak tags", showWith(200, "ETag", `W/"x"`), showWith(200, "ETag", `W/"x"`), false, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resource := 0 // the sites share a store
			for options, want := range map[string]bool{
				"": tt.verbatim, "lag 30s": tt.verbatim, "write_etag always": tt.always, "write_etag answer": tt.asAnswer, "write_etag off": false, "write_etag off\nreplay": false,
			} {
				b := newAdorner()
				b.answer, b.read = tt.answer, tt.read
				resource++
				url := fmt.Sprint(caddytest.Site(t, options, b), "/notes/", resource)
				a := caddytest.Send(t, "PUT", url, "new", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t))
				now := caddytest.Send(t, "GET", url, "").Tag(t)
				switch got := a.Header.Get("ETag"); {
				case want && got != now:
					t.Errorf("%q: the tag is %q, want %s", options, got, now)
				case !want && options != "write_etag answer" && got != "":
					t.Errorf("%q: the tag is %s, which nobody can know to be right", options, got)
				}
				// Whatever the tag, it loses no update: it is current, or it is refused.
				caddytest.Send(t, "PUT", url, "theirs", "If-Match", now).Expect(t, a.StatusCode)
				caddytest.Send(t, "PUT", url, "lost", "If-Match", now).Expect(t, 412)
				if got := a.Header.Get("ETag"); got != "" {
					caddytest.Send(t, "PUT", url, "lost", "If-Match", got).Expect(t, 412)
				}
			}
		})
	}
}

// TestBackendsOwnTagOnAPatch: nobody looks after a PATCH by default, so its tag is removed.
// With write_etag always or answer it has the right one.
func TestBackendsOwnTagOnAPatch(t *testing.T) {
	for options, want := range map[string]bool{"": false, "etag body": false, "write_etag always": true, "write_etag answer": true} {
		b := newAdorner()
		b.answer, b.read = stronglyTagged, stronglyTagged
		url := caddytest.Site(t, options, b) + "/notes/1"
		a := caddytest.Send(t, "PATCH", url, "new", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 200)
		if now := caddytest.Send(t, "GET", url, "").Tag(t); (a.Header.Get("ETag") == now) != want || !want && a.Header.Get("ETag") != "" {
			t.Errorf("%q: the tag is %q, a GET has %s", options, a.Header.Get("ETag"), now)
		}
	}
}

// TestSaveWithoutATag: a client that sends what JavaScript makes of a missing tag learns what
// has probably happened, and the backend hears nothing.
func TestSaveWithoutATag(t *testing.T) {
	backend := caddytest.Page("content")
	url := caddytest.Site(t, "", backend) + "/page"
	caddytest.Send(t, "GET", url, "").Expect(t, 200)
	for _, text := range []string{"null", `"null"`, "undefined", "[object Object]", `""`} {
		a := caddytest.Send(t, "PUT", url, "new", "If-Match", text).Expect(t, 412)
		if !strings.Contains(a.Content, "kept none of the last answer") {
			t.Errorf("If-Match: %s gets %s", text, a.Content)
		}
	}
	caddytest.Send(t, "PUT", url, "new", "If-None-Match", "null").Expect(t, 412)
	backend.Unwritten(t)
}
