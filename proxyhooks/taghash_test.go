package proxyhooks

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestContentHash: equal bytes with different representation metadata get different
// tags (RFC 9110, section 8.8.1).
func TestContentHash(t *testing.T) {
	seen := make(map[validator.ETag]string)
	for _, test := range []struct {
		content string
		header  http.Header
	}{
		{"", nil},
		{"content", nil},
		{"content", http.Header{"Content-Type": {"text/plain"}}},
		{"content", http.Header{"Content-Type": {"text/html"}}},
		{"content", http.Header{"Content-Encoding": {"text/plain"}}},
		{"content", http.Header{"Content-Encoding": {"gzip"}}},
		{"content", http.Header{"Content-Language": {"text/plain"}}},
		{"content", http.Header{"Content-Language": {"de", "en"}}},
		{"content", http.Header{"Content-Language": {"de, en"}}},
		{"content", http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}, "Content-Language": {"de"}}},
		{"plaincontent", http.Header{"Content-Type": {"text/"}}},
	} {
		name := fmt.Sprint(test.content, test.header)
		tag := tagOf(test.content, test.header)
		if other, ok := seen[tag]; ok {
			t.Errorf("%s and %s have the tag %s", name, other, tag)
		}
		seen[tag] = name
		if again := tagOf(test.content, test.header); again != tag {
			t.Errorf("%s has the tags %s and %s", name, tag, again)
		}
	}
	a := tagOf("content", http.Header{"Date": {"now"}, "Set-Cookie": {"x"}})
	if a != tagOf("content", nil) {
		t.Error("other fields change the tag")
	}
}

// TestTagForm: our tags contain only letters and digits, and none looks as if it had
// the name of a content coding appended (RFC 9110, section 8.8.3.3).
func TestTagForm(t *testing.T) {
	for i := range 10_000 {
		tag := tagOf(fmt.Sprint(i), nil)
		if parsed, ok := validator.ParseETag(tag.String()); !ok || parsed != tag || tag.Weak {
			t.Fatalf("%s", tag)
		}
		if _, coded := tag.WithoutCoding(); coded {
			t.Fatalf("%s ends in a coding", tag)
		}
		for _, c := range []byte(tag.Opaque) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'v') {
				t.Fatalf("%s has %q", tag, c)
			}
		}
		if len(tag.Opaque) != 26 {
			t.Fatalf("%s has %d octets", tag, len(tag.Opaque))
		}
	}
}
