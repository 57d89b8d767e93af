package proxyhooks

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestVariantKey: the key differs exactly if a different representation may be selected
// (RFC 9110, section 12.5.5).
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
		t.Error("the key depends on a field that Vary doesn't list")
	}
}

// TestVariantKeyNegotiation: the key contains the lines of the fields that negotiate
// content, but no others, unless they are too long.
func TestVariantKeyNegotiation(t *testing.T) {
	longest := strings.Repeat("x", MaxNegotiation-len("accept: \n"))
	for _, tt := range []struct {
		vary   string
		header http.Header
		want   string // after the hash
	}{
		{"", http.Header{"Accept": {"x"}}, ""},
		{"cookie", http.Header{"Accept": {"x"}, "Cookie": {"secret"}}, ""},
		{"accept", nil, "\n"},
		{"accept", http.Header{"Accept": {"a, b;q=0.1", ""}}, "\naccept: a, b;q=0.1\naccept: \n"},
		{"accept,accept-language,authorization,cookie", http.Header{
			"Accept": {"a"}, "Accept-Language": {"de"}, "Authorization": {"secret"}, "Cookie": {"secret"},
		}, "\naccept: a\naccept-language: de\n"},
		{"accept", http.Header{"Accept": {longest}}, "\naccept: " + longest + "\n"},
		{"accept", http.Header{"Accept": {longest + "x"}}, ""},
	} {
		key := VariantKey("s", "/page", tt.vary, tt.header)
		if got := key[22:]; got != tt.want || len(key) > 22+1+MaxNegotiation {
			t.Errorf("%s %v: got %q, want %q", tt.vary, tt.header, got, tt.want)
		}
	}
}

// TestNegotiates: only fields that can't say who asks negotiate content.
func TestNegotiates(t *testing.T) {
	for name, want := range map[string]bool{
		"accept": true, "Accept": true, "accept-language": true, "Accept-Charset": true, "accept-profile": true,
		"x-api-version": true, "OData-Version": true, "x-format": true, "X-Locale": true, "X-Lang": true, "version": true,
		"accept-encoding": false, "Accept-Encoding": false, "": false,
		"cookie": false, "authorization": false, "proxy-authorization": false, "x-api-key": false, "x-tenant": false,
		"x-user": false, "x-forwarded-for": false, "x-version-token": false, "x-information": false, "user-agent": false,
	} {
		if Negotiates(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// TestRenegotiate: with the fields that it returns, a request selects the representation
// with the key. There are none if the key depends on more than negotiation.
func TestRenegotiate(t *testing.T) {
	const vary = "accept,accept-language,cookie"
	read := http.Header{"Accept": {"a", "b"}, "Cookie": {"me"}, "X-Other": {"1"}}
	key := VariantKey("s", "/page", vary, read)
	write := http.Header{"Accept": {"*/*"}, "Accept-Language": {"de"}, "Cookie": {"me"}, "X-Other": {"2"}}
	got, ok := Renegotiate(key, "s", "/page", vary, write)
	want := http.Header{"Accept": {"a", "b"}, "Cookie": {"me"}, "X-Other": {"2"}}
	if !ok || !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, %v, want %v", ok, got, want)
	}
	if !slices.Equal(write["Accept"], []string{"*/*"}) {
		t.Errorf("the argument became %v", write)
	}
	none := VariantKey("s", "/page", "accept", nil)
	if got, ok := Renegotiate(none, "s", "/page", "accept", nil); !ok || len(got) != 0 {
		t.Errorf("%v, %v", ok, got)
	}
	hash, lines, _ := strings.Cut(key, "\n")
	for name, call := range map[string]func() bool{
		"a different scheme": func() bool { _, ok := Renegotiate(key, "t", "/page", vary, write); return ok },
		"a different target": func() bool { _, ok := Renegotiate(key, "s", "/page?", vary, write); return ok },
		"a different Vary":   func() bool { _, ok := Renegotiate(key, "s", "/page", vary+",x", write); return ok },
		"a different user": func() bool {
			_, ok := Renegotiate(key, "s", "/page", vary, http.Header{"Cookie": {"you"}})
			return ok
		},
		"no fields":        func() bool { _, ok := Renegotiate(hash, "s", "/page", vary, write); return ok },
		"different fields": func() bool { _, ok := Renegotiate(hash+"\naccept: c\n", "s", "/page", vary, write); return ok },
		"further fields":   func() bool { _, ok := Renegotiate(key+"x-format: c\n", "s", "/page", vary, write); return ok },
		"forged user":      func() bool { _, ok := Renegotiate(key+"cookie: me\n", "s", "/page", vary, http.Header{}); return ok },
		"a line cut short": func() bool {
			_, ok := Renegotiate(hash+"\n"+lines[:len(lines)-1], "s", "/page", vary, write)
			return ok
		},
		"an empty variant":  func() bool { _, ok := Renegotiate("", "s", "/page", vary, write); return ok },
		"a line feed alone": func() bool { _, ok := Renegotiate("\n", "s", "/page", vary, write); return ok },
	} {
		if call() {
			t.Errorf("%s: ok", name)
		}
	}
}
