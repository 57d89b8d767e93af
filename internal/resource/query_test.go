package resource

import (
	"net/http"
	"strings"
	"testing"
)

// If the key contains a parameter of the query, a write is clear only if every backend reads
// the same value for it.
func TestQueryOfTheKey(t *testing.T) {
	t.Parallel()
	const template = Template("{http.request.uri.path}{http.request.uri.query.id}")
	for query, clear := range map[string]bool{
		"":                  true,
		"id=1":              true,
		"%69d=1":            true, // all decode that
		"x=1&id=7":          true,
		"id=1%262":          true,
		"other=1&other=2":   true,
		"idx=1&xid=2&id=3":  true,
		"other=1;other2=2":  true,
		"id":                true,
		"id=1&id=7":         false, // the first (Caddy), the last (PHP), both (Express)
		"id=1&id=1":         false,
		"id=1&%69d=7":       false,
		"id=1&ID=7":         false, // ASP.NET ignores case
		"Id=7":              false,
		"id[]=7":            false, // PHP, Rails
		"id=1&id[]=7":       false,
		"id=1&id%5B%5D=7":   false,
		"id=1&id[0]=7":      false,
		"id=1&id%5Bx%5D=7":  false,
		"id=1&+id=7":        false, // PHP drops blanks at the beginning
		"id=1&id%00x=7":     false,
		"id=1;id=7":         false, // Go drops what has a semicolon, others split there
		"x=1;id=7":          false,
		"id=1&x=1;y=2":      false,
		"id=%zz":            false, // Go drops it
		"id=1&x=%zz":        true,
		"id=1&%69d%5B%5D=7": false,
	} {
		r := requestAt("http://example.com/docs?"+query, http.Header{})
		template.CheckQuery(r)
		if got := r.Unclear == ""; got != clear {
			t.Errorf("%q: clear is %v, want %v", query, got, clear)
		}
	}
}

// PHP takes a dot and a blank in the name of a parameter for an underscore.
func TestQueryOfTheKeyWithUnderscore(t *testing.T) {
	t.Parallel()
	r := requestAt("http://example.com/docs?doc.id=1&doc_id=2", http.Header{})
	Template("{http.request.uri.query.doc_id}").CheckQuery(r)
	if !strings.Contains(r.Unclear, "doc_id") {
		t.Errorf("got %q", r.Unclear)
	}
}

// Without a parameter in the key, and for reads, the query is nobody's business.
func TestQueryThatDoesNotMatter(t *testing.T) {
	t.Parallel()
	r := requestAt("http://example.com/docs?id=1&id=7", http.Header{})
	Template(defaultKey).CheckQuery(r)
	if r.Unclear != "" {
		t.Errorf("got %q", r.Unclear)
	}
	r.Class = Read
	Template("{http.request.uri.query.id}").CheckQuery(r)
	if r.Unclear != "" {
		t.Errorf("got %q", r.Unclear)
	}
}
