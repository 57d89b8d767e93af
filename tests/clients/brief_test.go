package clients

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// What nothing is known of is kept for a minute, and everything else for the retention: what has
// a tag, what will have one when its response has ended, and the epochs of groups.
func TestKeptAsLongAsItIsWorth(t *testing.T) {
	server := caddytest.UsedRedis(t)
	c := server.Client()
	arrived, end := make(chan struct{}), make(chan struct{})
	url := caddytest.Site(t, "store redis redis://"+server.Addr+"\nretention 7d\nlag 0s\nbuffer 1000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			w.Header().Set("Cache-Groups", `"group"`)
			_, _ = io.WriteString(w, "page")
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
			w.(http.Flusher).Flush()
			close(arrived)
			<-end
		default:
			http.NotFound(w, r)
		}
	}))
	kept := func(path string) time.Duration {
		t.Helper()
		keys := c.Keys(t.Context(), "*"+path).Val()
		if len(keys) != 1 {
			t.Fatalf("%s: %q", path, keys)
		}
		return c.PTTL(t.Context(), keys[0]).Val()
	}
	for range 2 {
		caddytest.Send(t, "GET", url+"/page", "").Expect(t, 200)
		caddytest.Send(t, "GET", url+"/missing", "").Expect(t, 404)
		caddytest.Send(t, "PUT", url+"/refused", "x").Expect(t, 404)
	}
	resp := open(t, caddytest.Client, url+"/large")
	<-arrived
	for path, long := range map[string]bool{
		"/page": true, "group*": true, "/large": true, "/missing": false, "/refused": false,
	} {
		if left := kept(path); long != (left > time.Hour) || left <= 0 || !long && left > time.Minute {
			t.Errorf("%s is kept for %s", path, left)
		}
	}
	close(end)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
}
