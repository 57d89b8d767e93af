package multistatus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// rewritten rewrites one response, with what is set.
func rewritten(t *testing.T, response string, set func(*Response)) string {
	t.Helper()
	before, after := `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">`+"\n", "<D:sync-token>x</D:sync-token></D:multistatus>\n"
	var out bytes.Buffer
	err := Rewrite(&out, iotest.OneByteReader(strings.NewReader(before+response+after)), func(all []*Response) error {
		for _, r := range all {
			set(r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(out.String(), before)
	text, ok2 := strings.CutSuffix(text, after)
	if !ok || !ok2 {
		t.Fatalf("what is around the response has changed: %s", out.String())
	}
	return text
}

func TestSet(t *testing.T) {
	t.Parallel()
	const (
		tag    = `<getetag xmlns="DAV:">"new"</getetag>`
		absent = `<propstat xmlns="DAV:"><prop><getetag xmlns="DAV:"/></prop><status>HTTP/1.1 404 Not Found</status></propstat>`
	)
	ok := func(props string) string {
		return "<D:propstat><D:prop>" + props + "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
	}
	not := func(props string) string {
		return "<D:propstat><D:prop>" + props + "</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"
	}
	for _, tt := range []struct {
		name, text         string
		named              bool
		propstats, becomes string
	}{
		{"replaced", `"new"`, true, ok("<x/><D:getetag>W/\"1\"</D:getetag><y/>"), ok("<x/>" + tag + "<y/>")},
		{"the same", `"new"`, true, ok(`<D:getetag>"new"</D:getetag>`), ok(`<D:getetag>"new"</D:getetag>`)},
		{"added to what is there", `"new"`, true, ok("<x/>") + not("<D:getetag/><y/>"), ok("<x/>"+tag) + not("<y/>")},
		{"taken off what isn't there", `"new"`, true, ok("<x/>") + not("<D:getetag/>"), ok("<x/>" + tag)},
		{"nothing else is there", `"new"`, true, not("<D:getetag/>"), `<propstat xmlns="DAV:"><prop>` + tag + `</prop><status>HTTP/1.1 200 OK</status></propstat>`},
		{"the properties are a tag of their own", `"new"`, true, ok("<x/>") + "<D:propstat><D:prop/><D:status>HTTP/1.1 404 No</D:status></D:propstat>", ok("<x/>"+tag) + "<D:propstat><D:prop/><D:status>HTTP/1.1 404 No</D:status></D:propstat>"},
		{"given twice", `"new"`, true, ok("<D:getetag>a</D:getetag><D:getetag>b</D:getetag>"), ok(tag)},
		{"escaped", `"<&>"`, true, ok("<D:getetag/>"), ok(`<getetag xmlns="DAV:">"&lt;&amp;&gt;"</getetag>`)},
		{"left out", "", false, ok("<x/><D:getetag>a</D:getetag>"), ok("<x/>")},
		{"left out, but asked for", "", true, ok("<x/><D:getetag>a</D:getetag>"), ok("<x/>") + absent},
		{"left out, and nothing else was there", "", true, ok("<D:getetag>a</D:getetag>"), absent},
		{"missing before", "", true, ok("<x/>") + not("<D:getetag/>"), ok("<x/>") + not("<D:getetag/>")},
		{"not mentioned", "", true, ok("<x/>"), ok("<x/>") + absent},
		{"not asked for", "", false, ok("<x/>"), ok("<x/>")},
		{"a property of another namespace", `"new"`, true, ok(`<getetag xmlns="urn:x">a</getetag>`), ok(`<getetag xmlns="urn:x">a</getetag>` + tag)},
		{"inside another property", `"new"`, true, ok(`<x><D:getetag>a</D:getetag></x>`), ok(`<x><D:getetag>a</D:getetag></x>` + tag)},
		{"a status alone", `"new"`, true, "<D:status>HTTP/1.1 404 Not Found</D:status>", "<D:status>HTTP/1.1 404 Not Found</D:status>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			around := "<D:response><D:href>/a&amp;b</D:href>%s<!-- kept --></D:response>"
			got := rewritten(t, fmt.Sprintf(around, tt.propstats), func(r *Response) {
				if r.Href != "/a&b" {
					t.Errorf("href %q", r.Href)
				}
				r.Set(ETag, tt.text, tt.named)
			})
			if want := fmt.Sprintf(around, tt.becomes); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestWhatAResponseSays(t *testing.T) {
	t.Parallel()
	const response = `<D:response><D:href> /cal/1.ics </D:href><D:propstat><D:prop>
		<D:getetag>"1"</D:getetag><D:getcontentlength>7</D:getcontentlength><D:resourcetype><D:collection/></D:resourcetype>
		<c:calendar-data xmlns:c="urn:ietf:params:xml:ns:caldav"><![CDATA[BEGIN]]>:&lt;</c:calendar-data>
		</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
		<D:propstat><D:prop><D:getlastmodified/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>`
	rewritten(t, response, func(r *Response) {
		if r.Href != "/cal/1.ics" || r.Text(ETag) != `"1"` || r.Text(LastModified) != "" || !r.Names(LastModified) ||
			r.Length != "7" || !r.Collection || r.Data != "BEGIN:<" || !r.HasProperties() {
			t.Errorf("%+v", r)
		}
	})
	rewritten(t, "<D:response><D:href>/a</D:href><D:href>/b</D:href><D:status>HTTP/1.1 424 x</D:status></D:response>", func(r *Response) {
		if r.Href != "" || r.HasProperties() {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhatIsNoMultistatus(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"", "text", "<html/>", `<D:multistatus xmlns:D="DAV:"><D:response>`, `<D:multistatus xmlns:D="DAV:"/><x/>`,
		`<?xml version="1.0" encoding="UTF-16"?><D:multistatus xmlns:D="DAV:"/>`, `<D:multistatus xmlns:D="DAV:"></x>`,
	} {
		err := Rewrite(io.Discard, strings.NewReader(content), func([]*Response) error { return nil })
		if err == nil {
			t.Errorf("%s was accepted", content)
		}
	}
}

// TestRewriteHoldsLittle: a long answer is written while it is read, and one response that is
// too large is an error.
func TestRewriteHoldsLittle(t *testing.T) {
	t.Parallel()
	var content bytes.Buffer
	content.WriteString(`<multistatus xmlns="DAV:">`)
	for i := range 10000 {
		fmt.Fprintf(&content, "<response><href>/%d</href></response>\n", i)
	}
	content.WriteString("</multistatus>")
	var out bytes.Buffer
	calls, seen := 0, 0
	err := Rewrite(&out, bytes.NewReader(content.Bytes()), func(all []*Response) error {
		if calls++; len(all) > batchResponses {
			t.Errorf("%d at once", len(all))
		}
		seen += len(all)
		return nil
	})
	if err != nil || seen != 10000 || calls < 100 || !bytes.Equal(out.Bytes(), content.Bytes()) {
		t.Errorf("%d responses in %d calls: %v", seen, calls, err)
	}
}

// TestLimits: clients can store properties of any form, and a few of them must not fill the
// memory, or the stack, of everybody's server.
func TestLimits(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20 // in place of maxElement
	const head = `<multistatus xmlns="DAV:"><response><propstat><prop>`
	for _, tt := range []struct {
		name, before, repeated string
		want                   error
		least                  int64 // how much may be read
	}{
		{"a long text", head + "<getetag>", " ", ErrTooLarge, limit},
		{"many elements", head, "<a/>", ErrTooLarge, limit},
		{"much between responses", `<multistatus xmlns="DAV:">`, "<a/>", ErrTooLarge, limit},
		{"many attributes", head + "<a ", `b="" `, ErrTooLarge, maxTag},
		{"many namespaces", head + "<a ", `xmlns:b="x" `, ErrTooLarge, maxTag},
		{"a long name", head + "<", "a", ErrTooLarge, maxTag},
		{"elements inside each other", head, "<a>", ErrTooDeep, 4 << 10},
		{"elements inside a text", head + "<getetag>", "<a>", ErrTooDeep, 4 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			content := endless{tt.repeated, new(int64)}
			c := &copier{scanner: newScanner(io.MultiReader(strings.NewReader(tt.before), content)), w: io.Discard}
			c.kept.limit = limit
			err := c.copy()
			if !errors.Is(err, tt.want) || *content.read > 2*tt.least {
				t.Errorf("%v after %d bytes, want %v", err, *content.read, tt.want)
			}
		})
	}
}

// endless repeats a text without an end.
type endless struct {
	text string
	read *int64
}

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[(*e.read+int64(i))%int64(len(e.text))]
	}
	*e.read += int64(len(p))
	return len(p), nil
}

func TestReadAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, content string
		all, names, tag, date bool
	}{
		{"nothing", "PROPFIND", " ", true, false, false, false},
		{"nothing, in a REPORT", "REPORT", "", false, false, false, false},
		{"allprop", "PROPFIND", `<propfind xmlns="DAV:"><allprop/><include><getetag/></include></propfind>`, true, false, true, false},
		{"propname", "PROPFIND", `<propfind xmlns="DAV:"><propname/></propfind>`, false, true, false, false},
		{"prop", "PROPFIND", `<?xml version="1.0"?><a:propfind xmlns:a="DAV:"><a:prop><a:getetag/><a:getlastmodified/></a:prop></a:propfind>`, false, false, true, true},
		{"others", "PROPFIND", `<propfind xmlns="DAV:"><prop><x/><getetag xmlns="urn:x"/></prop></propfind>`, false, false, false, false},
		{"multiget, cut off", "REPORT", `<c:calendar-multiget xmlns="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><prop><getetag/><c:calendar-data/></prop><href>/a`, false, false, true, false},
		{"sync-collection", "REPORT", `<sync-collection xmlns="DAV:"><sync-token/><prop><getetag/></prop></sync-collection>`, false, false, true, false},
		{"no XML", "PROPFIND", `x`, false, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := ReadAsked(tt.method, []byte(tt.content))
			if a.All != tt.all || a.Names != tt.names || a.Wants(ETag) != tt.tag || a.Wants(LastModified) != tt.date {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestCharsets: what is UTF-8 by any name is changed, and nothing else is.
func TestCharsets(t *testing.T) {
	t.Parallel()
	for charset, accepted := range map[string]bool{"utf-8": true, "UTF8": true, "us-ascii": true, "iso-8859-1": false, "utf-16": false} {
		content := `<?xml version="1.0" encoding="` + charset + `"?><multistatus xmlns="DAV:"><response><href>/a</href></response></multistatus>`
		var out bytes.Buffer
		err := Rewrite(&out, strings.NewReader(content), func([]*Response) error { return nil })
		if (err == nil) != accepted || accepted && out.String() != content {
			t.Errorf("%s: %v: %s", charset, err, out.String())
		}
	}
}

// FuzzRewrite checks that what isn't changed stays as it is, byte for byte, and that what is set
// is there afterwards.
func FuzzRewrite(f *testing.F) {
	f.Add(`<D:multistatus xmlns:D="DAV:"><D:response><D:href>/a</D:href><D:propstat><D:prop><D:getetag>x</D:getetag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>`, `"1"`)
	f.Add(`<multistatus xmlns="DAV:"><response><propstat><prop/><status>HTTP/1.1 404 </status></propstat><propstat><prop><getetag/></prop></propstat></response></multistatus>`, "")
	f.Fuzz(func(t *testing.T, content, text string) {
		var same, changed bytes.Buffer
		err := Rewrite(&same, strings.NewReader(content), func([]*Response) error { return nil })
		if err != nil {
			return
		}
		if same.String() != content {
			t.Fatalf("%q becomes %q", content, same.String())
		}
		text = strings.ToValidUTF8(strings.Map(func(c rune) rune {
			if c < '!' || c > '~' {
				return -1
			}
			return c
		}, text), "")
		set := func(all []*Response) error {
			for _, r := range all {
				r.Set(ETag, text, true)
			}
			return nil
		}
		if err := Rewrite(&changed, strings.NewReader(content), set); err != nil {
			t.Fatal(err)
		}
		err = Rewrite(io.Discard, &changed, func(all []*Response) error {
			for _, r := range all {
				if r.HasProperties() && r.Text(ETag) != text {
					return fmt.Errorf("%q isn't %q", r.Text(ETag), text)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", content, err)
		}
	})
}
