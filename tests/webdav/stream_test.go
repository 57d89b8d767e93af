package webdav

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// numbered returns a calendar with so many events, which have dates.
func numbered(events int) *calendar {
	var names []string
	for i := range events {
		names = append(names, fmt.Sprintf("%03d.ics", i))
	}
	c := newCalendar(names...)
	c.date = func(string, bool) string { return "Sun, 06 Nov 1994 08:49:37 GMT" }
	return c
}

// TestMultistatusStreams: while the backend sends a long answer about members that are known,
// the client already gets its beginning.
func TestMultistatusStreams(t *testing.T) {
	t.Parallel()
	c := numbered(300)
	site := caddytest.Site(t, "profile webdav\nlag 0s", c)
	before := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
	seen := make(chan struct{})
	see := sync.OnceFunc(func() { close(seen) })
	defer see()
	c.mu.Lock()
	c.during = func(name string) {
		if name == "250.ics" {
			<-seen
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "PROPFIND", site+"/cal/", strings.NewReader(named))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content := bufio.NewReader(response.Body)
	beginning, err := content.ReadString('"')
	if err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(beginning, "/cal/050.ics") {
		more, err := content.ReadString('"')
		if err != nil {
			t.Fatal(err)
		}
		beginning += more
	}
	see()
	rest, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	all := described(t, caddytest.Answer{Response: response, Content: beginning + string(rest)})
	for name, p := range before {
		if all[name].ETag != p.ETag {
			t.Errorf("%s has the tag %s, want %s", name, all[name].ETag, p.ETag)
		}
	}
}

// TestMultistatusIsKept: an answer that doesn't fit into memory is complete before the backend,
// which handles one request at a time, is asked for a member.
func TestMultistatusIsKept(t *testing.T) {
	t.Parallel()
	site := caddytest.Site(t, "profile webdav\nlag 0s\nbuffer 1KiB", numbered(300))
	all := described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
	if len(all) != 301 {
		t.Errorf("%d members", len(all))
	}
	delete(all, "")
	for name, p := range all {
		if p.ETag == "" {
			t.Errorf("%s has no tag", name)
		}
	}
}

// TestMultistatusBreaksOff: an answer that breaks off at the backend isn't a whole one for the
// client, whether a part of it was sent or not.
func TestMultistatusBreaksOff(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"001.ics", "250.ics"} {
		c := numbered(300)
		site := caddytest.Site(t, "profile webdav\nlag 0s", c)
		described(t, caddytest.Send(t, "PROPFIND", site+"/cal/", named))
		c.mu.Lock()
		c.during = func(name string) {
			if name == at {
				panic(http.ErrAbortHandler)
			}
		}
		c.mu.Unlock()
		a, err := caddytest.Try(t.Context(), "PROPFIND", site+"/cal/", named)
		if err == nil && a.StatusCode == http.StatusMultiStatus {
			t.Errorf("at %s: %s with %d bytes", at, a.Status, len(a.Content))
		}
	}
}
