package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// gzipOn compresses whatever nginx answers.
const gzipOn = "gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 1;\n"

// TestNginxInFront: a cache in front of Caddy gives out tags that are no longer current, and no
// save with one of them gets through. What a client reads with no-cache, or on a condition, is
// current. It is so with gzip and without, where weak_tags lets clients save at all.
func TestNginxInFront(t *testing.T) {
	t.Parallel()
	directives := caddytest.Shown(t, "docs/backends.md", "$http_if_unmodified_since;\n").Text
	for _, gzip := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip ", gzip), func(t *testing.T) {
			t.Parallel()
			options, more := "", ""
			if gzip {
				options, more = "weak_tags accept", gzipOn
			}
			docs := legacydocs.New(legacydocs.Options{})
			origin := caddytest.Site(t, options, docs)
			proxy := caddytest.NginxCache(strings.TrimPrefix(origin, "http://"), directives+more)
			url := "http://" + proxy.Run(t) + "/docs/plan"
			read := func(fields ...string) caddytest.Answer {
				return caddytest.Send(t, "GET", url, "", append(fields, "Accept-Encoding", "gzip")...)
			}

			caddytest.Send(t, "PUT", url, strings.Repeat("first ", 100), "If-None-Match", "*").Expect(t, 201)
			first := read().Expect(t, 200).Tag(t)
			if strings.HasPrefix(first, "W/") != gzip {
				t.Fatalf("the tag is %s", first)
			}
			caddytest.Send(t, "PUT", url, strings.Repeat("second ", 100), "If-Match", first).Expect(t, 204)

			// The cache shows the past. It is of no use for a save, however often it is tried.
			if stale := read().Expect(t, 200).Tag(t); stale != first {
				t.Fatalf("the cache shows %s after %s: it isn't one", stale, first)
			}
			if won := savesWith(t, url, first); won != 0 {
				t.Errorf("%d saves with a stale tag got through", won)
			}

			// Conditions of reads reach Caddy, in spite of the cache.
			fresh := read("If-None-Match", first).Expect(t, 200).Tag(t)
			if fresh == first {
				t.Fatal("a conditional read got the past")
			}
			read("If-None-Match", fresh).Expect(t, 304)
			caddytest.Send(t, "GET", url, "", "If-Match", first).Expect(t, 412)
			if again := read("Cache-Control", "no-cache").Expect(t, 200).Tag(t); again != fresh {
				t.Errorf("no-cache got %s, and a condition %s", again, fresh)
			}

			if won := savesWith(t, url, fresh); won != 1 {
				t.Errorf("%d saves with the current tag got through", won)
			}
			if n := len(docs.Writes()); n != 3 {
				t.Errorf("the backend has got %d writes", n)
			}
		})
	}
}

// TestNginxBehind: a cache between Caddy and the backend goes on showing what somebody has changed
// behind it, with the tag of the past. No save with that tag gets through. It is so with gzip and
// without. The tags stay strong, because nginx is asked for uncompressed content.
func TestNginxBehind(t *testing.T) {
	t.Parallel()
	directives := caddytest.Shown(t, "docs/backends.md", "proxy_cache_bypass $http_cache_control;\n").Text
	for _, gzip := range []string{"", gzipOn} {
		t.Run(fmt.Sprint("gzip ", gzip != ""), func(t *testing.T) {
			t.Parallel()
			docs := legacydocs.New(legacydocs.Options{})
			service := caddytest.Serve(t, docs)
			proxy := caddytest.NginxCache(service, directives+gzip).Run(t)
			url := caddytest.OneNodeAt(t, caddytest.Guarded("", proxy)).First() + "/docs/plan"
			read := func(fields ...string) caddytest.Answer {
				return caddytest.Send(t, "GET", url, "", append(fields, "Accept-Encoding", "gzip")...).Expect(t, 200)
			}

			caddytest.Send(t, "PUT", url, "first", "If-None-Match", "*").Expect(t, 201)
			if first := read().Tag(t); strings.HasPrefix(first, "W/") {
				t.Fatalf("the tag is %s", first)
			}
			caddytest.Send(t, "PUT", "http://"+service+"/docs/plan", "changed behind the cache").Expect(t, 204)
			stale := read()
			if stale.Content != "first" {
				t.Fatalf("the cache shows %q: it isn't one", stale.Content)
			}
			if won := savesWith(t, url, stale.Tag(t)); won != 0 {
				t.Errorf("%d saves with a stale tag got through", won)
			}

			fresh := read("Cache-Control", "no-cache")
			if fresh.Content != "changed behind the cache" {
				t.Fatalf("no-cache got %q", fresh.Content)
			}
			if won := savesWith(t, url, fresh.Tag(t)); won != 1 {
				t.Errorf("%d saves with the current tag got through", won)
			}
			if n := len(docs.Writes()); n != 3 {
				t.Errorf("the backend has got %d writes", n)
			}
		})
	}
}

// savesWith lets eight clients save with one tag at the same time, and returns how many were
// told that they did.
func savesWith(t *testing.T, url, tag string) int64 {
	t.Helper()
	return caddytest.Winners(t, 8, url, func(i int) string { return fmt.Sprint("client ", i) }, 204, "If-Match", tag)
}
