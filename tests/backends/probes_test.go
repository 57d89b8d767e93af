package backends

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A lone writer whose backend limits reads is told to come later, and when. It is never
// told that somebody else has changed the document (RFC 6585, section 4; RFC 9110, section
// 15.5.13).
func TestRateLimit(t *testing.T) {
	t.Parallel()
	caddytest.RateLimited.OrSkip(t)
	address := caddytest.StartBackends(t, caddytest.RateLimited)[caddytest.RateLimited.Name]
	url := caddytest.OneNodeAt(t, caddytest.Guarded("", address)).First() + "/docs/plan"
	put := func(i int, tag string) caddytest.Answer {
		return caddytest.Send(t, "PUT", url, fmt.Sprintf(`{"version":%d}`, i), "If-Match", tag, "Content-Type", "application/json")
	}
	caddytest.Send(t, "PUT", url, `{"version":0}`, "Content-Type", "application/json").Expect(t, 200)
	tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
	saves := 0
	for ; ; saves++ {
		a := put(saves+1, tag)
		if a.StatusCode == 429 {
			if a.Header.Get("Retry-After") == "" || a.Header.Get("X-RateLimit-Remaining") != "0" || a.Header.Get("ETag") != "" {
				t.Errorf("the refusal has %v", a.Header)
			}
			break
		}
		if tag = a.Expect(t, 200).Header.Get("ETag"); tag == "" {
			t.Fatal("a save gave no tag") // the document is stored as it was sent
		}
	}
	if saves == 0 {
		t.Error("nothing was saved")
	}
	// Without the GETs, the limit is of no concern.
	caddytest.Send(t, "PUT", url, `{"version":9}`, "Content-Type", "application/json").Expect(t, 200)
}

// A lone client may save as fast as it likes, although Apache's tag is weak within a second
// of a change, and Apache then refuses that very tag.
func TestQuickSaves(t *testing.T) {
	t.Parallel()
	b := *caddytest.BackendNamed(t, "Apache httpd")
	b.OrSkip(t)
	address := caddytest.StartBackends(t, b)[b.Name]
	for _, options := range []string{"", "verify all", "verify never", "write_etag always"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			url := caddytest.OneNodeAt(t, caddytest.Guarded("etag body\n"+options, address)).First() + "/" + strings.ReplaceAll(options, " ", "-") + ".json"
			caddytest.Send(t, "PUT", url, "0", "If-None-Match", "*").Expect(t, 201)
			for i := range 5 {
				read := caddytest.Send(t, "GET", url, "").Expect(t, 200)
				if read.Content != fmt.Sprint(i) {
					t.Fatalf("stored %q", read.Content)
				}
				caddytest.Send(t, "PUT", url, fmt.Sprint(i+1), "If-Match", read.Tag(t)).Expect(t, 204)
				caddytest.Send(t, "PUT", url, "lost", "If-Match", read.Tag(t)).Expect(t, 412)
			}
		})
	}
}
