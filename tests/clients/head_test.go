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

// links are one-time links: a GET uses a link up, and a HEAD doesn't.
func links() *caddytest.Witness {
	var mu sync.Mutex
	used := make(map[string]bool)
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		link := r.URL.RequestURI()
		if used[link] {
			w.WriteHeader(http.StatusGone)
			return
		}
		if r.Method == "GET" {
			used[link] = true
			_, _ = io.WriteString(w, `{"welcome": true}`)
		}
	}}
}

// TestHeadUsesNothingUp: a HEAD never becomes a GET of what nobody has read, whatever its
// conditions, and whatever the sources of tags (RFC 9110, section 9.3.2). A query makes a
// different representation, although the resource is the same.
func TestHeadUsesNothingUp(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{
			"", "etag body", "etag upstream", "etag header X-Version", "etag json /welcome", "etag modified\netag body", "etag version",
			"verify never", "verify all", "items \"\" /in/{id}\netag body",
		} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				b := links()
				nodes := deploy(t, options, b)
				caddytest.Send(t, "GET", nodes.Random()+"/in?t=0", "").Expect(t, 200)
				for i, fields := range [][]string{
					nil,
					{"If-None-Match", `"x"`},
					{"If-None-Match", "*"},
					{"If-Match", `"x"`},
					{"If-Match", "*"},
					{"If-Modified-Since", caddytest.LegacyDate},
					{"If-Unmodified-Since", caddytest.LegacyDate},
					{"Range", "bytes=0-1", "If-Range", `"x"`},
				} {
					link := fmt.Sprintf("/in?t=%d", i+1)
					caddytest.Send(t, "HEAD", nodes.Random()+link, "", fields...)
					if asked := b.Asks(func() { caddytest.Send(t, "GET", nodes.Random()+link, "").Expect(t, 200) }); asked != 1 {
						t.Errorf("%v: the backend heard %d requests", fields, asked)
					}
				}
			})
		}
	})
}

// TestHeadUndecided: a condition that only a GET could decide, of what nobody has read, is
// no reason for a 412 or a 304. The response has no tag then.
func TestHeadUndecided(t *testing.T) {
	t.Parallel()
	base := caddytest.Site(t, "", caddytest.Page("content"))
	for _, tt := range []struct {
		fields []string
		status int
	}{
		{[]string{"If-Match", `"x"`}, 200},
		{[]string{"If-None-Match", `"x"`}, 200},
		{[]string{"If-Unmodified-Since", caddytest.LegacyDate}, 200},
		{[]string{"If-Match", "*"}, 200},
		{[]string{"If-None-Match", "*"}, 304}, // it exists
		{[]string{"If-Match", ""}, 412},       // false in every state
		{[]string{"If-Match", `W/"x"`}, 412},
		{[]string{"If-Match", "junk"}, 412},
	} {
		a := caddytest.Send(t, "HEAD", base+"/page", "", tt.fields...).Expect(t, tt.status)
		if got := a.Header.Get("ETag"); got != "" {
			t.Errorf("%v: ETag %s", tt.fields, got)
		}
	}
}

// TestHeadShowsWhatIsKnown: a HEAD has the tag that somebody has read or written last, and
// a condition on it is decided by what the origin shows now, not by what is stored.
func TestHeadShowsWhatIsKnown(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"", "etag json /v\netag body", "verify never", "write_etag always"} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				var mu sync.Mutex
				content := `{"v": 1}`
				change := func(to string) {
					mu.Lock()
					defer mu.Unlock()
					content = to
				}
				b := &caddytest.Witness{}
				b.Answer = func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "PUT" {
						change(b.Last(t, "PUT").Content)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, content)
				}
				nodes := deploy(t, options, b)
				head := func(fields ...string) caddytest.Answer {
					return caddytest.Send(t, "HEAD", nodes.Random()+"/a", "", fields...)
				}
				tag := caddytest.Send(t, "GET", nodes.Random()+"/a", "").Tag(t)
				if asked := b.Asks(func() {
					if got := head().Expect(t, 200).Tag(t); got != tag {
						t.Errorf("HEAD has %s, GET has %s", got, tag)
					}
				}); asked != 0 {
					t.Errorf("the backend heard %d requests", asked)
				}

				// davfs2 writes, and asks for the new tag with a HEAD.
				caddytest.Send(t, "PUT", nodes.Random()+"/a", `{"v": 2}`, "If-Match", tag).ExpectSuccess(t)
				written := head().Expect(t, 200).Tag(t)
				if written == tag {
					t.Error("HEAD has the tag of what was replaced")
				}
				caddytest.Send(t, "PUT", nodes.Random()+"/a", `{"v": 3}`, "If-Match", written).ExpectSuccess(t)

				// Somebody writes past the handler: the label is out of date, and misleads
				// neither a condition nor a write.
				stale := caddytest.Send(t, "GET", nodes.Random()+"/a", "").Tag(t)
				change(`{"v": 4}`)
				head("If-None-Match", stale).Expect(t, 200)
				change(`{"v": 5}`)
				label := head().Expect(t, 200).Tag(t)
				change(`{"v": 6}`)
				head("If-Match", label).Expect(t, 412)
				if !strings.Contains(options, "never") {
					change(`{"v": 7}`)
					caddytest.Send(t, "PUT", nodes.Random()+"/a", `{"v": 8}`, "If-Match", label).Expect(t, 412)
				}
			})
		}
	})
}

// TestHeadLabelAgainstDate: a date that differs from the stored one shows that the stored
// tag is out of date.
func TestHeadLabelAgainstDate(t *testing.T) {
	t.Parallel()
	date := caddytest.LegacyDate
	base := caddytest.Site(t, "etag body", &caddytest.Witness{Answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", date)
		_, _ = io.WriteString(w, "content")
	}})
	tag := caddytest.Send(t, "GET", base+"/a", "").Tag(t)
	if got := caddytest.Send(t, "HEAD", base+"/a", "").Tag(t); got != tag {
		t.Errorf("HEAD has %s, GET has %s", got, tag)
	}
	date = "Sun, 06 Nov 1994 08:49:38 GMT"
	if got := caddytest.Send(t, "HEAD", base+"/a", "").Header.Get("ETag"); got != "" {
		t.Errorf("HEAD has %s, which belongs to a different date", got)
	}
}
