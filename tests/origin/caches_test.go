package origin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// realCache is a cache that people put between Caddy and a backend, in one of the
// ways to configure it.
type realCache struct {
	name string
	run  func(origin, directives string) caddytest.Backend
	// directives let it keep a response for a second or, if it obeys no-cache, a minute.
	// nginx counts in whole seconds, so its second may last for two.
	directives string
	manners    manners
}

// manners are what a cache does about a request with no-cache (RFC 9111, section
// 5.2.1.4).
type manners int

const (
	obeys  manners = iota // it asks the origin
	admits                // it answers all the same, and says so
	hides                 // it answers all the same, and says nothing
)

const (
	nginxObeys   = "proxy_cache_valid 200 404 1m;\nproxy_cache_bypass $http_cache_control;"
	nginxHides   = "proxy_cache_valid 200 404 1s;"
	nginxAdmits  = nginxHides + "\nadd_header X-Cache-Status $upstream_cache_status always;"
	apacheObeys  = "CacheDefaultExpire 60"
	apacheHides  = "CacheDefaultExpire 1\nCacheIgnoreCacheControl On" // Age is zero within the first second
	apacheAdmits = apacheHides + "\nCacheHeader On"
)

var realCaches = []realCache{
	{"nginx that obeys no-cache", caddytest.NginxCache, nginxObeys, obeys},
	{"nginx that admits its hits", caddytest.NginxCache, nginxAdmits, admits},
	{"nginx that hides its hits", caddytest.NginxCache, nginxHides, hides},
	{"Apache that obeys no-cache", caddytest.ApacheCache, apacheObeys, obeys},
	{"Apache that admits its hits", caddytest.ApacheCache, apacheAdmits, admits},
	{"Apache that hides its hits", caddytest.ApacheCache, apacheHides, hides},
}

// overCaches runs a test with each of the caches before a backend, with each of the
// options, on each store. The document exists if it has a content.
func overCaches(t *testing.T, options []string, content string, test func(t *testing.T, p place)) {
	t.Helper()
	atEveryPlace(t, func() (places []place) {
		for _, c := range realCaches {
			for _, o := range options {
				b := newReplicated(0)
				if content != "" {
					b.put("/doc", content)
				}
				places = append(places, place{name: strings.TrimSuffix(c.name+", "+o, ", "), options: "lease 3s\nlag 2500ms\n" + o, cache: c, backend: b})
			}
		}
		return places
	}, test)
}

// Of many writers with one tag, exactly one gets a 2xx, whatever a cache answers. If
// it admits its hits, that is as soon as it asks the origin again.
func TestCachesOneWinner(t *testing.T) {
	overCaches(t, []string{""}, "start", func(t *testing.T, p place) {
		b, n := p.backend, p.nodes
		tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
		winners := contest(t, n, tag, p.cache.manners == admits)
		if winners != 1 {
			t.Errorf("%d writers were told that they succeeded", winners)
		}
		if got := len(b.written("/doc")); got != 1 {
			t.Errorf("the backend has applied %d writes", got)
		}
		for _, to := range n { // nor does anybody win later
			if a := save(t, "PUT", to+"/doc", "late", tag, "start"); !refused(a) {
				t.Errorf("a spent tag got %d", a.StatusCode)
			}
		}
		b.expectNoneLost(t)
	})
}

// contest lets eight writers present one tag. If they insist, they come again as long
// as they get 503. It returns how many got a 2xx.
func contest(t *testing.T, n caddytest.Nodes, tag string, insist bool) int64 {
	t.Helper()
	var winners atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for deadline := time.Now().Add(time.Minute); ; {
				a, err := caddytest.Try(context.Background(), "PUT", n[i%len(n)]+"/doc", fmt.Sprint("writer ", i),
					"If-Match", tag, based, "start")
				switch {
				case err != nil:
					t.Error(err)
				case a.StatusCode == 204:
					winners.Add(1)
				case !refused(a):
					t.Errorf("got %d", a.StatusCode)
				case insist && a.StatusCode == 503 && time.Now().Before(deadline):
					politely()
					continue
				}
				return
			}
		})
	}
	all.Wait()
	return winners.Load()
}

// Editors who read, change and save behind a cache lose no update, and all of them
// get their changes through.
func TestCachesLoseNothing(t *testing.T) {
	options := []string{"", "verify never", "write_etag off"}
	overCaches(t, options, "start", func(t *testing.T, p place) {
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() { edit(t, p.nodes, fmt.Sprint("editor ", i), 2) })
		}
		all.Wait()
		if got := len(p.backend.written("/doc")); got != 4 && !t.Failed() {
			t.Errorf("the backend has applied %d writes", got)
		}
		p.backend.expectNoneLost(t)
	})
}

// politely waits a little before a refused request is sent again, for the sake of the
// machine.
func politely() { pass(rand.N(100 * time.Millisecond)) }

// pass waits for the given time.
func pass(d time.Duration) { <-time.After(d) }

// edit reads a document and saves a change to it until that has worked some times. It
// does what the refusals say: after 412 it reads again, after 503 it sends the same
// again. To read again would only fill the cache anew.
func edit(t *testing.T, n caddytest.Nodes, name string, times int) {
	deadline := time.Now().Add(time.Minute)
	var seen caddytest.Answer
	for done, again := 0, true; done < times; politely() {
		var err error
		if again {
			seen, err = caddytest.Try(context.Background(), "GET", n.Random()+"/doc", "")
			if err != nil || seen.StatusCode != 200 || seen.Header.Get("ETag") == "" {
				t.Errorf("%s can't read: %v %v", name, err, seen.Response)
				return
			}
		}
		a, err := caddytest.Try(context.Background(), "PUT", n.Random()+"/doc", fmt.Sprint(name, " ", done),
			"If-Match", seen.Header.Get("ETag"), based, seen.Content)
		switch again = err == nil && a.StatusCode != 503; {
		case err != nil:
			t.Error(err)
		case a.StatusCode == 204:
			done++
		case !refused(a) || time.Now().After(deadline):
			t.Errorf("%s got %d, after %d of %d writes", name, a.StatusCode, done, times)
			return
		}
	}
}

// What somebody has changed behind the handler's back is noticed although the cache
// doesn't know it, unless the cache hides its hits: then nobody can notice it.
func TestCachesHideNoForeignChange(t *testing.T) {
	overCaches(t, []string{""}, "start", func(t *testing.T, p place) {
		if p.cache.manners == hides {
			return
		}
		b, n := p.backend, p.nodes
		tag := caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t)
		b.put("/doc", "changed elsewhere")
		for _, to := range n {
			if a := save(t, "PUT", to+"/doc", "one", tag, "start"); !refused(a) {
				t.Errorf("got %d", a.StatusCode)
			}
		}
		b.expectNoneLost(t)
	})
}

// A cached 404 is the past, too: of two who create a document that others have looked
// for, the second is refused.
func TestCachesOneCreator(t *testing.T) {
	overCaches(t, []string{""}, "", func(t *testing.T, p place) {
		b, n := p.backend, p.nodes
		caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 404)
		caddytest.Eventually(t, "somebody may create the document", func() bool {
			a := caddytest.Send(t, "PUT", n.First()+"/doc", "one", "If-None-Match", "*")
			if a.StatusCode != 204 && !refused(a) {
				t.Fatalf("got %d", a.StatusCode)
			}
			return a.StatusCode == 204
		})
		if a := caddytest.Send(t, "PUT", n.Other()+"/doc", "two", "If-None-Match", "*"); !refused(a) {
			t.Errorf("the second creator got %d", a.StatusCode)
		}
		if got := b.written("/doc"); len(got) != 1 {
			t.Errorf("the backend has applied %v", got)
		}
	})
}

// The caches behave as the tests above take for granted, and with the directives that
// docs/backends.md shows, they obey.
func TestCachesAlone(t *testing.T) {
	for _, c := range append(slices.Clone(realCaches),
		realCache{"nginx as shown", caddytest.NginxCache, caddytest.Shown(t, "docs/backends.md", "add_header         X-Cache-Status").Text, obeys},
		realCache{"Apache as shown", caddytest.ApacheCache, "CacheDefaultExpire 60\n" + caddytest.Shown(t, "docs/backends.md", "CacheEnable").Text, obeys},
	) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newReplicated(0)
			b.put("/doc", "start")
			address := c.run(caddytest.Serve(t, b), c.directives).Run(t)
			caddytest.Send(t, "GET", "http://"+address+"/doc", "").Expect(t, 200)
			b.put("/doc", "changed elsewhere")
			if stored := caddytest.Send(t, "GET", "http://"+address+"/doc", "").Content; strings.HasSuffix(c.name, "as shown") && stored != "start" {
				t.Errorf("it isn't a cache: got %q", stored)
			}
			a := caddytest.Send(t, "GET", "http://"+address+"/doc", "", "Cache-Control", "no-cache").Expect(t, 200)
			hit := a.Content == "start"
			says := a.Header.Get("X-Cache-Status") == "HIT" || strings.HasPrefix(a.Header.Get("X-Cache"), "HIT")
			if hit == (c.manners == obeys) || hit && says != (c.manners == admits) {
				t.Errorf("got %q, %v", a.Content, a.Header)
			}
		})
	}
}
