package proxyhooks

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestFromCache: the header sections of real caches. Those with a hit are from a cache;
// those of a miss, or of a response that the cache has just revalidated, are not.
func TestFromCache(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields string // one a line
		want   bool
	}{
		{"an origin", "Date: Sun, 06 Nov 1994 08:49:37 GMT\nCache-Control: max-age=60\nETag: \"x\"", false},
		{"nothing", "", false},

		{"Age (RFC 9111, 5.1)", "Age: 1", true},
		{"Age zero", "Age: 0", false},
		{"Age of many zeros", "Age: 000", false},
		{"Age too large for any integer", "Age: 99999999999999999999999999", true},
		{"Age below zero", "Age: -1", false},
		{"Age with a fraction", "Age: 1.5", false},
		{"Age that is no number", "Age: old", false},
		{"Age empty", "Age:", false},
		{"Age twice", "Age: 0\nAge: 7", true},
		{"Age as a list", "Age: 0, 7", true},

		{"Cache-Status: hit (RFC 9211, 2.1)", "Cache-Status: ExampleCache; hit", true},
		{"Cache-Status: hit with details", `Cache-Status: ExampleCache; hit; ttl=376; key="/page"`, true},
		{"Cache-Status: stale hit", "Cache-Status: ExampleCache; hit; ttl=-412", true},
		{"Cache-Status: miss", "Cache-Status: ExampleCache; fwd=uri-miss; stored; ttl=60", false},
		{"Cache-Status: revalidated", "Cache-Status: ExampleCache; fwd=stale; fwd-status=304", false},
		{"Cache-Status: bypass", "Cache-Status: ExampleCache; fwd=request", false},
		{"Cache-Status: not a hit", "Cache-Status: ExampleCache; hit=?0", false},
		{"Cache-Status: collapsed (2.6)", "Cache-Status: ExampleCache; fwd=uri-miss; collapsed", true},
		{"Cache-Status: not collapsed", "Cache-Status: ExampleCache; fwd=uri-miss; collapsed=?0", false},
		{"Cache-Status: the nearest hit", `Cache-Status: OriginCache; fwd=uri-miss, "CDN Company Here"; hit; ttl=545`, true},
		{"Cache-Status: the farthest hit", `Cache-Status: OriginCache; hit; ttl=1100, "CDN Company Here"; fwd=uri-miss`, true},
		{"Cache-Status: on two lines", "Cache-Status: OriginCache; hit\nCache-Status: Local; fwd=miss", true},
		{"Cache-Status: a name that says hit", "Cache-Status: hit; fwd=miss", false},
		{"Cache-Status: a detail that says hit", `Cache-Status: ExampleCache; fwd=miss; detail="no; hit"`, false},
		{"Cache-Status: an inner list", "Cache-Status: (a b); hit", true},
		{"Cache-Status: empty", "Cache-Status:", false},
		{"Cache-Status: malformed miss", "Cache-Status: ExampleCache; fwd=miss; detail=?!", false},
		{"Cache-Status: malformed hit", "Cache-Status: ExampleCache; hit; key=GET-/page?a=b", true},
		{"Cache-Status: malformed and collapsed", "Cache-Status: ExampleCache; fwd=miss; collapsed; detail=?!", true},

		{"Souin: hit", "Age: 2\nCache-Status: Souin; hit; ttl=118; key=GET-http-example.com-/page; detail=DEFAULT", true},
		{"Souin: stale hit", "Cache-Status: Souin; hit; ttl=-3; key=GET-http-example.com-/page?a=b; detail=DEFAULT; fwd=stale", true},
		{"Souin: miss", "Cache-Status: Souin; fwd=uri-miss; stored; key=GET-http-example.com-/page", false},
		{"Souin: no-cache", "Cache-Status: Souin; fwd=request; detail=CACHE-CONTROL-DIRECTIVE and more", false},
		{"Caddy's cache-handler: hit", "Cache-Status: Caddy; hit; ttl=59; key=*****; detail=OTTER", true},
		{"Netlify: hit", "Cache-Status: \"Netlify Edge\"; hit\nAge: 0", true},
		{"Netlify: miss", `Cache-Status: "Netlify Durable"; fwd=bypass` + "\n" + `Cache-Status: "Netlify Edge"; fwd=miss`, false},

		{"nginx: HIT", "X-Cache-Status: HIT", true},
		{"nginx: STALE", "X-Cache-Status: STALE", true},
		{"nginx: UPDATING", "X-Cache-Status: UPDATING", true},
		{"nginx: MISS", "X-Cache-Status: MISS", false},
		{"nginx: BYPASS", "X-Cache-Status: BYPASS", false},
		{"nginx: EXPIRED", "X-Cache-Status: EXPIRED", false},
		{"nginx: REVALIDATED asked the origin", "X-Cache-Status: REVALIDATED", false},
		{"nginx: SCARCE", "X-Cache-Status: SCARCE", false},
		{"nginx: X-Proxy-Cache", "X-Proxy-Cache: HIT", true},
		{"nginx: X-Proxy-Cache miss", "X-Proxy-Cache: MISS", false},
		{"nginx: no cache for the location", "X-Cache-Status: -", false},
		{"Kong: Hit", "X-Cache-Status: Hit\nX-Cache-Key: 5f", true},
		{"Kong: Refresh", "X-Cache-Status: Refresh", false},

		{"Apache: hit", "Age: 0\nX-Cache: HIT from www.example.com\nX-Cache-Detail: \"cache hit\" from www.example.com", true},
		{"Apache: revalidated", "X-Cache: REVALIDATE from www.example.com\nX-Cache-Detail: \"conditional cache hit: entity refreshed\" from www.example.com", false},
		{"Apache: miss", "X-Cache: MISS from www.example.com\nX-Cache-Detail: \"cache miss: attempting entity save\" from www.example.com", false},
		{"Apache: miss on a host named hit", "X-Cache: MISS from hit", false},

		{"Varnish: hit", "X-Varnish: 32770 3\nAge: 12\nVia: 1.1 varnish (Varnish/7.1)", true},
		{"Varnish: hit within the second", "X-Varnish: 32770 3\nAge: 0", true},
		{"Varnish: miss", "X-Varnish: 32770\nAge: 0", false},
		{"Varnish: two in a row", "X-Varnish: 98563 32771, 1277", true},
		{"Varnish: two misses", "X-Varnish: 98563, 1277", false},
		{"Varnish: malformed", "X-Varnish: no idea", false},
		{"Varnish: by VCL", "X-Cache: hit", true},
		{"Varnish: by VCL, cached", "X-Cache: cached", true},
		{"Varnish: by VCL, uncached", "X-Cache: uncached", false},
		{"Varnish: by VCL, with a count", "X-Cache: HIT:3", true},
		{"Varnish: by VCL, hit-for-pass asked the origin", "X-Cache: hit-for-pass", false},
		{"Varnish: by VCL, pass", "X-Cache: pass", false},

		{"Squid: hit", "Age: 61\nX-Cache: HIT from proxy.example\nX-Cache-Lookup: HIT from proxy.example:3128", true},
		{"Squid: miss after a lookup", "X-Cache: MISS from proxy.example\nX-Cache-Lookup: HIT from proxy.example:3128", false},

		{"Cloudflare: HIT", "CF-Cache-Status: HIT\nAge: 0\nCF-RAY: 1-FRA", true},
		{"Cloudflare: STALE", "CF-Cache-Status: STALE", true},
		{"Cloudflare: UPDATING", "CF-Cache-Status: UPDATING", true},
		{"Cloudflare: MISS", "CF-Cache-Status: MISS", false},
		{"Cloudflare: EXPIRED", "CF-Cache-Status: EXPIRED", false},
		{"Cloudflare: REVALIDATED", "CF-Cache-Status: REVALIDATED", false},
		{"Cloudflare: DYNAMIC", "CF-Cache-Status: DYNAMIC", false},
		{"Cloudflare: BYPASS", "CF-Cache-Status: BYPASS", false},

		{"Fastly: hit at the edge", "X-Cache: MISS, HIT\nX-Cache-Hits: 0, 1\nX-Served-By: cache-a, cache-b", true},
		{"Fastly: hit at the shield", "X-Cache: HIT, MISS\nX-Cache-Hits: 3, 0", true},
		{"Fastly: miss", "X-Cache: MISS, MISS\nX-Cache-Hits: 0, 0\nAge: 0", false},
		{"Fastly: stale", "X-Cache: HIT-STALE", true},

		{"CloudFront: hit", "X-Cache: Hit from cloudfront\nVia: 1.1 x.cloudfront.net (CloudFront)", true},
		{"CloudFront: hit at the shield", "X-Cache: OriginShieldHit from cloudfront", true},
		{"CloudFront: revalidated", "X-Cache: RefreshHit from cloudfront", false},
		{"CloudFront: miss", "X-Cache: Miss from cloudfront", false},
		{"CloudFront: error", "X-Cache: Error from cloudfront", false},

		{"Akamai: hit", "X-Cache: TCP_HIT from a1-2-3-4.deploy.akamaitechnologies.com (AkamaiGHost/10.6.1) (-)", true},
		{"Akamai: hit in memory", "X-Cache: TCP_MEM_HIT from a1.example", true},
		{"Akamai: conditional hit", "X-Cache: TCP_IMS_HIT from a1.example", true},
		{"Akamai: revalidated", "X-Cache: TCP_REFRESH_HIT from a1.example", false},
		{"Akamai: stale, as the origin failed", "X-Cache: TCP_REFRESH_FAIL_HIT from a1.example", true},
		{"Akamai: stale", "X-Cache: HitStale from child, Miss from parent", true},
		{"Akamai: hit at the parent", "X-Cache: Miss from child, Hit from parent", true},
		{"Akamai: miss", "X-Cache: TCP_MISS from a1.example, TCP_MISS from a2.example", false},
		{"Azure: hit far away", "X-Cache: TCP_REMOTE_HIT", true},
		{"Azure: a part", "X-Cache: PARTIAL_HIT", true},
		{"Azure: revalidated", "X-Cache: TCP_EXPIRED_HIT", false},
		{"Azure: none", "X-Cache: CONFIG_NOCACHE", false},
		{"Azure: private", "X-Cache: PRIVATE_NOSTORE", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := make(http.Header)
			for line := range strings.Lines(test.fields) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
				h.Add(name, strings.TrimSpace(value))
			}
			if got := fromCache(h); got != test.want {
				t.Errorf("got %t", got)
			}
			if p := probeBoth(respondingWith(h), newRequest("GET", nil), 0); p.Cached != test.want {
				t.Errorf("a probe shows %t", p.Cached)
			}
			for _, method := range []string{"GET", "HEAD"} {
				rec := newRecorder()
				if err := capture(t, rec, method, respondingWith(h)); err != nil || rec.only(t).Cached != test.want {
					t.Errorf("a %s shows %t, %v", method, rec.shown[0].Cached, err)
				}
			}
		})
	}
}

// respondingWith returns a next handler that sends a header.
func respondingWith(h http.Header) caddyhttp.Handler {
	return handler(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), h)
		_, _ = io.WriteString(w, "content")
	})
}

// TestMadeBefore: a date proves that a response is old only if it is older than its second
// and the tolerance allow.
func TestMadeBefore(t *testing.T) {
	at := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, test := range []struct {
		name  string
		lines []string
		after time.Duration // at which t lies
		want  bool
	}{
		{"the same second", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, 999 * time.Millisecond, false},
		{"within the tolerance", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, ClockTolerance, false},
		{"its second may be over just then", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, ClockTolerance + time.Second, false},
		{"older", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, ClockTolerance + time.Second + 1, true},
		{"much older", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, 24 * time.Hour, true},
		{"an obsolete format (RFC 9110, 5.6.7)", []string{"Sunday, 06-Nov-94 08:49:37 GMT"}, time.Hour, true},
		{"the clock is ahead", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, -time.Hour, false},
		{"no date", nil, time.Hour, false},
		{"no valid date", []string{"yesterday"}, time.Hour, false},
		{"two dates", []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"}, time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := MadeBefore(http.Header{"Date": test.lines}, at.Add(test.after)); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// FuzzFromCache: no value makes it panic, and a value that says nothing about a hit is
// none.
func FuzzFromCache(f *testing.F) {
	for _, seed := range []string{"", "1", "HIT", "32770 3", "ExampleCache; hit", `(a "b); hit`, "A; hit=(", ";,;hit", "MISS, HIT", "\x00\xff"} {
		f.Add(seed, seed)
	}
	names := []string{"Age", "Cache-Status", "X-Varnish", "X-Cache", "X-Cache-Status", "X-Proxy-Cache", "Cf-Cache-Status"}
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, name := range names {
			got := fromCache(http.Header{name: {first, second}})
			text := strings.ToUpper(first + second)
			sign := strings.ContainsAny(text, "0123456789") || slices.ContainsFunc(
				[]string{"HIT", "STALE", "UPDATING", "CACHED", "COLLAPSED"},
				func(word string) bool { return strings.Contains(text, word) })
			if got && !sign {
				t.Errorf("%s: %q, %q is taken for a hit", name, first, second)
			}
		}
		MadeBefore(http.Header{"Date": {first}}, time.Unix(0, 0))
	})
}
