package admin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What is known of a resource is shown in lines that fit a terminal.
func TestDescribe(t *testing.T) {
	got := describe([]shownResource{
		{
			Store: "redis", Key: "example.com/docs/plan", Known: true, Epoch: "e1", Kept: 86399.96, Claimed: true, Busy: 29.96, Grace: 3,
			Vary: "accept,x-tenant;cars=e", Groups: []string{"cars", "vans"},
			Variants: []shownVariant{
				{Variant: "v1", State: "present", ETag: `"a"`, Own: true, LastModified: "Mon, 03 Nov 2025 12:00:00 GMT", Age: 12.51},
				{Variant: "v2", State: "present", ETag: `"b"`, BackendETag: `W/"1"`, Negotiated: "accept: text/html\naccept-language: de", Age: 3601},
				{Variant: "v3", State: "absent", Age: 1e10},
			},
		},
		{Store: "memory", Key: "x/docs/plan", Known: true, Epoch: "e2", Passes: 2, Busy: 5},
		{Store: "memory", Key: "y/docs/plan", Journaled: true},
	})
	want := `resource  example.com/docs/plan
store     redis
epoch     e1
kept      for 24h0m0s, unless it is used
in flight a claim, for 30s unless it is renewed
grace     no write passes for 3s: the store may have lost data
vary      accept, x-tenant
groups    cars, vans
variant   v1
  state     present, stored 12.5s ago
  etag      "a" (the backend's own)
  modified  Mon, 03 Nov 2025 12:00:00 GMT
variant   v2
  state     present, stored 1h0m1s ago
  etag      "b"
  backend's W/"1"
  asked by  accept: text/html
  asked by  accept-language: de
variant   v3
  state     absent, stored an unknown time ago

resource  x/docs/plan
store     memory
epoch     e2
kept      for 0s, unless it is used
in flight 2 passes, for 5s unless they are renewed
variants  none

resource  y/docs/plan
store     memory
journal   written while the store was out of reach: it is told first
known     nothing
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Long values continue on further lines, and none can give commands to the terminal.
func TestDescribeOddValues(t *testing.T) {
	long := strings.Repeat("ä", 300)
	got := describe([]shownResource{{Key: long, Known: true, Passes: 1, Variants: []shownVariant{{ETag: "\"\x1b[2J\x9b\xff\u202e\n\"" + long}}}})
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.ContainsAny(got, "\x1b\u009b\u202e") || !utf8.ValidString(got) || strings.Count(got, "ä") != 600 {
		t.Errorf("got %q", got)
	}
}

// A name is never glued to its value, and sentences are divided between words.
func TestLinesAreReadable(t *testing.T) {
	var p page
	p.line(2, "no condition", "from importer 198")
	p.line(0, "note", strings.Repeat("word ", 30))
	p.line(2, strings.Repeat("M", 100), "failed 1")
	for line := range strings.Lines(p.String()) {
		for part := range strings.FieldsSeq(line) {
			switch strings.Trim(part, "M") {
			case "", "no", "condition", "from", "importer", "198", "note", "word", "failed", "1":
			default:
				t.Errorf("%q in %q", part, line)
			}
		}
	}
}

// The sites of a config are the hosts of its routes. A route without one serves them all.
func TestHostsOf(t *testing.T) {
	route := func(matchers ...any) caddyhttp.Route {
		return caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{matchers}}
	}
	b := route(&caddyhttp.MatchHost{"b.example", "*.a.example"})
	if got, all := hostsOf(caddyhttp.RouteList{b, route(&caddyhttp.MatchHost{"a.example"}, &caddyhttp.MatchPath{"/x"}), b}); all || strings.Join(got, " ") != "*.a.example a.example b.example" {
		t.Errorf("got %q, %v", got, all)
	}
	for _, wide := range []caddyhttp.Route{{}, route(&caddyhttp.MatchPath{"/x"})} {
		if _, all := hostsOf(caddyhttp.RouteList{b, wide}); !all {
			t.Errorf("%v: not all", wide)
		}
	}
	for _, tt := range []struct {
		site, host string
		want       bool
	}{
		{"example.com", "Example.com", true},
		{"example.com", "www.example.com", false},
		{"*.example.com", "www.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "a.b.example.com", false},
		{"{env.HOST}", "example.com", true},
	} {
		if got := serves(tt.site, tt.host); got != tt.want {
			t.Errorf("%s, %s: %v", tt.site, tt.host, got)
		}
	}
}
