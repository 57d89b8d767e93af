package preconditions_test

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of this file stand in front of programs that people really have.
// Which configuration is right for which is in the table of backends.

// TestBackendsAlone shows what the backends do without any help, which is why
// they are configured as they are.
func TestBackendsAlone(t *testing.T) {
	addresses := startBackends(t, backends...)
	for i := range backends {
		b := &backends[i]
		t.Run(b.name, func(t *testing.T) {
			b.orSkip(t)
			t.Parallel()
			s := stand{backend: b, direct: "http://" + addresses[b.name]}
			s.showsItsHabits(t)
			s.takesStaleWrites(t)
			s.tagsFiveContents(t)
		})
	}
}

// contentFor returns a new content for methods that have one. A DELETE with
// content is none to nginx.
func contentFor(method string) string {
	content, _ := draft()
	if method == "DELETE" {
		return ""
	}
	return content
}

func (s stand) showsItsHabits(t *testing.T) {
	want, d := s.alone, s.absent()
	status := func(method string, want int) answer {
		t.Helper()
		a := d.send(t, d.direct, method, contentFor(method))
		if a.StatusCode != want {
			t.Errorf("%s: %s, want %d", method, a.Status, want)
		}
		return a
	}
	kind := func(what string, a answer, want tagKind) {
		t.Helper()
		if got := a.kind(); got != want {
			t.Errorf("%s: %s (%s), want %s", what, got, a.Header.Get("ETag"), want)
		}
	}

	kind("404", d.send(t, d.direct, "GET", "").expect(t, 404), want.onNone)
	status("PUT", want.creates)
	d.bypass(t)
	kind("PUT", status("PUT", want.replace), want.onWrite)
	for _, method := range []string{"GET", "HEAD"} {
		a := d.send(t, d.direct, method, "").expect(t, 200)
		kind(method, a, want.tag)
		if got := a.Header.Get("Last-Modified"); (got != "") != want.dated {
			t.Errorf("%s: Last-Modified %q", method, got)
		}
	}
	part := d.send(t, d.direct, "GET", "", "Range", "bytes=0-3")
	if got := part.StatusCode; (got == 206) != want.parts {
		t.Errorf("Range: %s", part.Status)
	}
	if dir, name := path.Split(d.path); dir != "/" {
		a := send(t, "GET", d.direct+strings.ToUpper(dir)+name, "")
		if got := a.StatusCode; (got == 200) != want.folds {
			t.Errorf("GET %s%s: %s", strings.ToUpper(dir), name, a.Status)
		}
	}
	status("PATCH", want.patches)
	status("DELETE", want.deletes)
}

// takesStaleWrites: what the handler is there for.
func (s stand) takesStaleWrites(t *testing.T) {
	for _, method := range []string{"PUT", "DELETE"} {
		d := s.document(t)
		a := d.send(t, d.direct, method, contentFor(method), "If-Match", `"stale"`)
		if refused := a.StatusCode == 412; refused != s.alone.checks {
			t.Errorf("%s with a stale If-Match: %s", method, a.Status)
		}
	}
	d := s.document(t)
	content, _ := draft()
	a := d.send(t, d.direct, "PUT", content, "If-None-Match", "*")
	if refused := a.StatusCode == 412; refused != s.alone.checks {
		t.Errorf("PUT with If-None-Match: *: %s", a.Status)
	}
}

// tagsFiveContents counts the tags that five contents of one size get within a
// second.
func (s stand) tagsFiveContents(t *testing.T) {
	d := s.document(t)
	eventually(t, "five contents are written within a second", func() bool {
		began := time.Now().Unix()
		tags := make(map[string]bool)
		for range 5 {
			mark := d.bypass(t)
			a := d.send(t, d.direct, "GET", "").expect(t, 200)
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
		if want := s.alone.tags; len(tags) != want && (want != some || len(tags) == 0) {
			t.Errorf("%d tags: %v, want %d", len(tags), tags, s.alone.tags)
		}
		return true
	})
}

// TestBackends: whatever the backend, no update is lost, with each of its
// configurations.
func TestBackends(t *testing.T) {
	options := func(b *backend) []string { return b.options }
	for _, s := range standsBefore(t, startBackends(t, backends...), options) {
		t.Run(s.name+"/"+title(s.options), func(t *testing.T) {
			s.orSkip(t)
			t.Parallel()
			for _, test := range []struct {
				name string
				run  func(stand, *testing.T)
				when bool
			}{
				{"GET and HEAD have one strong tag (8.8.3, 9.3.2)", stand.hasOneStrongTag, true},
				{"conditional reads (13.1.1, 13.1.2)", stand.readsConditionally, true},
				{"a part (14.2, 13.1.5)", stand.answersParts, true},
				{"stale writes are refused (13.1.1)", stand.refusesStaleWrites, true},
				{"current writes are made (13.1.1)", stand.makesCurrentWrites, true},
				{"two writes within a second (8.8.1)", stand.tellsWritesOfOneSecondApart, true},
				{"created once (13.1.2)", stand.createsOnce, true},
				{"dates (13.1.4, 8.8.2.2)", stand.comparesDates, s.alone.dated},
				{"writes without a condition (RFC 6585, section 3)", stand.requiresConditions, true},
				{"one of many writers wins (13.1.1)", stand.holdsContests, true},
				{"collections (RFC 4918, sections 9.3, 9.8, 9.9)", stand.keepsCollections, s.alone.collections},
				{"PROPFIND and LOCK (RFC 4918, sections 9.1, 9.10)", stand.keepsLocks, s.alone.properties},
			} {
				if test.when {
					t.Run(test.name, func(t *testing.T) { test.run(s, t) })
				}
			}
		})
	}
}

// title names a configuration.
func title(options string) string {
	if options == "" {
		return "default"
	}
	return strings.ReplaceAll(options, "\n", ", ")
}

func (s stand) hasOneStrongTag(t *testing.T) {
	d := s.document(t)
	for range 2 { // the second time the state is known
		get := d.send(t, d.url, "GET", "").expect(t, 200)
		if get.kind() != strongTag {
			t.Errorf("GET: ETag %s", get.Header.Get("ETag"))
		}
		for _, fields := range [][]string{{}, {"Accept-Encoding", "gzip"}} {
			for _, method := range []string{"HEAD", "GET"} {
				a := d.send(t, d.url, method, "", fields...).expect(t, 200)
				if a.tag(t) != get.tag(t) {
					t.Errorf("%s %v: ETag %s, of GET %s", method, fields, a.tag(t), get.tag(t))
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
			a := d.send(t, d.url, method, "", test.field, test.value).expect(t, test.status)
			if a.tag(t) != tag {
				t.Errorf("%s, %s: %s: ETag %s, want %s", method, test.field, test.value, a.tag(t), tag)
			}
			if test.status == 304 && a.Content != "" {
				t.Errorf("%s, %s: %s: content %q", method, test.field, test.value, a.Content)
			}
		}
	}
	if !s.versioned() {
		d.bypass(t)
		d.send(t, d.url, "GET", "", "If-None-Match", tag).expect(t, 200)
	}

	gone := s.absent()
	gone.send(t, s.url, "GET", "", "If-Match", `"x"`).expect(t, 404)
}

func (s stand) answersParts(t *testing.T) {
	d := s.document(t)
	whole := d.send(t, d.url, "GET", "").expect(t, 200)
	for _, fields := range [][]string{
		{},
		{"If-Range", whole.tag(t)},
		{"If-Range", `"x"`},
		{"If-Match", whole.tag(t)},
	} {
		a := d.send(t, d.url, "GET", "", append(fields, "Range", "bytes=0-3")...)
		want := whole.Content
		if a.StatusCode == 206 {
			want = want[:4]
		} else {
			a.expect(t, 200)
		}
		if a.Content != want {
			t.Errorf("%v: %s with %q", fields, a.Status, a.Content)
		}
		// The backend's tag is none by which the client may write.
		if got := a.Header.Get("ETag"); got != whole.tag(t) && (got != "" || a.StatusCode == 200) {
			t.Errorf("%v: %s with ETag %s, the whole has %s", fields, a.Status, got, whole.tag(t))
		}
		if len(fields) > 0 && fields[1] == `"x"` && a.StatusCode == 206 {
			t.Error("a part for a tag that isn't current")
		}
	}
	if a := d.send(t, d.url, "GET", "", "Range", "bytes=0-3"); (a.StatusCode == 206) != s.alone.parts {
		t.Errorf("Range: %s", a.Status)
	}
}

// writeMethods are those by which a document of the backend can be changed.
func (s stand) writeMethods() []string {
	if s.alone.patches/100 == 2 {
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
				var a answer
				a, mark = d.put(t, "If-Match", stale)
				a.expectSuccess(t)
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
				a := d.send(t, d.url, method, content, fields...).expect(t, 412)
				if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("%s, %v, changed at %s: not refused by the handler: %s", method, fields, through, got)
				}
				d.expectStored(t, mark)
			}
			a := d.send(t, d.url, method, content, "If-Match", stale).expect(t, 412)
			d.send(t, d.url, method, content, "If-Match", a.tag(t)).expectSuccess(t)
		}
	}
}

func (s stand) makesCurrentWrites(t *testing.T) {
	d := s.document(t)
	seen := map[string]bool{}
	tag := d.read(t)
	for _, method := range []string{"PUT", "PATCH", "PUT"} {
		if method == "PATCH" && s.alone.patches/100 != 2 {
			// Whatever the backend refuses leaves the tag as it is.
			d.send(t, d.url, method, "{}", "If-Match", tag).expect(t, s.alone.patches)
			if got := d.read(t); got != tag {
				t.Errorf("ETag %s after a PATCH that the backend refused, %s before", got, tag)
			}
			continue
		}
		seen[tag] = true
		content, mark := draft()
		d.send(t, d.url, method, content, "If-Match", `"x", `+tag).expect(t, s.alone.replace)
		d.expectStored(t, mark)
		if tag = d.read(t); seen[tag] {
			t.Errorf("%s: ETag %s was another content's", method, tag)
		}
	}
	d.send(t, d.url, "DELETE", "", "If-Match", tag).expect(t, s.alone.deletes)
	if got := d.stored(t); got != "" {
		t.Errorf("there is still %q", got)
	}
	d.send(t, d.url, "GET", "").expect(t, 404)
	d.send(t, d.url, "DELETE", "", "If-Match", tag).expect(t, 404)
	a, _ := d.put(t, "If-Match", tag)
	a.expect(t, 412)
	if got := d.stored(t); got != "" {
		t.Errorf("there is %q again", got)
	}
}

// tellsWritesOfOneSecondApart: Ann and Bob have read the same content; Bob saves
// another one of the same size within the second, and then Ann does.
func (s stand) tellsWritesOfOneSecondApart(t *testing.T) {
	eventually(t, "the backend's own validators don't tell", func() bool {
		d := s.document(t)
		tag, before := d.read(t), d.send(t, d.direct, "HEAD", "")
		bobs, mark := d.put(t, "If-Match", tag)
		bobs.expectSuccess(t)
		if d.read(t) == tag {
			t.Errorf("ETag %s is still current", tag)
		}
		anns, _ := d.put(t, "If-Match", tag)
		anns.expect(t, 412)
		d.expectStored(t, mark)

		after := d.send(t, d.direct, "HEAD", "")
		return before.Header.Get("Last-Modified") == after.Header.Get("Last-Modified") &&
			(s.alone.tags != 1 || before.Header.Get("ETag") == after.Header.Get("ETag"))
	})
}

func (s stand) createsOnce(t *testing.T) {
	d := s.absent()
	first, mark := d.put(t, "If-None-Match", "*")
	first.expect(t, s.alone.creates)
	if s.alone.creates == 404 {
		d.send(t, d.url, "GET", "").expect(t, 404)
		content, posted := draft()
		d.post(t, d.url, content).expect(t, 201)
		mark = posted
	}
	d.expectStored(t, mark)
	second, _ := d.put(t, "If-None-Match", "*")
	second.expect(t, 412)
	d.expectStored(t, mark)

	// Nor with the tag of one that was deleted.
	tag := d.read(t)
	d.send(t, d.url, "DELETE", "", "If-Match", tag).expectSuccess(t)
	again, _ := d.put(t, "If-None-Match", "*")
	again.expect(t, s.alone.creates)
	if s.alone.creates != 404 {
		a, _ := d.put(t, "If-Match", tag)
		a.expect(t, 412)
	}
}

func (s stand) comparesDates(t *testing.T) {
	d := s.document(t)
	hourAgo := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	a, _ := d.put(t, "If-Unmodified-Since", hourAgo)
	a.expect(t, 412)

	var modified string
	eventually(t, "the second is over", func() bool {
		modified = d.send(t, d.url, "GET", "").expect(t, 200).Header.Get("Last-Modified")
		return modified != ""
	})
	d.send(t, d.url, "GET", "", "If-Modified-Since", modified).expect(t, 304)
	began := time.Now()
	a, mark := d.put(t, "If-Unmodified-Since", modified)
	a.expectSuccess(t)
	// Neither by the date that it had, nor by the one that it has now: another
	// change could have the same.
	for _, date := range []string{modified, d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified")} {
		a, _ := d.put(t, "If-Unmodified-Since", date)
		if time.Since(began) < time.Second {
			a.expect(t, 412)
			d.expectStored(t, mark)
		}
	}
}

func (s stand) requiresConditions(t *testing.T) {
	for _, method := range s.writeMethods() {
		d := s.document(t)
		mark := d.bypass(t)
		d.send(t, d.url, method, contentFor(method)).expect(t, 428)
		d.expectStored(t, mark)
	}
}

// holdsContests: of 16 writers with one tag, or that all want to create,
// exactly one is let through.
func (s stand) holdsContests(t *testing.T) {
	const writers = 16
	contest := func(d document, method, field, value string, loser int) {
		t.Helper()
		start := make(chan struct{})
		results := make([]result, writers)
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
				a, err := try(context.Background(), method, d.url+spelling, content,
					field, value, "Content-Type", "application/json")
				results[i] = result{a, err}
			})
		}
		close(start)
		done.Wait()
		var won []string
		for i, r := range results {
			switch {
			case r.err != nil:
				t.Error(r.err)
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
	if s.alone.creates != 404 {
		contest(s.absent(), "PUT", "If-None-Match", "*", 412)
	}
}

// keepsCollections: methods that say more than a document's new content.
func (s stand) keepsCollections(t *testing.T) {
	c := s.absent().name
	send(t, "MKCOL", s.url+"/"+c+"/", "").expect(t, 201)
	d := s.document(t)
	d.name, d.path = "member", "/"+c+"/member.json"
	a, mark := d.put(t, "If-None-Match", "*")
	a.expect(t, s.alone.creates)

	// The client may have come by TLS.
	to := func(path string) []string {
		return []string{"Destination", "https://" + strings.TrimPrefix(d.url, "http://") + path, "Overwrite", "T"}
	}
	copied := d
	copied.path = "/" + c + "/copy.json"
	d.send(t, d.url, "COPY", "", to(copied.path)...).expectSuccess(t)
	copied.expectStored(t, mark)

	// A condition is about what is moved, and not about where to.
	older, tag := d.read(t), copied.read(t)
	a, mark = d.put(t, "If-Match", older)
	a.expectSuccess(t)
	d.send(t, d.url, "MOVE", "", append(to(copied.path), "If-Match", older)...).expect(t, 412)
	d.expectStored(t, mark)
	d.send(t, d.url, "MOVE", "", append(to(copied.path), "If-Match", d.read(t))...).expectSuccess(t)
	copied.expectStored(t, mark)
	if got := d.stored(t); got != "" {
		t.Errorf("%s is still there after it was moved", d.path)
	}

	// What was there before has been replaced.
	a, _ = copied.put(t, "If-Match", tag)
	a.expect(t, 412)
	copied.expectStored(t, mark)
	a, _ = d.put(t, "If-Match", "*")
	a.expect(t, 412)
	a, mark = copied.put(t, "If-Match", copied.read(t))
	a.expectSuccess(t)
	copied.expectStored(t, mark)
}

var lockToken = regexp.MustCompile(`<D:locktoken>\s*<D:href>([^<]*)</D:href>`)

func (s stand) keepsLocks(t *testing.T) {
	d := s.document(t)
	properties := send(t, "PROPFIND", s.url+"/", "", "Depth", "1").expect(t, 207)
	if !strings.Contains(properties.Content, d.path) {
		t.Errorf("PROPFIND doesn't show %s:\n%s", d.path, properties.Content)
	}
	send(t, "OPTIONS", s.url+d.path, "").expect(t, 200)

	mark := d.bypass(t)
	stale, lock := d.read(t), send(t, "LOCK", s.url+d.path, `<?xml version="1.0"?>
<D:lockinfo xmlns:D="DAV:">
	<D:lockscope><D:exclusive/></D:lockscope>
	<D:locktype><D:write/></D:locktype>
	<D:owner>Ann</D:owner>
</D:lockinfo>`, "Content-Type", "application/xml", "Timeout", "Second-600").expect(t, 200)
	found := lockToken.FindStringSubmatch(lock.Content)
	if found == nil {
		t.Fatalf("no lock token:\n%s", lock.Content)
	}
	token := "<" + found[1] + ">"
	tag := d.read(t)
	if tag != stale {
		t.Errorf("ETag %s after a LOCK, %s before (8.6)", tag, stale)
	}

	// The lock and the tag are conditions both, of the backend and of ours.
	a, _ := d.put(t, "If-Match", tag)
	a.expect(t, 423)
	d.expectStored(t, mark)
	a, _ = d.put(t, "If-Match", `"x"`, "If", "("+token+")")
	a.expect(t, 412)
	d.expectStored(t, mark)
	a, mark = d.put(t, "If-Match", tag, "If", "("+token+")")
	a.expectSuccess(t)
	d.expectStored(t, mark)
	send(t, "UNLOCK", s.url+d.path, "", "Lock-Token", token).expect(t, 204)
	a, mark = d.put(t, "If-Match", d.read(t))
	a.expectSuccess(t)
	d.expectStored(t, mark)
}

// TestBackendsSpellings: the spellings of a path by which a backend knows a
// document are those of one resource, or else its writers don't see each other.
func TestBackendsSpellings(t *testing.T) {
	options := func(*backend) []string { return []string{""} }
	for _, s := range standsBefore(t, startBackends(t, backends...), options) {
		t.Run(s.name, func(t *testing.T) {
			s.orSkip(t)
			d := s.document(t)
			mark := d.bypass(t)
			want := send(t, "GET", d.url+d.path, "").expect(t, 200).Header.Get("X-Resource")
			for _, spelling := range spellings(d.path) {
				a := send(t, "GET", d.url+spelling, "")
				if a.StatusCode != 200 || !strings.Contains(a.Content, mark) {
					continue
				}
				if got := a.Header.Get("X-Resource"); got != want {
					t.Errorf("%s is the resource %s, and %s is %s", d.path, want, spelling, got)
				}
			}
		})
	}
}

// TestBackendsNginxTag: nginx gives two contents of one size and second one
// strong tag (8.8.1). Whoever believes it loses updates.
func TestBackendsNginxTag(t *testing.T) {
	for _, test := range []struct {
		options string
		loses   bool
	}{
		{"etag upstream", true},
		{"", true},
		{"etag body", false},
	} {
		t.Run(title(test.options), func(t *testing.T) {
			s := standBefore(t, "nginx", test.options)
			eventually(t, "nginx has one tag for two contents", func() bool {
				d := s.document(t)
				tag, own := d.read(t), d.send(t, d.direct, "HEAD", "").tag(t)
				bobs, bobsMark := d.put(t, "If-Match", tag)
				bobs.expectSuccess(t)
				anns, annsMark := d.put(t, "If-Match", tag)
				if d.send(t, d.direct, "HEAD", "").tag(t) != own {
					return false
				}
				if test.loses {
					anns.expectSuccess(t)
					d.expectStored(t, annsMark) // and Bob's is gone
				} else {
					anns.expect(t, 412)
					d.expectStored(t, bobsMark)
				}
				return true
			})
		})
	}
}

// TestBackendsNginxDate: nginx makes a Date that comes with a PUT the date of
// the file, so that its Last-Modified and tag are the client's to choose. They
// aren't if the field is taken off.
func TestBackendsNginxDate(t *testing.T) {
	b := backendNamed(t, "nginx")
	b.orSkip(t)
	address := startBackends(t, *b)[b.name]
	for _, takenOff := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken off is %v", takenOff), func(t *testing.T) {
			to := address
			if takenOff {
				to += " {\nheader_up -Date\n}"
			}
			site := oneNodeAt(t, guarded("etag body", to)).first()
			d := stand{b, "etag body", site, "http://" + address}.document(t)
			for i := range 2 {
				a, mark := d.put(t, "Date", legacyDate, "If-Match", d.read(t))
				a.expectSuccess(t)
				d.expectStored(t, mark)
				shown := d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified")
				if (shown == legacyDate) == takenOff {
					t.Errorf("PUT %d: Last-Modified %s", i, shown)
				}
			}
			// The date is as old as it can be, and nothing proves less.
			a, mark := d.put(t, "If-Unmodified-Since", legacyDate)
			want := 204
			if takenOff {
				want = 412
			}
			a.expect(t, want)
			if !takenOff {
				d.expectStored(t, mark)
			}
		})
	}
}

// TestBackendsFileDates: files are dated by a clock that lags behind the one of
// Date, so that a change that follows the end of a second may have the date of
// the one before (8.8.2.2).
func TestBackendsFileDates(t *testing.T) {
	s := standBefore(t, "nginx", "")
	for range 5 { // which not all systems show
		d := s.document(t)
		d.read(t)
		var held string // by a client that read before the change
		for over := false; !over; {
			a := d.send(t, d.direct, "GET", "").expect(t, 200)
			held = a.Header.Get("Last-Modified")
			over = a.Header.Get("Date") != held
		}
		before := d.send(t, d.url, "GET", "").expect(t, 200).Header.Get("Last-Modified")
		mark := d.bypass(t)
		if d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified") == held {
			if before == held {
				t.Errorf("two contents of %s", held)
			}
			a, _ := d.put(t, "If-Unmodified-Since", held)
			a.expect(t, 412)
			d.expectStored(t, mark)
			return
		}
	}
	t.Log("no file was dated too early")
}

// TestBackendsModified: a tag that is made of the date is there once no other
// change can have the date (8.8.2.2), and is as good as any other then.
func TestBackendsModified(t *testing.T) {
	options := func(b *backend) []string {
		if b.alone.dated {
			return []string{"etag modified"}
		}
		return nil
	}
	for _, s := range standsBefore(t, startBackends(t, backends...), options) {
		t.Run(s.name, func(t *testing.T) {
			s.orSkip(t)
			t.Parallel()
			d := s.document(t)
			content := d.stored(t)
			var tag string
			eventually(t, "it has a tag", func() bool {
				a := d.send(t, d.url, "GET", "").expect(t, 200)
				tag = a.Header.Get("ETag")
				return tag != ""
			})
			if head := d.send(t, d.url, "HEAD", "").expect(t, 200); head.tag(t) != tag {
				t.Errorf("GET has %s, HEAD has %s", tag, head.tag(t))
			}
			d.send(t, d.url, "GET", "", "If-None-Match", tag).expect(t, 304)
			d.expectStored(t, content)

			a, mark := d.put(t, "If-Match", tag)
			a.expectSuccess(t)
			// Ann's tag is of no use any more, and there is none for what Bob
			// has written.
			for _, condition := range []string{tag, "*, " + tag, `"x"`} {
				a, _ := d.put(t, "If-Match", condition)
				a.expect(t, 412)
				d.expectStored(t, mark)
			}
			if got := d.send(t, d.url, "GET", "").expect(t, 200).Header.Get("ETag"); got == tag {
				t.Errorf("ETag %s is still current", tag)
			}
		})
	}
}

// TestBackendsApacheDate: on a PUT, Apache takes now for the date of the file,
// and so refuses every If-Unmodified-Since that has come true, unless the field
// is taken off once it was compared.
func TestBackendsApacheDate(t *testing.T) {
	d := standBefore(t, "Apache httpd", "").document(t)
	var modified string
	eventually(t, "the date can be used", func() bool {
		modified = d.send(t, d.url, "GET", "").expect(t, 200).Header.Get("Last-Modified")
		return modified != ""
	})
	content, mark := draft()
	d.send(t, d.direct, "PUT", content, "If-Unmodified-Since", modified).expect(t, 412)
	d.send(t, d.url, "PUT", content, "If-Unmodified-Since", modified).expectSuccess(t)
	d.expectStored(t, mark)
}

// TestBackendsApacheTag: Apache's tag is weak until its second is over, and
// strong from then on. It may be believed, but not mixed with another source: a
// tag must not change while the content doesn't.
func TestBackendsApacheTag(t *testing.T) {
	strong := func(d document) func() bool {
		return func() bool { return d.send(t, d.direct, "HEAD", "").kind() == strongTag }
	}
	t.Run("etag upstream", func(t *testing.T) {
		s := standBefore(t, "Apache httpd", "etag upstream")
		eventually(t, "a tag is seen within its second", func() bool {
			d := s.document(t)
			a := d.send(t, d.url, "GET", "").expect(t, 200)
			if a.kind() == strongTag {
				return false
			}
			tag := strings.TrimPrefix(a.tag(t), "W/")
			for _, try := range []string{tag, "W/" + tag} {
				a, _ := d.put(t, "If-Match", try)
				if a.StatusCode != 412 {
					return false // by now it is strong
				}
			}
			eventually(t, "the tag is strong", strong(d))
			if got := d.read(t); got != tag {
				t.Errorf("ETag %s, as weak tag %s", got, tag)
			}
			a, mark := d.put(t, "If-Match", tag)
			a.expectSuccess(t)
			d.expectStored(t, mark)
			a, _ = d.put(t, "If-Match", tag)
			a.expect(t, 412)
			d.expectStored(t, mark)
			return true
		})
	})
	for options, status := range map[string]int{"": 412, "etag body": 204} {
		t.Run(title(options)+" over the second", func(t *testing.T) {
			s := standBefore(t, "Apache httpd", options)
			eventually(t, "a tag is seen within its second", func() bool {
				d := s.document(t)
				tag := d.read(t)
				if strong(d)() {
					return false
				}
				eventually(t, "the tag is strong", strong(d))
				a, _ := d.put(t, "If-Match", tag)
				a.expect(t, status)
				return true
			})
		})
	}
}

// TestBackendsLargeDocument: the tag of a document that is larger than the
// buffer is the backend's, if it is to have one.
func TestBackendsLargeDocument(t *testing.T) {
	large := `"` + strings.Repeat("x", 2<<20) + `"`
	for options, tagged := range map[string]bool{"etag upstream": true, "etag body": false} {
		t.Run(options, func(t *testing.T) {
			d := standBefore(t, "rclone", options).document(t)
			d.send(t, d.url, "PUT", large, "If-Match", d.read(t)).expectSuccess(t)
			get := d.send(t, d.url, "GET", "").expect(t, 200)
			if head := d.send(t, d.url, "HEAD", "").expect(t, 200); get.kind() != head.kind() || (get.kind() == strongTag) != tagged {
				t.Fatalf("GET has %s, HEAD has %s", get.kind(), head.kind())
			}
			if tagged {
				d.send(t, d.url, "PUT", large+" ", "If-Match", get.tag(t)).expectSuccess(t)
				d.send(t, d.url, "PUT", large, "If-Match", get.tag(t)).expect(t, 412)
			}
			d.send(t, d.url, "PUT", large, "If-Match", `"x"`).expect(t, 412)
			d.send(t, d.url, "GET", "", "If-None-Match", `"x"`).expect(t, 200)
		})
	}
}

// TestBackendsOverriddenMethods: json-server takes a POST for what
// X-HTTP-Method-Override says.
func TestBackendsOverriddenMethods(t *testing.T) {
	s := standBefore(t, "json-server", "")
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		d := s.document(t)
		stale := d.read(t)
		mark := d.bypass(t)
		content, want := draft()
		override := []string{"X-HTTP-Method-Override", method}
		d.send(t, d.url, "POST", content, override...).expect(t, 428)
		d.send(t, d.url, "POST", content, append(override, "If-Match", stale)...).expect(t, 412)
		d.expectStored(t, mark)
		d.send(t, d.url, "POST", content, append(override, "If-Match", d.read(t))...).expect(t, 200)
		if method != "DELETE" {
			d.expectStored(t, want)
		} else if got := d.stored(t); got != "" {
			t.Errorf("there is still %q", got)
		}
	}
}

// TestBackendsLists: json-server's list changes with its items, though nobody
// has written to it.
func TestBackendsLists(t *testing.T) {
	s := standBefore(t, "json-server", "")
	d := s.document(t)
	list := func(fields ...string) answer { return send(t, "GET", s.url+"/docs", "", fields...) }
	add := func(fields ...string) answer {
		content, _ := draft()
		return s.absent().post(t, s.url, content, fields...)
	}
	tag := list().expect(t, 200).tag(t)
	list("If-None-Match", tag).expect(t, 304)

	a, mark := d.put(t, "If-Match", d.read(t))
	a.expect(t, 200)
	changed := list("If-None-Match", tag).expect(t, 200)
	if changed.tag(t) == tag || !strings.Contains(changed.Content, mark) {
		t.Errorf("ETag %s, before the change of an item %s\n%s", changed.tag(t), tag, changed.Content)
	}

	// An item is added to the list as it was seen, or not at all.
	add("If-Match", tag).expect(t, 412)
	add("If-Match", changed.tag(t)).expect(t, 201)
	add("If-Match", changed.tag(t)).expect(t, 412)
	// A page is no other resource, but another representation.
	first := send(t, "GET", s.url+"/docs?_page=1&_limit=1", "").expect(t, 200)
	if first.tag(t) == list().tag(t) {
		t.Error("a page has the tag of the list")
	}
	send(t, "GET", s.url+"/docs?_page=1&_limit=1", "", "If-None-Match", list().tag(t)).expect(t, 200)
	send(t, "GET", s.url+"/docs?_page=1&_limit=1", "", "If-None-Match", first.tag(t)).expect(t, 304)
	// The same id can't be taken twice, which is the backend's to say.
	content, _ := draft()
	d.post(t, s.url, content).expect(t, 500)
}

// TestBackendsTagsOfAnswersToWrites: the tag of an answer to a write is that of
// what the document is now, or there is none (9.3.4, 15.3.2, 15.3.5).
func TestBackendsTagsOfAnswersToWrites(t *testing.T) {
	options := func(b *backend) []string { return b.options }
	for _, s := range standsBefore(t, startBackends(t, backends...), options) {
		t.Run(s.name+"/"+title(s.options), func(t *testing.T) {
			s.orSkip(t)
			t.Parallel()
			d := s.document(t)
			for _, method := range []string{"PUT", "PATCH"} {
				content, _ := draft()
				a := d.send(t, d.url, method, content, "If-Match", d.read(t))
				if got := a.Header.Get("ETag"); got != "" && got != d.read(t) {
					t.Errorf("%s: ETag %s, of the next GET %s", method, got, d.read(t))
				}
			}
			for _, status := range []int{s.alone.deletes, 404} {
				a := d.send(t, d.url, "DELETE", "", "If-Match", "*").expect(t, status)
				if got := a.Header.Get("ETag"); got != "" {
					t.Errorf("DELETE, %s: ETag %s", a.Status, got)
				}
			}
			a, _ := s.absent().put(t, "If-None-Match", "*")
			if s.alone.creates == 404 && a.Header.Get("ETag") != "" {
				t.Errorf("PUT, %s: ETag %s", a.Status, a.Header.Get("ETag"))
			}
		})
	}
}
