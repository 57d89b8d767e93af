package backends

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The tests in this file put the handler in front of programs that people use in
// practice. The table caddytest.Backends lists the right configurations for each.

// TestBackendsAlone shows what the backends do without any help, which is why
// they are configured as they are.
func TestBackendsAlone(t *testing.T) {
	addresses := caddytest.StartBackends(t, caddytest.Backends...)
	for i := range caddytest.Backends {
		b := &caddytest.Backends[i]
		t.Run(b.Name, func(t *testing.T) {
			b.OrSkip(t)
			t.Parallel()
			s := stand{Backend: b, direct: "http://" + addresses[b.Name]}
			s.showsItsHabits(t)
			s.takesStaleWrites(t)
			s.tagsFiveContents(t)
		})
	}
}

// contentFor returns new content for methods that have content. nginx rejects a
// DELETE with content.
func contentFor(method string) string {
	content, _ := draft()
	if method == "DELETE" {
		return ""
	}
	return content
}

// No update is lost, with any backend in any of its configurations.
func TestBackends(t *testing.T) {
	options := func(b *caddytest.Backend) []string { return b.Options }
	for _, s := range standsBefore(t, caddytest.StartBackends(t, caddytest.Backends...), options) {
		t.Run(s.Name+"/"+caddytest.Title(s.options), func(t *testing.T) {
			s.OrSkip(t)
			t.Parallel()
			for _, test := range []struct {
				name string
				run  func(stand, *testing.T)
				when bool
			}{
				{"GET and HEAD have one strong tag (8.8.3, 9.3.2)", stand.hasOneStrongTag, true},
				{"conditional reads (13.1.1, 13.1.2)", stand.readsConditionally, true},
				{"a part (14.2, 13.1.5)", stand.answersParts, true},
				{"a large file in parts (13.1.1, 13.1.4, 14.2)", stand.isReadInParts, s.Alone.Parts && !s.versioned()},
				{"stale writes are refused (13.1.1)", stand.refusesStaleWrites, true},
				{"current writes are made (13.1.1)", stand.makesCurrentWrites, true},
				{"two writes within a second (8.8.1)", stand.tellsWritesOfOneSecondApart, true},
				{"created once (13.1.2)", stand.createsOnce, true},
				{"dates (13.1.4, 8.8.2.2)", stand.comparesDates, s.Alone.Dated},
				{"writes without a condition (RFC 6585, section 3)", stand.requiresConditions, true},
				{"one of many writers wins (13.1.1)", stand.holdsContests, true},
				{"collections (RFC 4918, sections 9.3, 9.8, 9.9)", stand.keepsCollections, s.Alone.Collections},
				{"PROPFIND and LOCK (RFC 4918, sections 9.1, 9.10)", stand.keepsLocks, s.Alone.Properties},
			} {
				if test.when {
					t.Run(test.name, func(t *testing.T) { test.run(s, t) })
				}
			}
		})
	}
}

var lockToken = regexp.MustCompile(`<D:locktoken>\s*<D:href>([^<]*)</D:href>`)

// All spellings of a path under which a backend finds a document must name the
// same resource. Otherwise its writers don't see each other.
func TestBackendsSpellings(t *testing.T) {
	t.Parallel()
	options := func(*caddytest.Backend) []string { return []string{""} }
	for _, s := range standsBefore(t, caddytest.StartBackends(t, caddytest.Backends...), options) {
		t.Run(s.Name, func(t *testing.T) {
			s.OrSkip(t)
			d := s.document(t)
			mark := d.bypass(t)
			want := caddytest.Send(t, "GET", d.url+d.path, "").Expect(t, 200).Header.Get("X-Resource")
			for _, spelling := range spellings(d.path) {
				a := caddytest.Send(t, "GET", d.url+spelling, "")
				if a.StatusCode != 200 || !strings.Contains(a.Content, mark) {
					continue
				}
				if got := a.Header.Get("X-Resource"); got != want {
					t.Errorf("%s is the resource %s, but %s is %s", d.path, want, spelling, got)
				}
			}
		})
	}
}

// nginx gives two contents the same strong tag if they have the same size and were
// written in the same second (8.8.1). A site that trusts this tag loses updates.
func TestBackendsNginxTag(t *testing.T) {
	for _, test := range []struct {
		options string
		loses   bool
	}{
		{"etag upstream", true},
		{"", true},
		{"etag body", false},
	} {
		t.Run(caddytest.Title(test.options), func(t *testing.T) {
			s := standBefore(t, "nginx", test.options)
			caddytest.Eventually(t, "nginx has one tag for two contents", func() bool {
				d := s.document(t)
				tag, own := d.read(t), d.send(t, d.direct, "HEAD", "").Tag(t)
				bobs, bobsMark := d.put(t, "If-Match", tag)
				bobs.ExpectSuccess(t)
				anns, annsMark := d.put(t, "If-Match", tag)
				if d.send(t, d.direct, "HEAD", "").Tag(t) != own {
					return false
				}
				if test.loses {
					anns.ExpectSuccess(t)
					d.expectStored(t, annsMark) // and Bob's is gone
				} else {
					anns.Expect(t, 412)
					d.expectStored(t, bobsMark)
				}
				return true
			})
		})
	}
}

// nginx takes the Date of a PUT as the date of the file, which lets the client
// choose the Last-Modified and the tag. Removing the field prevents that.
func TestBackendsNginxDate(t *testing.T) {
	b := caddytest.BackendNamed(t, "nginx")
	b.OrSkip(t)
	address := caddytest.StartBackends(t, *b)[b.Name]
	for _, takenOff := range []bool{false, true} {
		t.Run(fmt.Sprintf("Date removed %v", takenOff), func(t *testing.T) {
			to := address
			if takenOff {
				to += " {\nheader_up -Date\n}"
			}
			site := caddytest.OneNodeAt(t, caddytest.Guarded("etag body", to)).First()
			d := stand{b, "etag body", site, "http://" + address}.document(t)
			for i := range 2 {
				a, mark := d.put(t, "Date", caddytest.LegacyDate, "If-Match", d.read(t))
				a.ExpectSuccess(t)
				d.expectStored(t, mark)
				shown := d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified")
				if (shown == caddytest.LegacyDate) == takenOff {
					t.Errorf("PUT %d: Last-Modified %s", i, shown)
				}
			}
			// The date is as old as it can be, and still proves nothing.
			a, mark := d.put(t, "If-Unmodified-Since", caddytest.LegacyDate)
			want := 204
			if takenOff {
				want = 412
			}
			a.Expect(t, want)
			if !takenOff {
				d.expectStored(t, mark)
			}
		})
	}
}

// The clock that dates files lags behind the clock of the Date field. A change
// right after the end of a second may get the date of the second before (8.8.2.2).
func TestBackendsFileDates(t *testing.T) {
	t.Parallel()
	s := standBefore(t, "nginx", "")
	for range 5 { // not all systems show the lag
		d := s.document(t)
		d.read(t)
		var held string // by a client that read before the change
		for over := false; !over; {
			a := d.send(t, d.direct, "GET", "").Expect(t, 200)
			held = a.Header.Get("Last-Modified")
			over = a.Header.Get("Date") != held
		}
		before := d.send(t, d.url, "GET", "").Expect(t, 200).Header.Get("Last-Modified")
		mark := d.bypass(t)
		if d.send(t, d.direct, "HEAD", "").Header.Get("Last-Modified") == held {
			if before == held {
				t.Errorf("two contents have the date %s", held)
			}
			a, _ := d.put(t, "If-Unmodified-Since", held)
			a.Expect(t, 412)
			d.expectStored(t, mark)
			return
		}
	}
	t.Log("no file was dated too early")
}

// A tag made from the date appears once no other change can get the same date
// (8.8.2.2). From then on it is as reliable as any other tag.
func TestBackendsModified(t *testing.T) {
	t.Parallel()
	options := func(b *caddytest.Backend) []string {
		if b.Alone.Dated {
			return []string{"etag modified"}
		}
		return nil
	}
	for _, s := range standsBefore(t, caddytest.StartBackends(t, caddytest.Backends...), options) {
		t.Run(s.Name, func(t *testing.T) {
			s.OrSkip(t)
			t.Parallel()
			d := s.document(t)
			content := d.stored(t)
			var tag string
			caddytest.Eventually(t, "it has a tag", func() bool {
				a := d.send(t, d.url, "GET", "").Expect(t, 200)
				tag = a.Header.Get("ETag")
				return tag != ""
			})
			if head := d.send(t, d.url, "HEAD", "").Expect(t, 200); head.Tag(t) != tag {
				t.Errorf("GET has %s, HEAD has %s", tag, head.Tag(t))
			}
			d.send(t, d.url, "GET", "", "If-None-Match", tag).Expect(t, 304)
			d.expectStored(t, content)

			a, mark := d.put(t, "If-Match", tag)
			a.ExpectSuccess(t)
			// Ann's tag is no longer valid, and Bob's content has no tag yet.
			for _, condition := range []string{tag, "*, " + tag, `"x"`} {
				a, _ := d.put(t, "If-Match", condition)
				a.Expect(t, 412)
				d.expectStored(t, mark)
			}
			if got := d.send(t, d.url, "GET", "").Expect(t, 200).Header.Get("ETag"); got == tag {
				t.Errorf("ETag %s is still current", tag)
			}
		})
	}
}

// On a PUT, Apache takes the current time as the date of the file. It therefore
// refuses every If-Unmodified-Since that is true, unless the handler removes the
// field after comparing it.
func TestBackendsApacheDate(t *testing.T) {
	t.Parallel()
	d := standBefore(t, "Apache httpd", "").document(t)
	var modified string
	caddytest.Eventually(t, "the date can be used", func() bool {
		modified = d.send(t, d.url, "GET", "").Expect(t, 200).Header.Get("Last-Modified")
		return modified != ""
	})
	content, mark := draft()
	d.send(t, d.direct, "PUT", content, "If-Unmodified-Since", modified).Expect(t, 412)
	d.send(t, d.url, "PUT", content, "If-Unmodified-Since", modified).ExpectSuccess(t)
	d.expectStored(t, mark)
}

// Apache's tag is weak until its second is over, and strong from then on. A site
// may trust it, but not mix it with a different source of tags: a tag must not
// change while the content stays the same.
func TestBackendsApacheTag(t *testing.T) {
	t.Parallel()
	strong := func(d document) func() bool {
		return func() bool { return kindOf(d.send(t, d.direct, "HEAD", "")) == caddytest.StrongTag }
	}
	t.Run("etag upstream", func(t *testing.T) {
		s := standBefore(t, "Apache httpd", "etag upstream")
		caddytest.Eventually(t, "a tag is seen within its second", func() bool {
			d := s.document(t)
			a := d.send(t, d.url, "GET", "").Expect(t, 200)
			if kindOf(a) == caddytest.StrongTag {
				return false
			}
			tag := strings.TrimPrefix(a.Tag(t), "W/")
			for _, try := range []string{tag, "W/" + tag} {
				a, _ := d.put(t, "If-Match", try)
				if a.StatusCode != 412 {
					return false // by now it is strong
				}
			}
			caddytest.Eventually(t, "the tag is strong", strong(d))
			if got := d.read(t); got != tag {
				t.Errorf("ETag %s, but the weak tag was %s", got, tag)
			}
			a, mark := d.put(t, "If-Match", tag)
			a.ExpectSuccess(t)
			d.expectStored(t, mark)
			a, _ = d.put(t, "If-Match", tag)
			a.Expect(t, 412)
			d.expectStored(t, mark)
			return true
		})
	})
	for options, status := range map[string]int{"": 412, "etag body": 204} {
		t.Run(caddytest.Title(options)+" over the second", func(t *testing.T) {
			s := standBefore(t, "Apache httpd", options)
			caddytest.Eventually(t, "a tag is seen within its second", func() bool {
				d := s.document(t)
				tag := d.read(t)
				if strong(d)() {
					return false
				}
				caddytest.Eventually(t, "the tag is strong", strong(d))
				a, _ := d.put(t, "If-Match", tag)
				a.Expect(t, status)
				return true
			})
		})
	}
}

// A document that is larger than the buffer has the backend's tag, if the options
// allow it. Otherwise a GET can't show a tag, but a HEAD after it does.
func TestBackendsLargeDocument(t *testing.T) {
	t.Parallel()
	large := `"` + strings.Repeat("x", 2<<20) + `"`
	for options, tagged := range map[string]bool{"etag upstream": true, "etag body": false} {
		t.Run(options, func(t *testing.T) {
			d := standBefore(t, "rclone", options).document(t)
			d.send(t, d.url, "PUT", large, "If-Match", d.read(t)).ExpectSuccess(t)
			get := d.send(t, d.url, "GET", "").Expect(t, 200)
			head := d.send(t, d.url, "HEAD", "").Expect(t, 200)
			if kindOf(head) != caddytest.StrongTag || (kindOf(get) == caddytest.StrongTag) != tagged {
				t.Fatalf("GET has %s, HEAD has %s", kindOf(get), kindOf(head))
			}
			d.send(t, d.url, "PUT", large+" ", "If-Match", head.Tag(t)).ExpectSuccess(t)
			d.send(t, d.url, "PUT", large, "If-Match", head.Tag(t)).Expect(t, 412)
			d.send(t, d.url, "PUT", large, "If-Match", `"x"`).Expect(t, 412)
			d.send(t, d.url, "GET", "", "If-None-Match", `"x"`).Expect(t, 200)
		})
	}
}

// json-server treats a POST as the method that X-HTTP-Method-Override names, and so
// must the handler.
func TestBackendsOverriddenMethods(t *testing.T) {
	t.Parallel()
	s := standBefore(t, "json-server", "")
	for _, value := range []string{"PUT", "PATCH", "DELETE", "PUT,", "patch , GET", "Delete,,POST"} {
		method := strings.ToUpper(strings.TrimSpace(strings.Split(value, ",")[0]))
		d := s.document(t)
		stale := d.read(t)
		mark := d.bypass(t)
		content, want := draft()
		override := []string{"X-HTTP-Method-Override", value}
		d.send(t, d.url, "POST", content, override...).Expect(t, 428)
		d.send(t, d.url, "POST", content, append(override, "If-Match", stale)...).Expect(t, 412)
		d.expectStored(t, mark)
		d.send(t, d.url, "POST", content, append(override, "If-Match", d.read(t))...).Expect(t, 200)
		if method != "DELETE" {
			d.expectStored(t, want)
		} else if got := d.stored(t); got != "" {
			t.Errorf("there is still %q", got)
		}
	}
}

// json-server's list changes with its items, without any write to the list itself.
func TestBackendsLists(t *testing.T) {
	t.Parallel()
	s := standBefore(t, "json-server", "")
	d := s.document(t)
	list := func(fields ...string) caddytest.Answer { return caddytest.Send(t, "GET", s.url+"/docs", "", fields...) }
	add := func(fields ...string) caddytest.Answer {
		content, _ := draft()
		return s.absent().post(t, s.url, content, fields...)
	}
	tag := list().Expect(t, 200).Tag(t)
	list("If-None-Match", tag).Expect(t, 304)

	a, mark := d.put(t, "If-Match", d.read(t))
	a.Expect(t, 200)
	changed := list("If-None-Match", tag).Expect(t, 200)
	if changed.Tag(t) == tag || !strings.Contains(changed.Content, mark) {
		t.Errorf("the list has ETag %s, and had %s before an item changed\n%s", changed.Tag(t), tag, changed.Content)
	}

	// An item is added only if the list is still as the client saw it.
	add("If-Match", tag).Expect(t, 412)
	add("If-Match", changed.Tag(t)).Expect(t, 201)
	add("If-Match", changed.Tag(t)).Expect(t, 412)
	// A page is a different representation of the same resource.
	first := caddytest.Send(t, "GET", s.url+"/docs?_page=1&_limit=1", "").Expect(t, 200)
	if first.Tag(t) == list().Tag(t) {
		t.Error("a page has the tag of the list")
	}
	caddytest.Send(t, "GET", s.url+"/docs?_page=1&_limit=1", "", "If-None-Match", list().Tag(t)).Expect(t, 200)
	caddytest.Send(t, "GET", s.url+"/docs?_page=1&_limit=1", "", "If-None-Match", first.Tag(t)).Expect(t, 304)
	// It is up to the backend to refuse an id that is already taken.
	content, _ := draft()
	d.post(t, s.url, content).Expect(t, 500)
}

// The answer to a write has the tag of the document's new state, or no tag (9.3.4,
// 15.3.2, 15.3.5).
func TestBackendsTagsOfAnswersToWrites(t *testing.T) {
	t.Parallel()
	options := func(b *caddytest.Backend) []string { return b.Options }
	for _, s := range standsBefore(t, caddytest.StartBackends(t, caddytest.Backends...), options) {
		t.Run(s.Name+"/"+caddytest.Title(s.options), func(t *testing.T) {
			s.OrSkip(t)
			t.Parallel()
			d := s.document(t)
			for _, method := range []string{"PUT", "PATCH"} {
				content, _ := draft()
				a := d.send(t, d.url, method, content, "If-Match", d.read(t))
				if got := a.Header.Get("ETag"); got != "" && got != d.read(t) {
					t.Errorf("%s: ETag %s, but the next GET has %s", method, got, d.read(t))
				}
			}
			for _, status := range []int{s.Alone.Deletes, 404} {
				a := d.send(t, d.url, "DELETE", "", "If-Match", "*").Expect(t, status)
				if got := a.Header.Get("ETag"); got != "" {
					t.Errorf("DELETE, %s: ETag %s", a.Status, got)
				}
			}
			a, _ := s.absent().put(t, "If-None-Match", "*")
			if s.Alone.Creates == 404 && a.Header.Get("ETag") != "" {
				t.Errorf("PUT, %s: ETag %s", a.Status, a.Header.Get("ETag"))
			}
		})
	}
}

// The README is right about which backends' lists can show the tags of their items.
func TestItemsOfBackends(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, options string
		tagged        bool
	}{
		{"json-server", "etag json /version\netag body\n", true},
		{"json-server", "etag json \"\"\n", true},
		{"json-server", "", false}, // it indents items more in a list
	} {
		t.Run(test.name+" "+caddytest.Title(test.options), func(t *testing.T) {
			s := standBefore(t, test.name, test.options+"items \"\" /docs/{id}\n")
			d := s.document(t)
			list := caddytest.Send(t, "GET", s.url+"/docs", "").Expect(t, 200)
			tag := caddytest.MembersOf(t, list, "etag")[d.name]
			if (tag != "") != test.tagged {
				t.Fatalf("%s\n%s", tag, list.Content)
			}
			if !test.tagged {
				return
			}
			a, mark := d.put(t, "If-Match", tag)
			a.ExpectSuccess(t)
			d.expectStored(t, mark)
			a, _ = d.put(t, "If-Match", tag)
			a.Expect(t, 412)
			caddytest.Send(t, "GET", s.url+"/docs", "", "If-None-Match", list.Tag(t)).Expect(t, 200)
		})
	}
}
