package relation

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// writeOf returns a write that the client sends to a URL.
func writeOf(url string) (*Rules, *resource.Request, resource.Subject) {
	r := httptest.NewRequest("PUT", url, nil)
	r.URL.Scheme, r.URL.Host = "", ""
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
	rules := &Rules{Namer: &resource.Namer{Template: "{http.request.host}{http.request.uri.path}"}}
	request := resource.NewRequest(r)
	return rules, request, rules.Namer.Own(request)
}

// An answer invalidates a limited number of groups, and none with a name that is
// too long to be stored.
func TestInvalidatedGroups(t *testing.T) {
	rules, request, subject := writeOf("http://example.com/a")
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf(`"%d"`, i))
	}
	for _, tt := range []struct {
		lines []string
		want  int
	}{
		{nil, 0},
		{names[:10], 10},
		{names, MaxGroups},
		{[]string{`"` + strings.Repeat("a", resource.MaxGroupName) + `"`, `"` + strings.Repeat("b", resource.MaxGroupName+1) + `"`}, 1},
	} {
		h := make(http.Header)
		if tt.lines != nil {
			h["Cache-Group-Invalidation"] = tt.lines
		}
		if got := len(rules.ChangedBy(request, subject, h).Keys); got != tt.want {
			t.Errorf("%d lines invalidate %d groups, want %d", len(tt.lines), got, tt.want)
		}
	}
}

// Whatever an answer names, a limited number of resources of this host are
// invalidated, and never the subject itself.
func FuzzChangedBy(f *testing.F) {
	f.Add("/a", "../b", "</c>; rel=invalidates")
	f.Add("http://[::1", "//example.com/", "<%>;rel=invalidates, <?>;rel=invalidates")
	f.Fuzz(func(t *testing.T, location, content, link string) {
		rules, request, subject := writeOf("http://example.com/a/b")
		keys := rules.ChangedBy(request, subject, http.Header{"Location": {location}, "Content-Location": {content}, "Link": {link}}).Keys
		if len(keys) > MaxTargets {
			t.Errorf("%d keys", len(keys))
		}
		for _, key := range keys {
			if key == subject.Key || len(key) < len("example.com/") || key[:len("example.com/")] != "example.com/" {
				t.Errorf("the key is %q", key)
			}
		}
	})
}
