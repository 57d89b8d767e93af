package preconditions

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestGroupKey: a group belongs to an origin, as far as the keys of resources tell
// origins apart (RFC 9875, section 2.1), and shares its key with nothing else.
func TestGroupKey(t *testing.T) {
	const hostport = "{http.request.scheme}://{http.request.hostport}{http.request.uri.path}"
	at := func(template, url, name string) string {
		x := exchangeAt(url, nil)
		x.h.Key = template
		return x.groupKey(name)
	}
	for _, tt := range []struct {
		name               string
		template, url      string
		otherURL, otherKey string // the group and its origin
		same               bool
	}{
		{"another path", defaultKey, "http://example.com/a", "http://example.com/b?c", "cars", true},
		{"another spelling of the host", defaultKey, "http://example.com/a", "http://EXAMPLE.com./a", "cars", true},
		{"another host", defaultKey, "http://example.com/a", "http://example.org/a", "cars", false},
		{"another name", defaultKey, "http://example.com/a", "http://example.com/a", "Cars", false},
		{"a port that keys don't have", defaultKey, "http://example.com/a", "https://example.com:8443/a", "cars", true},
		{"a port that they have", hostport, "http://example.com/a", "http://example.com:8080/a", "cars", false},
		{"a scheme that they have", hostport, "http://example.com/a", "https://example.com/a", "cars", false},
		{"no host in keys", "{http.request.uri.path}", "http://example.com/a", "http://example.org/a", "cars", true},
	} {
		if got, want := at(tt.template, tt.otherURL, tt.otherKey), at(tt.template, tt.url, "cars"); (got == want) != tt.same {
			t.Errorf("%s: the keys are %q and %q", tt.name, got, want)
		}
	}
	if got := len(at(defaultKey, "http://"+strings.Repeat("a", 1000)+"/", "cars")); got > maxKey+65 {
		t.Errorf("the key has %d bytes", got)
	}
	for _, host := range []string{"group ", "group example.com", "group example.com cars"} {
		key := keyOf("{http.request.uri.query.id}", "example.com", "/?id="+strings.ReplaceAll(host, " ", "%20"))
		if strings.HasPrefix(key, groupPrefix) {
			t.Errorf("a resource has the key %q", key)
		}
	}
}

// FuzzMemberships: what is stored of groups is read as it was.
func FuzzMemberships(f *testing.F) {
	f.Add("cars", "=;,", "epoch")
	f.Add("", " %+", "")
	f.Fuzz(func(t *testing.T, one, two, epoch string) {
		if strings.ContainsAny(epoch, ";") {
			return // NewToken makes none such
		}
		m := memberships{one: epoch, two: "x"}
		fields, text := splitVary("accept,x-user" + m.String())
		if got := parseMemberships(text); fields != "accept,x-user" || !maps.Equal(got, m) {
			t.Errorf("%q is read as %q", m, got)
		}
	})
}

// TestMemberships: the groups of a resource add up, as long as there is room.
func TestMemberships(t *testing.T) {
	many := func(n int) memberships {
		m := make(memberships)
		for i := range n {
			m[fmt.Sprint(i)] = "epoch"
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		known  memberships
		named  []string
		want   string
		stored bool
	}{
		{"none", nil, nil, "", true},
		{"known ones", memberships{"a": "1"}, nil, ";a=1", true},
		{"the same", memberships{"a": "1"}, []string{`"a"`}, ";a=1", true},
		{"another", memberships{"b": "1"}, []string{`"a"`}, ";a=;b=1", true},
		{"the first", nil, []string{`"a"`}, ";a=", true},
		{"malformed", memberships{"a": "1"}, []string{`b`}, ";a=1", true},
		{"one too many with the known ones", many(64), []string{`"a", "0"`}, ";0=epoch;a=", true},
		{"a name that is too long", nil, []string{`"` + strings.Repeat("a", maxGroupName+1) + `"`}, "", false},
	} {
		x := &exchange{groups: tt.known}
		h := make(http.Header)
		if tt.named != nil {
			h["Cache-Groups"] = tt.named
		}
		before := maps.Clone(tt.known)
		m, ok := x.memberships(h)
		if got := m.String(); got != tt.want || ok != tt.stored {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, got, ok, tt.want, tt.stored)
		}
		if want := strings.HasSuffix(tt.want, "=") || strings.Contains(tt.want, "=;"); m.unread() != want || x.newGroups(h) != want {
			t.Errorf("%s: %q has unread groups: %v", tt.name, tt.want, m.unread())
		}
		if !maps.Equal(tt.known, before) {
			t.Errorf("%s: what is known became %v", tt.name, tt.known)
		}
	}
}

// TestInvalidatedGroups: no more groups are invalidated than so many, and none whose
// name is too long for a group of anything that is stored.
func TestInvalidatedGroups(t *testing.T) {
	wr := &writing{exchange: exchangeAt("http://example.com/a", nil)}
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
		{names, maxInvalidated},
		{[]string{`"` + strings.Repeat("a", maxGroupName) + `"`, `"` + strings.Repeat("b", maxGroupName+1) + `"`}, 1},
	} {
		h := make(http.Header)
		if tt.lines != nil {
			h["Cache-Group-Invalidation"] = tt.lines
		}
		if got := len(wr.invalidatedGroups(h)); got != tt.want {
			t.Errorf("%d lines invalidate %d groups, want %d", len(tt.lines), got, tt.want)
		}
	}
}

// TestConcurrentlyPanics: what panics in a goroutine of a request does so in the
// request, where the server recovers, and not before the others have ended.
func TestConcurrentlyPanics(t *testing.T) {
	var ended atomic.Int32
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || ended.Load() != 9 {
			t.Errorf("recovered %v when %d had ended", v, ended.Load())
		}
	}()
	concurrently(4, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, func(i int) {
		if i == 3 {
			panic(http.ErrAbortHandler)
		}
		ended.Add(1)
	})
}
