package backends

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func (s stand) showsItsHabits(t *testing.T) {
	want, d := s.Alone, s.absent()
	status := func(method string, want int) caddytest.Answer {
		t.Helper()
		a := d.send(t, d.direct, method, contentFor(method))
		if a.StatusCode != want {
			t.Errorf("%s: %s, want %d", method, a.Status, want)
		}
		return a
	}
	kind := func(what string, a caddytest.Answer, want caddytest.TagKind) {
		t.Helper()
		if got := kindOf(a); got != want {
			t.Errorf("%s: %s (%s), want %s", what, got, a.Header.Get("ETag"), want)
		}
	}

	kind("404", d.send(t, d.direct, "GET", "").Expect(t, 404), want.OnNone)
	status("PUT", want.Creates)
	d.bypass(t)
	kind("PUT", status("PUT", want.Replace), want.OnWrite)
	for _, method := range []string{"GET", "HEAD"} {
		a := d.send(t, d.direct, method, "").Expect(t, 200)
		kind(method, a, want.Tag)
		if got := a.Header.Get("Last-Modified"); (got != "") != want.Dated {
			t.Errorf("%s: Last-Modified %q", method, got)
		}
	}
	part := d.send(t, d.direct, "GET", "", "Range", "bytes=0-3")
	if got := part.StatusCode; (got == 206) != want.Parts {
		t.Errorf("Range: %s", part.Status)
	}
	if dir, name := path.Split(d.path); dir != "/" {
		a := caddytest.Send(t, "GET", d.direct+strings.ToUpper(dir)+name, "")
		if got := a.StatusCode; (got == 200) != want.Folds {
			t.Errorf("GET %s%s: %s", strings.ToUpper(dir), name, a.Status)
		}
	}
	status("PATCH", want.Patches)
	status("DELETE", want.Deletes)
}

// takesStaleWrites checks whether the backend alone performs stale writes, as the
// table says. The handler exists to prevent them.
func (s stand) takesStaleWrites(t *testing.T) {
	for _, method := range []string{"PUT", "DELETE"} {
		d := s.document(t)
		a := d.send(t, d.direct, method, contentFor(method), "If-Match", `"stale"`)
		if refused := a.StatusCode == 412; refused != s.Alone.Checks {
			t.Errorf("%s with a stale If-Match: %s", method, a.Status)
		}
	}
	d := s.document(t)
	content, _ := draft()
	a := d.send(t, d.direct, "PUT", content, "If-None-Match", "*")
	if refused := a.StatusCode == 412; refused != s.Alone.Checks {
		t.Errorf("PUT with If-None-Match: *: %s", a.Status)
	}
}

// tagsFiveContents counts the tags that five contents of the same size get within
// one second.
func (s stand) tagsFiveContents(t *testing.T) {
	d := s.document(t)
	caddytest.Eventually(t, "five contents are written within a second", func() bool {
		began := time.Now().Unix()
		tags := make(map[string]bool)
		for range 5 {
			mark := d.bypass(t)
			a := d.send(t, d.direct, "GET", "").Expect(t, 200)
			if !strings.Contains(a.Content, mark) {
				t.Errorf("got %s, want %s", a.Content, mark)
			}
			if tag := a.Header.Get("ETag"); tag != "" {
				tags[tag] = true
			}
		}
		if time.Now().Unix() != began {
			return false
		}
		if want := s.Alone.Tags; len(tags) != want && (want != caddytest.Some || len(tags) == 0) {
			t.Errorf("got %d tags %v, want %d", len(tags), tags, s.Alone.Tags)
		}
		return true
	})
}

func (s stand) hasOneStrongTag(t *testing.T) {
	d := s.document(t)
	for range 2 { // the second time the state is known
		get := d.send(t, d.url, "GET", "").Expect(t, 200)
		if kindOf(get) != caddytest.StrongTag {
			t.Errorf("GET: ETag %s", get.Header.Get("ETag"))
		}
		for _, fields := range [][]string{{}, {"Accept-Encoding", "gzip"}} {
			for _, method := range []string{"HEAD", "GET"} {
				a := d.send(t, d.url, method, "", fields...).Expect(t, 200)
				if a.Tag(t) != get.Tag(t) {
					t.Errorf("%s %v: ETag %s, but GET has %s", method, fields, a.Tag(t), get.Tag(t))
				}
				if method == "GET" && a.Content != get.Content {
					t.Errorf("%s %v: content %q", method, fields, a.Content)
				}
			}
		}
	}
}

func (s stand) readsConditionally(t *testing.T) {
	d := s.document(t)
	tag := d.read(t)
	for _, method := range []string{"GET", "HEAD"} {
		for _, test := range []struct {
			field, value string
			status       int
		}{
			{"If-None-Match", tag, 304},
			{"If-None-Match", "W/" + tag, 304},
			{"If-None-Match", `"x", ` + tag, 304},
			{"If-None-Match", "*", 304},
			{"If-None-Match", `"x"`, 200},
			{"If-Match", tag, 200},
			{"If-Match", `"x"`, 412},
		} {
			a := d.send(t, d.url, method, "", test.field, test.value).Expect(t, test.status)
			// What the HEAD of the backend decides needs no tag, so the tag may be missing.
			optional := method == "HEAD" && test.value == "*"
			if got := a.Header.Get("ETag"); got != tag && !(optional && got == "") {
				t.Errorf("%s, %s: %s: ETag %s, want %s", method, test.field, test.value, got, tag)
			}
			if test.status == 304 && a.Content != "" {
				t.Errorf("%s, %s: %s: content %q", method, test.field, test.value, a.Content)
			}
		}
	}
	if !s.versioned() {
		d.bypass(t)
		d.send(t, d.url, "GET", "", "If-None-Match", tag).Expect(t, 200)
	}

	gone := s.absent()
	gone.send(t, s.url, "GET", "", "If-Match", `"x"`).Expect(t, 404)
}

func (s stand) answersParts(t *testing.T) {
	d := s.document(t)
	whole := d.send(t, d.url, "GET", "").Expect(t, 200)
	for _, fields := range [][]string{
		{},
		{"If-Range", whole.Tag(t)},
		{"If-Range", `"x"`},
		{"If-Match", whole.Tag(t)},
	} {
		a := d.send(t, d.url, "GET", "", append(fields, "Range", "bytes=0-3")...)
		want := whole.Content
		if a.StatusCode == 206 {
			want = want[:4]
		} else {
			a.Expect(t, 200)
		}
		if a.Content != want {
			t.Errorf("%v: %s with %q", fields, a.Status, a.Content)
		}
		// The client must not get a backend's tag that it can't use for writes.
		if got := a.Header.Get("ETag"); got != whole.Tag(t) && (got != "" || a.StatusCode == 200) {
			t.Errorf("%v: %s with ETag %s, but the whole document has %s", fields, a.Status, got, whole.Tag(t))
		}
		if len(fields) > 0 && fields[1] == `"x"` && a.StatusCode == 206 {
			t.Error("got a part for a tag that isn't current")
		}
	}
	if a := d.send(t, d.url, "GET", "", "Range", "bytes=0-3"); (a.StatusCode == 206) != s.Alone.Parts {
		t.Errorf("Range: %s", a.Status)
	}
}

// isReadInParts reads a large document like DAVx5: in parts, each with the tag or the date
// of the document. It is changed in between, and then gives no part of the new content
// under the old condition.
func (s stand) isReadInParts(t *testing.T) {
	const size, part = 5 << 20, 100 << 10
	large := func(letter string) string { return strings.Repeat(letter, size) }
	for _, field := range []string{"If-Match", "If-Unmodified-Since"} {
		d := s.document(t)
		d.store(t, large("a"))
		var condition string
		caddytest.Eventually(t, "the document has a validator", func() bool {
			a := d.send(t, d.url, "GET", "").Expect(t, 200)
			condition = a.Header.Get("Last-Modified")
			if field == "If-Match" {
				condition = d.send(t, d.url, "HEAD", "").Expect(t, 200).Header.Get("ETag")
			}
			return condition != ""
		})
		for first := 0; first < size; first += part * 10 {
			a := d.send(t, d.url, "GET", "", field, condition, "Range", fmt.Sprintf("bytes=%d-%d", first, first+part-1))
			if want := fmt.Sprintf("bytes %d-%d/%d", first, first+part-1, size); a.StatusCode != 206 ||
				a.Header.Get("Content-Range") != want || a.Content != large("a")[:part] {
				t.Fatalf("%s: %s with %d bytes, Content-Range %s, want %s", field, a.Status, len(a.Content), a.Header.Get("Content-Range"), want)
			}
		}
		d.store(t, large("b")+"b")
		if a := d.send(t, d.url, "GET", "", field, condition, "Range", "bytes=0-99"); a.StatusCode != 412 {
			t.Errorf("%s: %s with %d bytes of a different version", field, a.Status, len(a.Content))
		}
	}
}

// writeMethods returns the methods that can change a document of the backend.
func (s stand) writeMethods() []string {
	if s.Alone.Patches/100 == 2 {
		return []string{"PUT", "DELETE", "PATCH"}
	}
	return []string{"PUT", "DELETE"}
}

func (s stand) refusesStaleWrites(t *testing.T) {
	for _, method := range s.writeMethods() {
		for _, through := range []string{"the handler", "the backend"} {
			if through == "the backend" && s.versioned() {
				continue
			}
			d := s.document(t)
			stale := d.read(t)
			var mark string
			if through == "the handler" {
				var a caddytest.Answer
				a, mark = d.put(t, "If-Match", stale)
				a.ExpectSuccess(t)
			} else {
				mark = d.bypass(t)
			}
			content := contentFor(method)
			for _, fields := range [][]string{
				{"If-Match", stale},
				{"If-Match", stale + `, "x"`},
				{"If-Match", `"x"`},
				{"If-Match", "W/" + d.read(t)},
				{"If-None-Match", "*"},
				{"If-None-Match", d.read(t)},
			} {
				a := d.send(t, d.url, method, content, fields...).Expect(t, 412)
				if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("%s, %v, changed at %s: not refused by the handler: %s", method, fields, through, got)
				}
				d.expectStored(t, mark)
			}
			a := d.send(t, d.url, method, content, "If-Match", stale).Expect(t, 412)
			d.send(t, d.url, method, content, "If-Match", a.Tag(t)).ExpectSuccess(t)
		}
	}
}

func (s stand) makesCurrentWrites(t *testing.T) {
	d := s.document(t)
	seen := map[string]bool{}
	tag := d.read(t)
	for _, method := range []string{"PUT", "PATCH", "PUT"} {
		if method == "PATCH" && s.Alone.Patches/100 != 2 {
			// A request that the backend refuses doesn't change the tag.
			d.send(t, d.url, method, "{}", "If-Match", tag).Expect(t, s.Alone.Patches)
			if got := d.read(t); got != tag {
				t.Errorf("ETag %s after a PATCH that the backend refused, %s before", got, tag)
			}
			continue
		}
		seen[tag] = true
		content, mark := draft()
		d.send(t, d.url, method, content, "If-Match", `"x", `+tag).Expect(t, s.Alone.Replace)
		d.expectStored(t, mark)
		if tag = d.read(t); seen[tag] {
			t.Errorf("%s: ETag %s already belonged to a different content", method, tag)
		}
	}
	d.send(t, d.url, "DELETE", "", "If-Match", tag).Expect(t, s.Alone.Deletes)
	if got := d.stored(t); got != "" {
		t.Errorf("the document still exists, with %q", got)
	}
	d.send(t, d.url, "GET", "").Expect(t, 404)
	d.send(t, d.url, "DELETE", "", "If-Match", tag).Expect(t, 404)
	a, _ := d.put(t, "If-Match", tag)
	a.Expect(t, 412)
	if got := d.stored(t); got != "" {
		t.Errorf("the document exists again, with %q", got)
	}
}

// tellsWritesOfOneSecondApart checks that two writes within one second are told
// apart. Ann and Bob read the same content. Bob saves a different content of the
// same size within the second, and then Ann tries to.
func (s stand) tellsWritesOfOneSecondApart(t *testing.T) {
	caddytest.Eventually(t, "the backend's own validators don't tell", func() bool {
		d := s.document(t)
		tag, before := d.read(t), d.send(t, d.direct, "HEAD", "")
		bobs, mark := d.put(t, "If-Match", tag)
		bobs.ExpectSuccess(t)
		if d.read(t) == tag {
			t.Errorf("ETag %s is still current", tag)
		}
		anns, _ := d.put(t, "If-Match", tag)
		anns.Expect(t, 412)
		d.expectStored(t, mark)

		after := d.send(t, d.direct, "HEAD", "")
		return before.Header.Get("Last-Modified") == after.Header.Get("Last-Modified") &&
			(s.Alone.Tags != 1 || before.Header.Get("ETag") == after.Header.Get("ETag"))
	})
}

func (s stand) createsOnce(t *testing.T) {
	d := s.absent()
	first, mark := d.put(t, "If-None-Match", "*")
	first.Expect(t, s.Alone.Creates)
	if s.Alone.Creates == 404 {
		d.send(t, d.url, "GET", "").Expect(t, 404)
		content, posted := draft()
		d.post(t, d.url, content).Expect(t, 201)
		mark = posted
	}
	d.expectStored(t, mark)
	second, _ := d.put(t, "If-None-Match", "*")
	second.Expect(t, 412)
	d.expectStored(t, mark)

	// The tag of a deleted document doesn't allow a write either.
	tag := d.read(t)
	d.send(t, d.url, "DELETE", "", "If-Match", tag).ExpectSuccess(t)
	again, _ := d.put(t, "If-None-Match", "*")
	again.Expect(t, s.Alone.Creates)
	if s.Alone.Creates != 404 {
		a, _ := d.put(t, "If-Match", tag)
		a.Expect(t, 412)
	}
}

func (s stand) comparesDates(t *testing.T) {
	d := s.document(t)
	hourAgo := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	a, _ := d.put(t, "If-Unmodified-Since", hourAgo)
	a.Expect(t, 412)

	var modified string
	caddytest.Eventually(t, "the second is over", func() bool {
		modified = d.send(t, d.url, "GET", "").Expect(t, 200).Header.Get("Last-Modified")
		return modified != ""
	})
	d.send(t, d.url, "GET", "", "If-Modified-Since", modified).Expect(t, 304)
	began := time.Now()
	a, mark := d.put(t, "If-Unmodified-Since", modified)
	a.ExpectSuccess(t)
	// Neither the previous date nor the current one allows a write now: a different
	// change could have the same date.
	for _, date := range []string{modified, d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified")} {
		a, _ := d.put(t, "If-Unmodified-Since", date)
		if time.Since(began) < time.Second {
			a.Expect(t, 412)
			d.expectStored(t, mark)
		}
	}
}

func (s stand) requiresConditions(t *testing.T) {
	for _, method := range s.writeMethods() {
		d := s.document(t)
		mark := d.bypass(t)
		d.send(t, d.url, method, contentFor(method)).Expect(t, 428)
		d.expectStored(t, mark)
	}
}

// holdsContests checks that exactly one of 16 writers wins, if all have the same
// tag or all want to create the document.
func (s stand) holdsContests(t *testing.T) {
	const writers = 16
	contest := func(d document, method, field, value string, loser int) {
		t.Helper()
		start := make(chan struct{})
		results := make([]caddytest.Result, writers)
		marks := make([]string, writers)
		var done sync.WaitGroup
		for i := range writers {
			content, spelling := "", d.path
			if method != "DELETE" {
				content, marks[i] = draft()
			}
			if i%2 == 1 {
				spelling = d.respelled()
			}
			done.Go(func() {
				<-start
				a, err := caddytest.Try(context.Background(), method, d.url+spelling, content,
					field, value, "Content-Type", "application/json")
				results[i] = caddytest.Result{Answer: a, Err: err}
			})
		}
		close(start)
		done.Wait()
		var won []string
		for i, r := range results {
			switch {
			case r.Err != nil:
				t.Error(r.Err)
			case r.StatusCode/100 == 2:
				won = append(won, marks[i])
			case r.StatusCode != loser:
				t.Errorf("%s, %s: a loser got %s: %s", method, field, r.Status, r.Content)
			}
		}
		if len(won) != 1 {
			t.Fatalf("%s, %s: %d of %d writers won", method, field, len(won), writers)
		}
		if method != "DELETE" {
			d.expectStored(t, won[0])
		}
	}
	d := s.document(t)
	contest(d, "PUT", "If-Match", d.read(t), 412)
	contest(d, "DELETE", "If-Match", d.read(t), 404)
	if s.Alone.Creates != 404 {
		contest(s.absent(), "PUT", "If-None-Match", "*", 412)
	}
}

// keepsCollections checks the methods that do more than replace a document's
// content.
func (s stand) keepsCollections(t *testing.T) {
	c := s.absent().name
	caddytest.Send(t, "MKCOL", s.url+"/"+c+"/", "").Expect(t, 201)
	d := s.document(t)
	d.name, d.path = "member", "/"+c+"/member.json"
	a, mark := d.put(t, "If-None-Match", "*")
	a.Expect(t, s.Alone.Creates)

	// The client may have connected with TLS.
	to := func(path string) []string {
		return []string{"Destination", "https://" + strings.TrimPrefix(d.url, "http://") + path, "Overwrite", "T"}
	}
	copied := d
	copied.path = "/" + c + "/copy.json"
	d.send(t, d.url, "COPY", "", to(copied.path)...).ExpectSuccess(t)
	copied.expectStored(t, mark)

	// A condition applies to the source of a move, not to the destination.
	older, tag := d.read(t), copied.read(t)
	a, mark = d.put(t, "If-Match", older)
	a.ExpectSuccess(t)
	d.send(t, d.url, "MOVE", "", append(to(copied.path), "If-Match", older)...).Expect(t, 412)
	d.expectStored(t, mark)
	d.send(t, d.url, "MOVE", "", append(to(copied.path), "If-Match", d.read(t))...).ExpectSuccess(t)
	copied.expectStored(t, mark)
	if got := d.stored(t); got != "" {
		t.Errorf("%s still exists after it was moved", d.path)
	}

	// The move has replaced the document at the destination.
	a, _ = copied.put(t, "If-Match", tag)
	a.Expect(t, 412)
	copied.expectStored(t, mark)
	a, _ = d.put(t, "If-Match", "*")
	a.Expect(t, 412)
	a, mark = copied.put(t, "If-Match", copied.read(t))
	a.ExpectSuccess(t)
	copied.expectStored(t, mark)
}

func (s stand) keepsLocks(t *testing.T) {
	d := s.document(t)
	properties := caddytest.Send(t, "PROPFIND", s.url+"/", "", "Depth", "1").Expect(t, 207)
	if !strings.Contains(properties.Content, d.path) {
		t.Errorf("PROPFIND doesn't show %s:\n%s", d.path, properties.Content)
	}
	caddytest.Send(t, "OPTIONS", s.url+d.path, "").Expect(t, 200)

	mark := d.bypass(t)
	stale, lock := d.read(t), caddytest.Send(t, "LOCK", s.url+d.path, `<?xml version="1.0"?>
<D:lockinfo xmlns:D="DAV:">
	<D:lockscope><D:exclusive/></D:lockscope>
	<D:locktype><D:write/></D:locktype>
	<D:owner>Ann</D:owner>
</D:lockinfo>`, "Content-Type", "application/xml", "Timeout", "Second-600").Expect(t, 200)
	found := lockToken.FindStringSubmatch(lock.Content)
	if found == nil {
		t.Fatalf("no lock token:\n%s", lock.Content)
	}
	token := "<" + found[1] + ">"
	tag := d.read(t)
	if tag != stale {
		t.Errorf("ETag %s after a LOCK, %s before (8.6)", tag, stale)
	}

	// Both must hold: the backend checks the lock, the handler checks the tag.
	a, _ := d.put(t, "If-Match", tag)
	a.Expect(t, 423)
	d.expectStored(t, mark)
	a, _ = d.put(t, "If-Match", `"x"`, "If", "("+token+")")
	a.Expect(t, 412)
	d.expectStored(t, mark)
	a, mark = d.put(t, "If-Match", tag, "If", "("+token+")")
	a.ExpectSuccess(t)
	d.expectStored(t, mark)
	caddytest.Send(t, "UNLOCK", s.url+d.path, "", "Lock-Token", token).Expect(t, 204)
	a, mark = d.put(t, "If-Match", d.read(t))
	a.ExpectSuccess(t)
	d.expectStored(t, mark)
}

// stand is a site of this process's Caddy, in front of one of the backends.
type stand struct {
	*caddytest.Backend
	options string
	url     string // of the site
	direct  string // of the backend itself
}

// versioned reports whether tags are the store's own versions. The handler then
// doesn't notice a change that bypasses it.
func (s stand) versioned() bool { return strings.Contains(s.options, "etag version") }

// standsBefore configures this process's Caddy in front of the backends at the
// given addresses. It makes one stand for each of the options that the function
// returns for a backend. Writes must be conditional. If a backend has no address,
// its stand can only be used to skip a test.
func standsBefore(t testing.TB, addresses map[string]string, options func(*caddytest.Backend) []string) []stand {
	t.Helper()
	var stands []stand
	for i := range caddytest.Backends {
		b := &caddytest.Backends[i]
		for _, o := range options(b) {
			stands = append(stands, stand{Backend: b, options: o, direct: "http://" + addresses[b.Name]})
		}
	}
	var sites strings.Builder
	for i := range stands {
		s := &stands[i]
		s.url = "http://" + caddytest.Address(t)
		if address := addresses[s.Name]; address != "" {
			// All sites have the same host name and share a store.
			all := "key {http.request.hostport}{http.request.uri.path}\nrequire\n" + s.options
			fmt.Fprintf(&sites, "%s {\nheader >X-Resource {http.preconditions.resource}\n%s\n}\n",
				s.url, caddytest.Guarded(all, address+" {\n"+s.Proxy+"}"))
		}
	}
	caddytest.Start(t, sites.String())
	return stands
}

// standBefore puts the handler in front of one backend. It skips the test if the
// machine lacks something that this needs.
func standBefore(t testing.TB, name, options string) stand {
	t.Helper()
	b := caddytest.BackendNamed(t, name)
	b.OrSkip(t)
	return standsBefore(t, caddytest.StartBackends(t, *b), func(other *caddytest.Backend) []string {
		if other != b {
			return nil
		}
		return []string{options}
	})[0]
}

// document is one document of a backend.
type document struct {
	stand
	name, path string
}

// drafts counts the contents and documents that were created.
var drafts atomic.Int64

// draft returns a new content and the mark that tells it from others. All contents
// have the same size.
func draft() (content, mark string) {
	n := 100_000 + drafts.Add(1)
	mark = fmt.Sprintf("draft %d", n)
	return fmt.Sprintf(`{"version": %d, "text": "%s"}`, n, mark), mark
}

// absent returns a document that doesn't exist.
func (s stand) absent() document {
	name := fmt.Sprintf("doc%d", drafts.Add(1))
	return document{s, name, fmt.Sprintf(s.Path, name)}
}

// document returns a document that exists.
func (s stand) document(t testing.TB) document {
	t.Helper()
	d := s.absent()
	d.bypass(t)
	return d
}

// bypass stores a new content at the backend directly, bypassing the handler.
func (d document) bypass(t testing.TB) (mark string) {
	t.Helper()
	content, mark := draft()
	a := d.send(t, d.direct, "PUT", content)
	if a.StatusCode == 404 { // this backend creates only by POST
		a = d.post(t, d.direct, content)
	}
	if a.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s\n%s", a.Request.Method, a.Request.URL, a.Status, a.Content)
	}
	return mark
}

// store stores content at the backend directly.
func (d document) store(t testing.TB, content string) {
	t.Helper()
	if a := d.send(t, d.direct, "PUT", content); a.StatusCode/100 != 2 {
		t.Fatalf("%s: %s", d.path, a.Status)
	}
}

// post creates the document in its collection.
func (d document) post(t testing.TB, base, content string, fields ...string) caddytest.Answer {
	t.Helper()
	collection := strings.TrimSuffix(d.path, "/"+d.name)
	content = fmt.Sprintf(`{"id": %q, %s`, d.name, strings.TrimPrefix(content, "{"))
	return caddytest.Send(t, "POST", base+collection, content, append(fields, "Content-Type", "application/json")...)
}

// send sends a request for the document to the site, or to the backend itself.
func (d document) send(t testing.TB, base, method, content string, fields ...string) caddytest.Answer {
	t.Helper()
	if content != "" {
		fields = append(fields, "Content-Type", "application/json")
	}
	return caddytest.Send(t, method, base+d.path, content, fields...)
}

// read gets the document through the handler, and returns its tag.
func (d document) read(t testing.TB) (tag string) {
	t.Helper()
	return d.send(t, d.url, "GET", "").Expect(t, 200).Tag(t)
}

// put sends new content through the handler.
func (d document) put(t testing.TB, fields ...string) (a caddytest.Answer, mark string) {
	t.Helper()
	content, mark := draft()
	return d.send(t, d.url, "PUT", content, fields...), mark
}

// respelled returns a different spelling of the document's path, if the backend
// accepts one.
func (d document) respelled() string {
	dir, name := path.Split(d.path)
	if d.Alone.Folds {
		dir = strings.ToUpper(dir)
	}
	return dir + name
}

// stored returns the content that the backend itself has, or "".
func (d document) stored(t testing.TB) string {
	t.Helper()
	a := d.send(t, d.direct, "GET", "")
	if a.StatusCode == 404 {
		return ""
	}
	return a.Expect(t, 200).Content
}

// expectStored fails the test unless the backend has the content with the mark.
func (d document) expectStored(t testing.TB, mark string) {
	t.Helper()
	if got := d.stored(t); !strings.Contains(got, mark) {
		t.Fatalf("%s has %q, want %s", d.path, got, mark)
	}
}

// kindOf returns the kind of tag that an answer has.
func kindOf(a caddytest.Answer) caddytest.TagKind {
	switch tag := a.Header.Get("ETag"); {
	case tag == "":
		return caddytest.NoTag
	case strings.HasPrefix(tag, "W/"):
		return caddytest.WeakTag
	default:
		return caddytest.StrongTag
	}
}
