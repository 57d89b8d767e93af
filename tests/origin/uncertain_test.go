package origin

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A write that may have changed nothing hasn't certainly replaced the state that it was based
// on. While the origin still shows that state, nobody can tell whether it is the past: a
// write of it gets 503, and never a 412, which says that a condition was false. Where the
// origin always shows the present, it passes at once.
func TestNotCertainlyReplaced(t *testing.T) {
	for _, tt := range []struct {
		status  int
		settled bool
	}{
		{207, false}, {408, false}, {500, false}, {501, false}, {505, false}, {503, true}, {202, true},
	} {
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			for _, options := range []string{"lag 30s", "lag 0s", "lag 0s\nverify all", "lag 30s\nwrite_etag off"} {
				t.Run(fmt.Sprint(method, " ", tt.status, " ", caddytest.Title(options)), func(t *testing.T) {
					t.Parallel()
					fails := true
					url := caddytest.Site(t, options, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						switch {
						case r.Method == http.MethodGet:
							_, _ = w.Write([]byte("content"))
						case fails:
							if tt.settled {
								w.Header().Set("Preconditions-Settled", "?1")
							}
							w.WriteHeader(tt.status)
						default:
							w.WriteHeader(http.StatusNoContent)
						}
					})) + "/doc"
					tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
					caddytest.Send(t, method, url, "x", "If-Match", tag).Expect(t, tt.status)
					fails = false
					if again := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t); again != tag {
						t.Fatalf("the tag is %s, and was %s", again, tag)
					}
					want := http.StatusNoContent
					if options[:5] == "lag 3" {
						want = http.StatusServiceUnavailable
					}
					a := caddytest.Send(t, method, url, "x", "If-Match", tag).Expect(t, want)
					if want == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "" {
						t.Error("no Retry-After")
					}
				})
			}
		}
	}
}
