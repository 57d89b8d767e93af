package proxyhooks

import (
	"slices"
	"strings"
	"testing"
)

// TestLinks: the grammar of Link (RFC 8288, section 3) and its parsing algorithm
// (appendix B.2).
func TestLinks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"empty", []string{""}, nil},
		{"token", []string{`</a>; rel=invalidates`}, []string{"/a"}},
		{"quoted", []string{`</a>; rel="invalidates"`}, []string{"/a"}},
		{"names and relation types are case-insensitive (2.1.1)", []string{`</a>; REL="InValidates"`}, []string{"/a"}},
		{"several types", []string{"</a>; rel=\"up  invalidates next\""}, []string{"/a"}},
		{"other types", []string{`</a>; rel="up", </b>; rel=xinvalidates, </c>; rel="not-invalidates"`}, nil},
		{"no type", []string{`</a>, </b>; rel, </c>; rel=`}, nil},
		{"several links", []string{`</a>; rel=invalidates, </b>;rel="invalidates",,</c>;rel=up`}, []string{"/a", "/b"}},
		{"several lines", []string{`</a>; rel=invalidates`, `</b>; rel=invalidates`}, []string{"/a", "/b"}},
		{"no spaces", []string{`</a>;rel=invalidates,</b>;rel=invalidates`}, []string{"/a", "/b"}},
		{"bad white space", []string{"\t <a>\t; rel =\t\"invalidates\" , <b> ;rel= invalidates\t"}, []string{"a", "b"}},
		{"comma and semicolon in the target", []string{`</a,b;c>; rel=invalidates`}, []string{"/a,b;c"}},
		{"comma and escapes in a title", []string{`</a>; title="a, \"b\"; rel=up \\"; rel=invalidates`}, []string{"/a"}},
		{"escapes in the type", []string{`</a>; rel="in\validates"`}, []string{"/a"}},
		{"the first rel counts (3.3)", []string{`</a>; rel=up; rel=invalidates, </b>; rel=invalidates; rel=up`}, []string{"/b"}},
		{"an anchor (3.2)", []string{`</a>; anchor="/x"; rel=invalidates, </b>; rel=invalidates`}, []string{"/b"}},
		{"other parameters", []string{`</a>; x; y=1; z*=UTF-8''e; rel=invalidates; w="1"`}, []string{"/a"}},
		{"empty parameters", []string{`</a>;; ;rel=invalidates;`}, []string{"/a"}},
		{"empty target", []string{`<>; rel=invalidates`}, []string{""}},
		{"garbage after a parameter", []string{`</a>; rel="invalidates" garbage, </b>; rel=invalidates`}, []string{"/a", "/b"}},
		{"an unterminated string", []string{`</a>; rel="invalidates, </b>; rel=invalidates`}, nil},
		{"an unterminated target", []string{`</a>; rel=invalidates, </b; rel=invalidates`}, []string{"/a"}},
		{"no target", []string{`rel=invalidates, </b>; rel=invalidates`, `</c>; rel=invalidates`}, []string{"/c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Links(tt.lines, "invalidates"); !slices.Equal(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.lines, got, tt.want)
			}
		})
	}
}

// FuzzLinks: every target stands in the line between angle brackets, and a link that is
// put before the line is found in addition.
func FuzzLinks(f *testing.F) {
	for _, line := range []string{``, `</a>; rel=invalidates`, `<a>;rel="x\"",<b>;REL = invalidates`, `</a`, `<>;;=,="`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		targets := Links([]string{line}, "invalidates")
		for _, target := range targets {
			if !strings.Contains(line, "<"+target+">") {
				t.Errorf("%q is not a target in %q", target, line)
			}
		}
		got := Links([]string{`</first>; rel="up invalidates", ` + line}, "Invalidates")
		if want := append([]string{"/first"}, targets...); !slices.Equal(got, want) {
			t.Errorf("after another link, %q has the targets %q, want %q", line, got, want)
		}
	})
}
