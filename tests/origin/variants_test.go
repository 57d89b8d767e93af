package origin

import (
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A write through one representation replaces them all. Their tags are dead for as long
// as the origin may show the past, for whatever a write accepts.
func TestSpentTagsOfOtherVariants(t *testing.T) {
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, options := range []string{"", "verify all", "verify never", "verify 10s", "write_etag off", "write_etag always"} {
			t.Run(caddytest.Title(options), func(t *testing.T) {
				t.Parallel()
				b := newReplicated(lag)
				b.put("/doc", "start")
				n := deploy(t, lease+options, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Vary", "Accept-Language")
					w.Header().Set("Content-Language", "x-"+r.Header.Get("Accept-Language"))
					b.ServeHTTP(w, r)
				}))
				read := func(node, language string) string {
					return caddytest.Send(t, "GET", node+"/doc", "", "Accept-Language", language).Expect(t, 200).Tag(t)
				}
				german, english := read(n.First(), "de"), read(n.First(), "en")
				caddytest.Send(t, "PUT", n.Other()+"/doc", "one", "If-Match", german, based, "start").Expect(t, 204)
				for _, node := range n {
					for _, tag := range []string{german, english} {
						for _, language := range []string{"de", "en", "fr"} {
							if a := caddytest.Send(t, "PUT", node+"/doc", "two", "If-Match", tag, "Accept-Language", language, based, "start"); !refused(a) {
								t.Errorf("a spent tag got %d", a.StatusCode)
							}
						}
					}
					read(node, "en") // shows the past
				}
				b.expectNoneLost(t)
			})
		}
	})
}
