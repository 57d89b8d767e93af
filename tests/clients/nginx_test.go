package clients

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// nginxInFront returns the directives that the documentation shows for an nginx in front of
// Caddy.
func nginxInFront(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n## nginx in front of Caddy\n\n```text\n(.*?)```\n").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/backends.md shows none")
	}
	return string(block[1])
}

// TestNginxInFront: a cache in front of Caddy gives out tags that are no longer current, and no
// save with one of them gets through. What a client reads with no-cache, or on a condition, is
// current. It is so with gzip and without, where weak_tags lets clients save at all.
func TestNginxInFront(t *testing.T) {
	t.Parallel()
	directives := nginxInFront(t)
	for _, gzip := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip ", gzip), func(t *testing.T) {
			t.Parallel()
			options, more := "", ""
			if gzip {
				options, more = "weak_tags accept", "gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 1;\n"
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

// savesWith lets eight clients save with one tag at the same time, and returns how many were
// told that they did.
func savesWith(t *testing.T, url, tag string) int64 {
	t.Helper()
	return caddytest.Winners(t, 8, url, func(i int) string { return fmt.Sprint("client ", i) }, 204, "If-Match", tag)
}
