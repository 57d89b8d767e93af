package relation

import (
	"slices"
	"testing"
)

func guardOf(t *testing.T, from, to string) *Rules {
	t.Helper()
	rules := rulesOf(t)
	rule, err := ParseGuard(from, to)
	if err != nil {
		t.Fatal(err)
	}
	rules.Guards = append(rules.Guards, rule)
	return rules
}

// A POST is about what its content names, and changes that and the collection, with a
// condition or without.
func TestPlanFromContent(t *testing.T) {
	t.Parallel()
	rules := guardOf(t, "/shelves/*/books", "/shelves/*/books/{id}")
	for _, tt := range []struct {
		line   string
		fields []string
		values Values
		needs  []string
		want   string
	}{
		{"POST /shelves/1/books", []string{"If-None-Match: *"}, Values{"id": "x"}, []string{"id"}, "/shelves/1/books/x (guarded) | /shelves/1/books"},
		{"POST /shelves/1/books", nil, Values{"id": "x"}, []string{"id"}, "/shelves/1/books | /shelves/1/books/x"},
		{"POST /shelves/1/books", nil, nil, []string{"id"}, "/shelves/1/books"},
		{"POST /shelves/1/books/", []string{"If-None-Match: *"}, Values{"id": "A b"}, []string{"id"}, "/shelves/1/books/a b (guarded) | /shelves/1/books"},
		{"PUT /shelves/1/books", []string{"If-Match: *"}, Values{"id": "x"}, nil, "/shelves/1/books"},
		{"GET /shelves/1/books", nil, Values{"id": "x"}, nil, "/shelves/1/books"},
		{"POST /shelves/1", []string{"If-Match: *"}, Values{"id": "x"}, nil, "/shelves/1"},
	} {
		r := requestOf(tt.line, tt.fields...)
		if got := rules.Needs(r); !slices.Equal(got, tt.needs) {
			t.Errorf("%s needs %q, want %q", tt.line, got, tt.needs)
		}
		if got := text(rules.PlanFor(r, rules.Namer.Own(r), tt.values)); got != tt.want {
			t.Errorf("%s %q %v: %q, want %q", tt.line, tt.fields, tt.values, got, tt.want)
		}
	}
}

// The path of what is guarded is as a client would expand the template.
func TestGuardedTarget(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"x": "/b/x/c", "a b": "/b/a%20b/c", "a;b,c": "/b/a%3Bb%2Cc/c", "ä?#+": "/b/%C3%A4%3F%23%2B/c"} {
		rules := guardOf(t, "/b", "/b/{id}/c")
		r := requestOf("POST /b", "If-None-Match: *")
		if got := rules.PlanFor(r, rules.Namer.Own(r), Values{"id": value}).Subject.CurrentTarget; got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// Only whole segments of what is guarded are variables, with the names of members.
func TestParseGuard(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"/b/{a b}", "/b/x{id}", "/b/{}", "/b/{id", "/b/*/{id}", "b/{id}", "/b/{id}?x", "/b/{id}/**"} {
		if rule, err := ParseGuard("/b", to); err == nil {
			t.Errorf("%s: %+v", to, rule)
		}
	}
	if _, err := ParseGuard("/b/{id}", "/b/{id}"); err == nil {
		t.Error("a variable in the path of the write")
	}
}
