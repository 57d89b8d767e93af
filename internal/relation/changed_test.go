package relation

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What the answer to a write names was changed by it, if it is on the same origin
// (RFC 9111, section 4.4; RFC 9875).
func TestChangedBy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request string
		lines   []string
		want    []string
	}{
		{"nothing", "PUT /a/b", nil, nil},
		{"Location", "POST /a/b", []string{"Location: /c"}, []string{"/c"}},
		{"Content-Location", "POST /a/b", []string{"Content-Location: http://example.com/c"}, []string{"/c"}},
		{"relative to the target", "POST /a/b", []string{"Location: c"}, []string{"/a/c"}},
		{"links of the type invalidates", "POST /a/b", []string{`Link: </c>; rel="invalidates", </d>; rel=next`}, []string{"/c"}},
		{"all of them, each once", "POST /a/b", []string{"Location: /c", "Content-Location: /d", "Link: </C/>; rel=invalidates"}, []string{"/c", "/d"}},
		{"not the subject", "POST /a/b", []string{"Location: /A/./b/", "Content-Location: /c"}, []string{"/c"}},
		{"not on a different host", "POST /a/b", []string{"Location: http://example.org/c"}, nil},
		{"not on a different port", "POST /a/b", []string{"Location: http://example.com:8080/c"}, nil},
		{"not on a different scheme", "POST /a/b", []string{"Location: https://example.com/c"}, nil},
		{"not what leads nowhere", "POST /a/b", []string{"Location: http://[::1"}, nil},
		{"rewritten as the path was, or not", "POST /api/a > /a", []string{"Location: /api/c"}, []string{"/api/c", "/c"}},
		{"groups", "POST /a/b", []string{`Cache-Group-Invalidation: "vans", "cars"`}, []string{"group cars", "group vans"}},
		{"resources and groups", "POST /a/b", []string{"Location: /c", `Cache-Group-Invalidation: "cars"`}, []string{"/c", "group cars"}},
		{"no malformed list of groups", "POST /a/b", []string{"Cache-Group-Invalidation: cars"}, nil},
	} {
		rules, request := rulesOf(t), requestOf(tt.request)
		h := make(http.Header)
		for _, line := range tt.lines {
			name, value, _ := strings.Cut(line, ": ")
			h[name] = append(h[name], value)
		}
		got := rules.ChangedBy(request, rules.Namer.Own(request), h)
		if !slices.Equal(got.Keys, tt.want) || got.MoreTargets || got.MoreGroups {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
}

// What an answer names beyond the limits is told apart from what is within them.
// Only what would be invalidated counts.
func TestChangedByLimits(t *testing.T) {
	links := func(n int, more ...string) http.Header {
		for i := range n {
			more = append(more, fmt.Sprintf("</%d>; rel=invalidates", i))
		}
		return http.Header{"Link": more}
	}
	groups := func(n int, more ...string) http.Header {
		for i := range n {
			more = append(more, fmt.Sprintf(`"%d"`, i))
		}
		return http.Header{"Cache-Group-Invalidation": more}
	}
	for _, tt := range []struct {
		name                    string
		header                  http.Header
		keys                    int
		moreTargets, moreGroups bool
	}{
		{"as many targets as are invalidated", links(MaxTargets), MaxTargets, false, false},
		{"one more", links(MaxTargets + 1), MaxTargets, true, false},
		{"the subject, too", links(MaxTargets, "</a>; rel=invalidates"), MaxTargets, false, false},
		{"one of them twice", links(MaxTargets, "</0>; rel=invalidates"), MaxTargets, false, false},
		{"one on a different host, too", links(MaxTargets, "<//example.org/>; rel=invalidates"), MaxTargets, false, false},
		{"as many groups as are invalidated", groups(MaxGroups), MaxGroups, false, false},
		{"one group more", groups(MaxGroups + 1), MaxGroups, false, true},
		{"one of them twice", groups(MaxGroups, `"0"`), MaxGroups, false, false},
	} {
		rules, request := rulesOf(t), requestOf("POST /a")
		got := rules.ChangedBy(request, rules.Namer.Own(request), tt.header)
		if len(got.Keys) != tt.keys || got.MoreTargets != tt.moreTargets || got.MoreGroups != tt.moreGroups {
			t.Errorf("%s: %d keys, more targets: %v, more groups: %v", tt.name, len(got.Keys), got.MoreTargets, got.MoreGroups)
		}
	}
}
