package proxyhooks

import (
	"net/http"
	"slices"
	"testing"
)

// TestVary: the names in Vary are added to the known ones (RFC 9110, section 12.5.5).
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
		got, ok := MergeVary(test.known, http.Header{"Vary": test.lines})
		if got != test.want || ok != test.ok {
			t.Errorf("%q and %q: got %q, %t", test.known, test.lines, got, ok)
		}
	}
}

// TestSendVary: missing names are added to Vary (RFC 9110, section 12.5.5).
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
			AddVary(test.vary, h)
			if !slices.Equal(h["Vary"], test.want) {
				t.Errorf("%q and %q: got %q, want %q", test.vary, test.lines, h["Vary"], test.want)
			}
		}
	}
}

// TestJoinVary: the result is sorted, without duplicates.
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
