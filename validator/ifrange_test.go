package validator

import (
	"testing"
	"time"
)

// RFC 9110, section 13.1.5.
func TestIfRange(t *testing.T) {
	date := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	strong := Representation{State: Present, ETag: ETag{Opaque: "a", Valid: true}, LastModified: date}
	weak := Representation{State: Present, ETag: ETag{Opaque: "a", Weak: true, Valid: true}, LastModified: date, WeakDate: true}
	none := Representation{State: Present}
	coded := Representation{State: Present, ETag: ETag{Opaque: "a-gzip", Valid: true}}
	const imf = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, test := range []struct {
		name    string
		lines   []string
		current Representation
		want    bool
	}{
		{"no field", nil, strong, true},
		{"no field and nothing known", nil, Representation{}, true},
		{"the current tag", []string{`"a"`}, strong, true},
		{"white space around it", []string{" \t\"a\" "}, strong, true},
		{"a different tag", []string{`"b"`}, strong, false},
		{"a weak tag", []string{`W/"a"`}, strong, false},
		{"weak tags", []string{`W/"a"`}, weak, false},
		{"the current tag is weak", []string{`"a"`}, weak, false},
		{"no current tag", []string{`"a"`}, none, false},
		{"a list", []string{`"a", "b"`}, strong, false},
		{"a list of one", []string{`"a",`}, strong, false},
		{"two lines", []string{`"a"`, `"a"`}, strong, false},
		{"no lines", []string{}, strong, false},
		{"empty", []string{""}, strong, false},
		{"*", []string{"*"}, strong, false},
		{"unquoted", []string{"a"}, strong, false},
		{"the tag of a compressed representation", []string{`"a-gzip"`}, strong, false},
		{"a current tag that ends like a mark", []string{`"a-gzip"`}, coded, true},
		{"such a tag without its ending", []string{`"a"`}, coded, false},
		{"the date", []string{imf}, strong, true},
		{"the date in an old format", []string{"Sunday, 06-Nov-94 08:49:37 GMT"}, strong, true},
		{"an earlier date", []string{"Sun, 06 Nov 1994 08:49:36 GMT"}, strong, false},
		{"a later date", []string{"Sun, 06 Nov 1994 08:49:38 GMT"}, strong, false},
		{"a date that isn't strong (8.8.2.2)", []string{imf}, weak, false},
		{"no current date", []string{imf}, none, false},
		{"two dates", []string{imf, imf}, strong, false},
		{"a list of a tag and a date", []string{`"a", ` + imf}, strong, false},
		{"absent", []string{`"a"`}, Representation{State: Absent}, false},
		{"unknown", []string{`"a"`}, Representation{ETag: strong.ETag}, false},
	} {
		if got := IfRange(test.lines, test.current, now); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
