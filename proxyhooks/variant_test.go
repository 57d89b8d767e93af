package proxyhooks

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestVary: RFC 9110, section 12.5.5.
func TestVary(t *testing.T) {
	for _, test := range []struct {
		known string
		lines []string
		want  string
		ok    bool
	}{
		{"", nil, "", true},
		{"accept", nil, "accept", true},
		{"", []string{"Accept-Language"}, "accept-language", true},
		{"", []string{"accept-LANGUAGE , Accept"}, "accept,accept-language", true},
		{"", []string{"b", "a, \tc,"}, "a,b,c", true},
		{"b", []string{"a"}, "a,b", true},
		{"a,b", []string{"B"}, "a,b", true},
		{"", []string{"Accept-Encoding"}, "", true},
		{"a", []string{"accept-encoding, Origin"}, "a,origin", true},
		{"a", []string{"*"}, "a", false},
		{"a", []string{"b;c"}, "a", false},
		{"", []string{"b, *"}, "", false},
		{"", []string{""}, "", true},
	} {
		got, ok := Vary(test.known, http.Header{"Vary": test.lines})
		if got != test.want || ok != test.ok {
			t.Errorf("%q and %q: got %q, %t", test.known, test.lines, got, ok)
		}
	}
}

// TestVariantKey differs exactly where another representation may be selected.
func TestVariantKey(t *testing.T) {
	const vary = "a,b"
	seen := make(map[string]string)
	add := func(scheme, target, vary string, h http.Header) string {
		key := VariantKey(scheme, target, vary, h)
		name := fmt.Sprintf("%q %q %q %q", scheme, target, vary, h)
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s share a key", name, other)
		}
		seen[key] = name
		if len(key) > 64 {
			t.Errorf("%s: %d bytes", name, len(key))
		}
		return key
	}
	plain := add("s", "/page", "", nil)
	add("t", "/page", "", nil)
	add("s", "/page?", "", nil)
	add("s", "/page?q", "", nil)
	add("s", "/Page", "", nil)
	add("s", "/p%61ge", "", nil)
	add("s", "/page", vary, nil)
	add("s", "/page", vary, http.Header{"A": {"x"}})
	add("s", "/page", vary, http.Header{"B": {"x"}})
	add("s", "/page", vary, http.Header{"A": {""}})
	add("s", "/page", vary, http.Header{"B": {""}})
	add("s", "/page", vary, http.Header{"A": {"x", ""}})
	add("s", "/page", vary, http.Header{"A": {"x"}, "B": {""}})
	add("s", "/page", vary, http.Header{"A": {"x, y"}})
	add("s", "/page", vary, http.Header{"A": {"x", "y"}})
	add("s", "/page", vary, http.Header{"A": {"y", "x"}})
	if got := VariantKey("s", "/page", "", http.Header{"A": {"x"}}); got != plain {
		t.Error("a field counts by which nothing varies")
	}
}

func TestEdit(t *testing.T) {
	h := http.Header{"If-Match": {`"a"`, `"b"`}, "Accept-Encoding": {"br"}, "Host": {"x"}}
	before := h.Clone()
	shared := h
	restore := Edit(h, map[string][]string{"If-Match": nil, "Accept-Encoding": {"identity"}, "If-Range": nil, "X-New": {"x"}})
	if want := (http.Header{"Accept-Encoding": {"identity"}, "Host": {"x"}, "X-New": {"x"}}); !maps.EqualFunc(shared, want, slices.Equal) {
		t.Errorf("got %v", shared)
	}
	restore()
	if !maps.EqualFunc(shared, before, slices.Equal) {
		t.Errorf("got %v", shared)
	}
	Edit(h, nil)()
	if !maps.EqualFunc(shared, before, slices.Equal) {
		t.Errorf("got %v", shared)
	}
}

// TestSendVary: RFC 9110, section 12.5.5.
func TestSendVary(t *testing.T) {
	for _, test := range []struct {
		vary  string
		lines []string
		want  []string
	}{
		{"", nil, nil},
		{"", []string{"Accept"}, []string{"Accept"}},
		{"accept-language,x-tenant", nil, []string{"Accept-Language, X-Tenant"}},
		{"accept-language,x-tenant", []string{"Accept-Encoding"}, []string{"Accept-Encoding", "Accept-Language, X-Tenant"}},
		{"accept-language,x-tenant", []string{"Origin, X-TENANT", "Accept"}, []string{"Origin, X-TENANT", "Accept", "Accept-Language"}},
		{"accept-language", []string{"accept-language"}, []string{"accept-language"}},
		{"accept-language", []string{"a, *"}, []string{"a, *"}},
	} {
		h := http.Header{"Vary": test.lines}
		for range 2 { // the second time changes nothing
			SendVary(test.vary, h)
			if !slices.Equal(h["Vary"], test.want) {
				t.Errorf("%q and %q: got %q, want %q", test.vary, test.lines, h["Vary"], test.want)
			}
		}
	}
}

func TestJoinVary(t *testing.T) {
	for want, lists := range map[string][]string{
		"":        {"", ""},
		"a":       {"", "a"},
		"a,b,c,d": {"b,d", "", "a,c"},
		"a,b,c":   {"c", "a,b", "a,b,c"},
	} {
		if got := JoinVary(lists...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
