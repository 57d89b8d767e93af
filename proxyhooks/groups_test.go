package proxyhooks

import (
	"slices"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"
)

// TestParseGroups: the value is a List of Strings (RFC 9875, section 2; RFC 9651,
// section 3.1).
func TestParseGroups(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"empty", []string{""}, nil},
		{"one", []string{`"a"`}, []string{"a"}},
		{"several are sorted", []string{`"b", "a",	"c"`}, []string{"a", "b", "c"}},
		{"several lines", []string{`"b"`, `"a"`}, []string{"a", "b"}},
		{"duplicates", []string{`"a", "a"`}, []string{"a"}},
		{"names are case-sensitive", []string{`"a", "A"`}, []string{"A", "a"}},
		{"parameters", []string{`"a";x=1, "b";y;z="c"`}, []string{"a", "b"}},
		{"escapes and separators", []string{`"a\"b\\c", "d, e; f=g"`}, []string{`a"b\c`, "d, e; f=g"}},
		{"the empty string", []string{`""`}, []string{""}},
		{"a token", []string{`"a", b`}, nil},
		{"a number", []string{`1`}, nil},
		{"an inner list", []string{`"a", ("b")`}, nil},
		{"a display string", []string{`%"a"`}, nil},
		{"an unterminated string", []string{`"a`}, nil},
		{"a trailing comma", []string{`"a",`}, nil},
		{"not ASCII", []string{`"ä"`}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParseGroups(tt.lines); !slices.Equal(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.lines, got, tt.want)
			}
		})
	}
}

// FuzzParseGroups: groups that were parsed can be written, and then parse as the same
// groups.
func FuzzParseGroups(f *testing.F) {
	for _, line := range []string{``, `"a"`, `"a", "b";x`, `("a")`, `a`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		groups := ParseGroups([]string{line})
		var list httpsfv.List
		for _, name := range groups {
			list = append(list, httpsfv.NewItem(name))
		}
		written, err := httpsfv.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseGroups([]string{written}); !slices.Equal(got, groups) {
			t.Errorf("%q is parsed as %q, and that as %q", line, groups, got)
		}
		if !slices.IsSorted(groups) || strings.Count(line, `"`) < 2*len(groups) {
			t.Errorf("%q is parsed as %q", line, groups)
		}
	})
}
