package proxyhooks

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestFromHeader: RFC 9110, sections 8.8 and 15.
func TestFromHeader(t *testing.T) {
	upstream, body := []Source{SourceUpstream}, []Source{SourceBody}
	tests := []struct {
		name     string
		sources  []Source
		status   int
		tags     []string
		state    validator.State
		needBody bool
		tag      string
		replaced bool
	}{
		{"strong tag", both.Sources, 200, []string{`"own"`}, validator.Present, false, `"own"`, false},
		{"strong tag of 204", both.Sources, 204, []string{`"own"`}, validator.Present, false, `"own"`, false},
		{"weak tag", both.Sources, 200, []string{`W/"own"`}, validator.Present, true, "", true},
		{"malformed tag", both.Sources, 200, []string{`own`}, validator.Present, true, "", true},
		{"two tags", both.Sources, 200, []string{`"a"`, `"b"`}, validator.Present, true, "", true},
		{"no tag", both.Sources, 200, nil, validator.Present, true, "", true},
		{"strong tag, not asked for", body, 200, []string{`"own"`}, validator.Present, true, "", true},
		{"weak tag and nothing else", upstream, 200, []string{`W/"own"`}, validator.Present, false, "", false},
		{"absent", both.Sources, 404, []string{`"own"`}, validator.Absent, false, "", false},
		{"gone", both.Sources, 410, nil, validator.Absent, false, "", true},
		{"part", both.Sources, 206, []string{`"own"`}, validator.Unknown, false, "", false},
		{"error", both.Sources, 500, nil, validator.Unknown, false, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := Deriver{Sources: test.sources}
			h := http.Header{"Etag": test.tags}
			o, needBody, ok := d.FromHeader(test.status, h, time.Now())
			if o.State != test.state || needBody != test.needBody || ok != (test.state != validator.Unknown) ||
				o.ETag.String() != test.tag || o.Own != (test.tag != "") {
				t.Errorf("%+v %t %t", o, needBody, ok)
			}
			if got := d.Replaces(h); got != test.replaced {
				t.Errorf("replaced: %t", got)
			}
		})
	}
}

// TestContentHash: equal bytes are another representation if they are to be
// read otherwise (RFC 9110, section 8.8.1).
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
		t.Error("other fields count")
	}
}

// TestTagForm: a tag of ours is never taken for one with a content coding (RFC
// 9110, section 8.8.3.3), and is made of octets that nobody stumbles over.
func TestTagForm(t *testing.T) {
	for i := range 10_000 {
		tag := tagOf(fmt.Sprint(i), nil)
		if parsed, ok := validator.ParseETag(tag.String()); !ok || parsed != tag || tag.Weak {
			t.Fatalf("%s", tag)
		}
		if validator.EndsInCoding(tag.Opaque) {
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

func TestScheme(t *testing.T) {
	if got := both.Scheme(); got != "upstream,body" {
		t.Errorf("got %q", got)
	}
}
