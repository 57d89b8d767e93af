package proxyhooks

import (
	"fmt"
	"net/http"
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
