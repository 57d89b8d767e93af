package origin

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// dated is a backend with a clock of its own. A cache in front of it, which looks at no
// request field, repeats the first answer to a GET for as long as it is stubborn.
type dated struct {
	offset time.Duration // of its clock

	mu       sync.Mutex
	stubborn bool
	content  string
	cached   *cachedAnswer
}

type cachedAnswer struct{ date, content string }

func (d *dated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := cachedAnswer{time.Now().Add(d.offset).UTC().Format(http.TimeFormat), d.content}
	if r.Method != http.MethodGet {
		d.content = string(sent)
		w.Header().Set("Date", now.date)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if d.cached == nil || !d.stubborn {
		d.cached = &now
	}
	w.Header().Set("Date", d.cached.date)
	_, _ = io.WriteString(w, d.cached.content)
}

// A cache that ignores no-cache and shows itself by nothing but an old Date is noticed, by
// the clock that answers to writes have shown: what it says is no proof of anything. The
// origin's own clock may be wrong by any amount.
func TestOldDate(t *testing.T) {
	for _, offset := range []time.Duration{0, -time.Hour, time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			t.Parallel()
			b := &dated{offset: offset, content: "one"}
			url := caddytest.OneNode(t, "lag 1m\nwrite_etag off", b).First() + "/doc"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			caddytest.Send(t, "PUT", url, "two", "If-Match", tag).Expect(t, 204)
			tag = caddytest.Send(t, "GET", url, "").Tag(t)
			caddytest.Send(t, "PUT", url, "three", "If-Match", tag).Expect(t, 204) // the clock alone proves nothing

			tag = caddytest.Send(t, "GET", url, "").Tag(t)
			b.mu.Lock()
			b.stubborn, b.content = true, "by somebody else"
			old := time.Now().Add(offset - time.Minute).UTC().Format(http.TimeFormat)
			b.cached.date = old // it has had this answer for a while
			b.mu.Unlock()
			a := caddytest.Send(t, "PUT", url, "four", "If-Match", tag).Expect(t, 503)
			if a.Header.Get("Retry-After") == "" || b.content != "by somebody else" {
				t.Errorf("%v, stored %q", a.Header, b.content)
			}

			b.mu.Lock()
			b.stubborn = false
			b.mu.Unlock()
			caddytest.Send(t, "PUT", url, "four", "If-Match", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", url, "four", "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).Expect(t, 204)
		})
	}
}
