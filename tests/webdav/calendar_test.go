package webdav

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// untagged is a server in front of Radicale that takes off what Radicale knows of tags and
// conditions.
type untagged struct {
	proxy  *httputil.ReverseProxy
	direct *url.URL
	after  atomic.Pointer[func()] // called once, when the tags were sent
}

var getetag = regexp.MustCompile(`<getetag>[^<]*</getetag>|<getetag */>`)

func newUntagged(address string) *untagged {
	u := &untagged{direct: &url.URL{Scheme: "http", Host: address}}
	u.proxy = httputil.NewSingleHostReverseProxy(u.direct)
	u.proxy.ModifyResponse = func(r *http.Response) error {
		r.Header.Del("ETag")
		if r.StatusCode != http.StatusMultiStatus {
			return nil
		}
		content, err := io.ReadAll(r.Body)
		text := getetag.ReplaceAllString(string(content), "")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return err
	}
	return u
}

func (u *untagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"If-Match", "If-None-Match", "Accept-Encoding"} {
		r.Header.Del(name)
	}
	u.proxy.ServeHTTP(w, r)
	if f := u.after.Load(); f != nil && r.Method == "PROPFIND" && u.after.CompareAndSwap(f, nil) {
		(*f)()
	}
}

// event returns an event as a file.
func event(uid, summary string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//EN\r\nBEGIN:VEVENT\r\nUID:" + uid + "\r\nDTSTAMP:20260101T000000Z\r\n" +
		"DTSTART:20260101T000000Z\r\nSUMMARY:" + summary + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
}

// device has a copy of a calendar, which vdirsyncer synchronizes.
type device struct {
	dir, config string
}

func newDevice(t *testing.T, calendar string) *device {
	t.Helper()
	dir := t.TempDir()
	d := &device{filepath.Join(dir, "events"), filepath.Join(dir, "config")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[general]\nstatus_path = %q\n[pair work]\na = \"local\"\nb = \"remote\"\ncollections = null\n"+
		"[storage local]\ntype = \"filesystem\"\npath = %q\nfileext = \".ics\"\n"+
		"[storage remote]\ntype = \"caldav\"\nurl = %q\nusername = \"ann\"\npassword = \"x\"\n", filepath.Join(dir, "status"), d.dir, calendar)
	if err := os.WriteFile(d.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := d.run(t, "discover"); err != nil {
		t.Fatal(err, output)
	}
	return d
}

func (d *device) run(t *testing.T, command string) (output string, err error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "vdirsyncer", "-c", d.config, command).CombinedOutput()
	return string(out), err
}

// sync synchronizes the copy.
func (d *device) sync(t *testing.T) {
	t.Helper()
	if output, err := d.run(t, "sync"); err != nil {
		t.Fatal(err, output)
	}
}

// save changes an event and synchronizes it. The server changes what it is sent, so the answer to
// the PUT has no tag, and the device reads the event once more.
func (d *device) save(t *testing.T, uid, summary string) {
	t.Helper()
	d.write(t, uid, summary)
	d.sync(t)
	d.sync(t)
}

func (d *device) write(t *testing.T, uid, summary string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, uid+".ics"), []byte(event(uid, summary)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *device) expect(t *testing.T, uid, summary string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(d.dir, uid+".ics"))
	if err != nil || !strings.Contains(string(content), "SUMMARY:"+summary) {
		t.Errorf("the event is %s (%v), want %s", content, err, summary)
	}
}

// ann is the Authorization of a user of Radicale, which needs no password.
const ann = "Basic YW5uOng="

// startCalendar starts Radicale without tags, and the handler in front of it.
func startCalendar(t *testing.T) (server *untagged, calendar, direct string) {
	t.Helper()
	caddytest.Needs(t, "vdirsyncer")
	caddytest.Radicale.OrSkip(t)
	server = newUntagged(caddytest.StartBackends(t, caddytest.Radicale)[caddytest.Radicale.Name])
	site := caddytest.Site(t, "profile webdav\nlag 0s", server)
	direct = server.direct.String() + "/ann/work/"
	caddytest.Send(t, "MKCALENDAR", direct, "", "Authorization", ann).Expect(t, 201)
	return server, site + "/ann/work/", direct
}

// TestCalendarWithoutTags: vdirsyncer needs the tags of events. Behind the handler, it
// synchronizes two devices with a server that has none, and sees a conflict as one.
func TestCalendarWithoutTags(t *testing.T) {
	t.Parallel()
	_, calendar, _ := startCalendar(t)
	mine, theirs := newDevice(t, calendar), newDevice(t, calendar)
	mine.save(t, "one", "first")
	theirs.sync(t)
	theirs.expect(t, "one", "first")

	theirs.save(t, "one", "second")
	mine.sync(t)
	mine.expect(t, "one", "second")

	theirs.save(t, "one", "theirs")
	mine.write(t, "one", "mine")
	if output, err := mine.run(t, "sync"); err == nil || !strings.Contains(output, "onflict") {
		t.Errorf("no conflict (%v): %s", err, output)
	}
	mine.expect(t, "one", "mine")
	theirs.sync(t)
	theirs.expect(t, "one", "theirs")

	if err := os.Remove(filepath.Join(theirs.dir, "one.ics")); err != nil {
		t.Fatal(err)
	}
	theirs.save(t, "two", "another")
	third := newDevice(t, calendar)
	third.sync(t)
	third.expect(t, "two", "another")
	if _, err := os.Stat(filepath.Join(third.dir, "one.ics")); err == nil {
		t.Error("a deleted event is still there")
	}
}

// TestCalendarChangesMeanwhile: an event that changes after a device has looked is not
// overwritten.
func TestCalendarChangesMeanwhile(t *testing.T) {
	t.Parallel()
	server, calendar, direct := startCalendar(t)
	mine := newDevice(t, calendar)
	mine.save(t, "one", "first")
	mine.write(t, "one", "mine")
	change := func() {
		caddytest.Send(t, "PUT", direct+"one.ics", event("one", "theirs"), "Authorization", ann).ExpectSuccess(t)
	}
	server.after.Store(&change)
	if output, err := mine.run(t, "sync"); err == nil {
		t.Errorf("the change was overwritten: %s", output)
	}
	if got := caddytest.Send(t, "GET", direct+"one.ics", "", "Authorization", ann).Content; !strings.Contains(got, "theirs") {
		t.Errorf("the server has %s", got)
	}
}

// TestTSDAV: a client made with tsdav creates, saves and deletes events and contacts on a server
// that has no tags. It hears of each conflict, and each tag that it reads is that of a GET.
func TestTSDAV(t *testing.T) {
	t.Parallel()
	caddytest.Radicale.OrSkip(t)
	server := newUntagged(caddytest.StartBackends(t, caddytest.Radicale)[caddytest.Radicale.Name])
	site := caddytest.Site(t, "profile webdav\nlag 0s", server)
	const addresses = `<D:mkcol xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><D:set><D:prop>` +
		`<D:resourcetype><D:collection/><C:addressbook/></D:resourcetype></D:prop></D:set></D:mkcol>`
	caddytest.Send(t, "MKCALENDAR", site+"/ann/calendar/", "", "Authorization", ann).Expect(t, 201)
	caddytest.Send(t, "MKCOL", site+"/ann/addresses/", addresses, "Authorization", ann).Expect(t, 201)
	for _, kind := range []string{"calendar", "addresses"} {
		var got struct {
			Statuses map[string]int
			Tags     []bool
			Content  string
		}
		if err := json.Unmarshal(caddytest.TSDAV(t, kind, site+"/ann/"+kind+"/", ann), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"create": 201, "create again": 412, "save": 201, "save again": 412, "delete": 412, "delete again": 200}
		if !maps.Equal(got.Statuses, want) || !slices.Equal(got.Tags, []bool{true, true}) || !strings.Contains(got.Content, "second") {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}
