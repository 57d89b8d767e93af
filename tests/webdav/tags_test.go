package webdav

import (
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// calendar is a backend whose documents are the members of one collection, /cal/. It has the
// tags and dates that it is given, in a GET and in a multistatus.
type calendar struct {
	mu      sync.Mutex
	docs    map[string]string // by name
	tag     func(name, content string, multistatus bool) string
	date    func(name string, multistatus bool) string
	type_   string
	gets    int
	failing int    // the status of every GET, or zero
	private string // the name of a document that only ann may read
	before  func(r *http.Request)
	during  func(name string) // called for each member of a multistatus
	host    string            // in hrefs
}

func newCalendar(names ...string) *calendar {
	c := &calendar{docs: make(map[string]string), type_: "application/xml; charset=utf-8"}
	for _, name := range names {
		c.docs[name] = "BEGIN:VEVENT\r\nUID:" + name + "\r\nEND:VEVENT\r\n"
	}
	none := func(string, string, bool) string { return "" }
	c.tag, c.date = none, func(string, bool) string { return "" }
	return c
}

func (c *calendar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if c.before != nil {
		c.before(r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/cal/")
	switch r.Method {
	case "PROPFIND", "REPORT", "SEARCH":
		c.multistatus(w, string(content))
	case http.MethodPut:
		c.docs[name] = string(content)
		w.WriteHeader(http.StatusNoContent)
	default:
		c.gets++
		doc, ok := c.docs[name]
		switch {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case c.failing > 0:
			w.WriteHeader(c.failing)
		case name == c.private && r.Header.Get("Authorization") != "ann":
			w.WriteHeader(http.StatusForbidden)
		default:
			for field, value := range map[string]string{"ETag": c.tag(name, doc, false), "Last-Modified": c.date(name, false)} {
				if value != "" {
					w.Header().Set(field, value)
				}
			}
			w.Header().Set("Content-Type", "text/calendar")
			_, _ = io.WriteString(w, doc)
		}
	}
}

func (c *calendar) multistatus(w http.ResponseWriter, asked string) {
	w.Header().Set("Content-Type", c.type_)
	w.WriteHeader(http.StatusMultiStatus)
	_, _ = io.WriteString(w, `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">`+
		"<D:response><D:href>/cal/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>")
	for _, name := range slices.Sorted(maps.Keys(c.docs)) {
		doc := c.docs[name]
		found, missing := "<D:resourcetype/>", ""
		for property, value := range map[string]string{"getetag": c.tag(name, doc, true), "getlastmodified": c.date(name, true)} {
			switch all := strings.Contains(asked, "allprop"); {
			case !all && !strings.Contains(asked, property):
			case value != "":
				found += "<D:" + property + ">" + html.EscapeString(value) + "</D:" + property + ">"
			case !all:
				missing += "<D:" + property + "/>"
			}
		}
		if strings.Contains(asked, "calendar-data") {
			found += "<C:calendar-data>" + html.EscapeString(doc) + "</C:calendar-data>"
		}
		fmt.Fprintf(w, "<D:response><D:href>%s/cal/%s</D:href><D:propstat><D:prop>%s</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>", c.host, name, found)
		if missing != "" {
			fmt.Fprintf(w, "<D:propstat><D:prop>%s</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>", missing)
		}
		_, _ = io.WriteString(w, "</D:response>")
		if c.during != nil {
			c.during(name)
		}
	}
	_, _ = io.WriteString(w, "<D:sync-token>urn:1</D:sync-token></D:multistatus>")
}

// set changes a document behind everybody's back.
func (c *calendar) set(name, content string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.docs[name] = content
}

func (c *calendar) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gets
}

// properties are what a multistatus says of a resource.
type properties struct {
	ETag     string `xml:"DAV: getetag"`
	Modified string `xml:"DAV: getlastmodified"`
	Data     string `xml:"urn:ietf:params:xml:ns:caldav calendar-data"`
}

// described returns the properties in a multistatus, by the last segment of the path.
func described(t *testing.T, a caddytest.Answer) map[string]properties {
	t.Helper()
	a.Expect(t, http.StatusMultiStatus)
	var m struct {
		Responses []struct {
			Href  string `xml:"DAV: href"`
			Parts []struct {
				Prop   properties `xml:"DAV: prop"`
				Status string     `xml:"DAV: status"`
			} `xml:"DAV: propstat"`
		} `xml:"DAV: response"`
	}
	if err := xml.Unmarshal([]byte(a.Content), &m); err != nil {
		t.Fatalf("%v in %s", err, a.Content)
	}
	all := make(map[string]properties)
	for _, r := range m.Responses {
		for _, p := range r.Parts {
			if strings.Contains(p.Status, " 200 ") {
				all[r.Href[strings.LastIndex(r.Href, "/")+1:]] = p.Prop
			}
		}
	}
	return all
}

const (
	named    = `<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:getlastmodified/><D:resourcetype/></D:prop></D:propfind>`
	allprop  = `<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`
	multiget = `<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/><C:calendar-data/></D:prop></C:calendar-multiget>`
)

// sameAsGet checks that each tag is the one that a GET gives.
func sameAsGet(t *testing.T, site string, all map[string]properties, fields ...string) {
	t.Helper()
	for name, p := range all {
		if name == "" || p == (properties{}) {
			continue
		}
		get := caddytest.Send(t, "GET", site+"/cal/"+name, "", fields...)
		if p.ETag != get.Header.Get("ETag") {
			t.Errorf("%s: getetag is %s, and the tag %s", name, p.ETag, get.Header.Get("ETag"))
		}
		if p.Modified != "" && p.Modified != get.Header.Get("Last-Modified") {
			t.Errorf("%s: getlastmodified is %s, and the date %s", name, p.Modified, get.Header.Get("Last-Modified"))
		}
	}
}

// TestTagsInMultistatus: whatever tags and dates the backend gives, the tags in a multistatus
// are those of a GET, and good for If-Match.
func TestTagsInMultistatus(t *testing.T) {
	t.Parallel()
	const old = "Sun, 06 Nov 1994 08:49:37 GMT"
	strong := func(name, content string, _ bool) string { return fmt.Sprintf(`"%s-%d"`, name, len(content)) }
	for _, tt := range []struct {
		name, options string
		tag           func(name, content string, multistatus bool) string
		date          string
	}{
		{"no tags", "", nil, ""},
		{"no tags, but dates", "", nil, old},
		{"strong tags", "", strong, old},
		{"weak tags", "", func(name, content string, m bool) string { return "W/" + strong(name, content, m) }, old},
		{"weak tags, and no other source", "etag upstream", func(name, content string, m bool) string { return "W/" + strong(name, content, m) }, old},
		{"tags in a multistatus only", "", func(name, content string, m bool) string {
			if m {
				return strong(name, content, m)
			}
			return ""
		}, old},
		{"tags in a GET only", "", func(name, content string, m bool) string {
			if m {
				return ""
			}
			return strong(name, content, m)
		}, old},
		{"other tags in a GET", "", func(_, content string, m bool) string {
			return fmt.Sprintf(`"%t-%d"`, m, len(content))
		}, old},
		{"from the content", "etag body", strong, old},
		{"from the store", "etag version", strong, old},
		{"from the store, and everybody comes through here", "verify never", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar("1.ics", "2.ics")
			if tt.tag != nil {
				c.tag = tt.tag
			}
			c.date = func(string, bool) string { return tt.date }
			site := caddytest.Site(t, "profile webdav\nlag 0s\n"+tt.options, c)
			for _, request := range []struct{ method, content string }{{"PROPFIND", named}, {"REPORT", multiget}, {"SEARCH", named}, {"PROPFIND", allprop}} {
				all := described(t, caddytest.Send(t, request.method, site+"/cal/", request.content, "Depth", "1"))
				if len(all) != 3 || request.content != allprop && all["1.ics"].ETag == "" {
					t.Fatalf("%s tells %v", request.content, all)
				}
				sameAsGet(t, site, all)
			}
			all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named, "Depth", "1"))
			if strings.HasPrefix(all["1.ics"].ETag, "W/") {
				return
			}
			caddytest.Send(t, "PUT", site+"/cal/1.ics", "longer than what was there before, by far", "If-Match", all["1.ics"].ETag).Expect(t, 204)
			caddytest.Send(t, "PUT", site+"/cal/1.ics", "mine", "If-Match", all["1.ics"].ETag).Expect(t, 412)
			sameAsGet(t, site, described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named, "Depth", "1")))
		})
	}
}

// TestMultistatusAsksOnce: a member that is known and hasn't changed isn't read again.
func TestMultistatusAsksOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, options, date string
		strong              bool
		want                int
	}{
		{"by its date", "", "Sun, 06 Nov 1994 08:49:37 GMT", false, 3},
		{"everybody comes through here", "verify never", "", false, 3},
		{"nobody can tell", "", "", false, 6},
		{"the backend's own tags", "", "", true, 1}, // to see whether a GET has them
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar("1.ics", "2.ics", "3.ics")
			c.date = func(string, bool) string { return tt.date }
			if tt.strong {
				c.tag = func(name, _ string, _ bool) string { return `"` + name + `"` }
			}
			site := caddytest.Site(t, "profile webdav\nlag 0s\n"+tt.options, c)
			first := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
			for name, p := range described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named)) {
				if p.ETag != first[name].ETag { // a date of ours is sent once its second is over
					t.Errorf("%v, then %v", first[name], p)
				}
			}
			if got := c.count(); got != tt.want {
				t.Errorf("%d requests, want %d", got, tt.want)
			}
		})
	}
}

// TestTagBesideContent: the tag that stands beside content is the tag of that content, whoever
// writes in the meantime.
func TestTagBesideContent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, options string
		writes        func(t *testing.T, site string, c *calendar) // while the backend makes the answer
	}{
		{"somebody else", "", func(_ *testing.T, _ string, c *calendar) { c.docs["1.ics"] = "theirs" }},
		{"somebody else, and everybody comes through here", "verify never", func(_ *testing.T, _ string, c *calendar) { c.docs["1.ics"] = "theirs" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar("1.ics", "2.ics")
			site := caddytest.Site(t, "profile webdav\nlag 0s\n"+tt.options, c)
			c.during = func(name string) {
				if name == "2.ics" {
					c.during = nil
					tt.writes(t, site, c)
				}
			}
			a := caddytest.Send(t, "REPORT", site+"/cal/", multiget)
			if a.StatusCode == http.StatusMultiStatus {
				t.Errorf("a tag stands beside content that is over: %s", a.Content)
			}
			all := described(t, caddytest.Send(t, "REPORT", site+"/cal/", multiget))
			sameAsGet(t, site, all)
			if all["1.ics"].Data != "theirs" {
				t.Errorf("the content is %q", all["1.ics"].Data)
			}
		})
	}
}

// TestTagBesideContentThroughHere: the same, if the write comes through the handler and the
// tag is known.
func TestTagBesideContentThroughHere(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics")
	site := caddytest.Site(t, "profile webdav\nlag 0s\nverify never", c)
	tag := caddytest.Send(t, "GET", site+"/cal/1.ics", "").Expect(t, 200).Tag(t)
	if got := described(t, caddytest.Send(t, "REPORT", site+"/cal/", multiget))["1.ics"].ETag; got != tag || c.count() != 1 {
		t.Errorf("getetag is %s after %d requests, want %s", got, c.count(), tag)
	}
	// The content is read, and before the answer is here, somebody writes.
	made, proceed := make(chan struct{}), make(chan struct{})
	backend := c.docs["1.ics"]
	c.during = func(string) {
		c.mu.Unlock()
		close(made)
		<-proceed
		c.mu.Lock()
	}
	report := caddytest.Go(t.Context(), "REPORT", site+"/cal/", multiget)
	<-made
	caddytest.Send(t, "PUT", site+"/cal/1.ics", "theirs", "If-Match", tag).Expect(t, 204)
	c.during = nil
	close(proceed)
	result := <-report
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	if result.StatusCode == http.StatusMultiStatus {
		if got := described(t, result.Answer)["1.ics"]; got.Data == strings.ReplaceAll(backend, "\r", "") && got.ETag != "" && got.ETag != tag {
			t.Errorf("%s stands beside the content of %s", got.ETag, tag)
		}
	}
}

// TestMembersThatCannotBeRead: a member that the client may not read, or that is gone, has no
// tag. If nobody can tell, the client gets no answer in which something seems to be missing.
func TestMembersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics", "2.ics")
	c.private = "2.ics"
	site := caddytest.Site(t, "profile webdav\nlag 0s", c)
	for user, has := range map[string]bool{"bob": false, "ann": true} {
		all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named, "Authorization", user))
		if all["1.ics"].ETag == "" || (all["2.ics"].ETag != "") != has {
			t.Errorf("%s gets %v", user, all)
		}
		sameAsGet(t, site, all, "Authorization", user)
	}
	c.failing = 502
	caddytest.Send(t, "PROPFIND", site+"/cal/", named, "Authorization", "ann").Expect(t, 503)
	described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", allprop, "Authorization", "ann"))
}

// TestWeakDatesInMultistatus: a date that a later change may share isn't in a multistatus, as
// it isn't in the response to a GET.
func TestWeakDatesInMultistatus(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics")
	now := time.Now().UTC().Add(time.Hour).Format(http.TimeFormat)
	c.date = func(string, bool) string { return now }
	site := caddytest.Site(t, "profile webdav\nlag 0s", c)
	all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
	if all["1.ics"].Modified != "" || all["1.ics"].ETag == "" {
		t.Errorf("got %+v", all["1.ics"])
	}
}

// TestMultistatusInPieces: many members, and a large answer, are changed like a small one.
func TestMultistatusInPieces(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("%03d.ics", i))
	}
	c := newCalendar(names...)
	c.set("150.ics", strings.Repeat("x", 300<<10))
	site := caddytest.Site(t, "profile webdav\nlag 0s\nbuffer 400KiB", c)
	for _, content := range []string{named, multiget} {
		all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", content))
		if len(all) != 301 {
			t.Errorf("%d members", len(all))
		}
		for name, p := range all {
			if name != "" && p.ETag == "" {
				t.Errorf("%s has no tag", name)
			}
		}
	}
}

// TestLargeMembers: a member whose tag a GET doesn't show, because its content is too large,
// has none here either, and isn't read for that.
func TestLargeMembers(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics")
	c.set("2.ics", strings.Repeat("x", 4000))
	site := caddytest.Site(t, "profile webdav\nlag 0s\nbuffer 1KiB", c)
	all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
	if all["1.ics"].ETag == "" || all["2.ics"].ETag != "" {
		t.Errorf("got %v", all)
	}
}

// TestOtherAnswers: whatever isn't a multistatus in XML passes as it is, and one that can't be
// understood doesn't pass.
func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status         int
		type_, content string
		want           int
	}{
		{207, "application/json", `{}`, 207},
		{207, "", `not XML`, 502},
		{207, "application/xml", "\xfe\xff\x00<", 502}, // UTF-16
		{200, "application/xml", `<x/>`, 200},
		{404, "text/html", `gone`, 404},
		{207, "application/xml", `<D:multistatus xmlns:D="DAV:"><D:response>`, 502},
		{207, "application/xml", `<D:multistatus xmlns:D="DAV:"><D:responsedescription>x</D:responsedescription></D:multistatus>`, 207},
	} {
		site := caddytest.Site(t, "profile webdav", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if w.Header().Set("Content-Type", tt.type_); tt.type_ == "" {
				w.Header()["Content-Type"] = nil
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.content)
		}))
		a := caddytest.Send(t, "PROPFIND", site+"/", "").Expect(t, tt.want)
		if tt.want == tt.status && a.Content != tt.content {
			t.Errorf("%s becomes %s", tt.content, a.Content)
		}
	}
}

// TestCodedMultistatus: an answer that the backend has compressed, although it wasn't asked to,
// doesn't pass: nobody has looked at its tags.
func TestCodedMultistatus(t *testing.T) {
	t.Parallel()
	site := caddytest.Site(t, "profile webdav", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("the backend was asked for %s", got)
		}
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, "\x1f\x8b")
	}))
	a := caddytest.Send(t, "PROPFIND", site+"/", named, "Accept-Encoding", "gzip").Expect(t, 502)
	if a.Header.Get("Content-Encoding") != "" || !strings.Contains(a.Content, "content coding") {
		t.Errorf("%v: %s", a.Header, a.Content)
	}
}

// TestNamesOfProperties: a client that asks for the names of properties gets no values.
func TestNamesOfProperties(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics")
	site := caddytest.Site(t, "profile webdav", c)
	all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", `<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>`))
	if all["1.ics"].ETag != "" || c.count() != 0 {
		t.Errorf("got %v", all)
	}
}

// TestTagOfHead: clients learn tags from HEAD, too, even if nobody has read the resource yet.
func TestTagOfHead(t *testing.T) {
	t.Parallel()
	c := newCalendar("1.ics")
	site := caddytest.Site(t, "profile webdav\nlag 0s", c)
	head := caddytest.Send(t, "HEAD", site+"/cal/1.ics", "").Expect(t, 200).Tag(t)
	if get := caddytest.Send(t, "GET", site+"/cal/1.ics", "").Tag(t); head != get {
		t.Errorf("HEAD has %s, and GET %s", head, get)
	}
}
