package proxyhooks

import (
	"slices"
	"strings"
	"testing"
)

// TestLinks covers the grammar of Link (RFC 8288, section 3) and its parser
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
		{"case of name and type", []string{`</a>; REL="InValidates"`}, []string{"/a"}},
		{"several types", []string{"</a>; rel=\"up  invalidates next\""}, []string{"/a"}},
		{"other types", []string{`</a>; rel="up", </b>; rel=xinvalidates, </c>; rel="not-invalidates"`}, nil},
		{"no type", []string{`</a>, </b>; rel, </c>; rel=`}, nil},
		{"several links", []string{`</a>; rel=invalidates, </b>;rel="invalidates",,</c>;rel=up`}, []string{"/a", "/b"}},
		{"several lines", []string{`</a>; rel=invalidates`, `</b>; rel=invalidates`}, []string{"/a", "/b"}},
		{"no spaces", []string{`</a>;rel=invalidates,</b>;rel=invalidates`}, []string{"/a", "/b"}},
		{"spaces where they are bad", []string{"\t <a>\t; rel =\t\"invalidates\" , <b> ;rel= invalidates\t"}, []string{"a", "b"}},
		{"comma and semicolon in the target", []string{`</a,b;c>; rel=invalidates`}, []string{"/a,b;c"}},
		{"comma and escapes in a title", []string{`</a>; title="a, \"b\"; rel=up \\"; rel=invalidates`}, []string{"/a"}},
		{"escapes in the type", []string{`</a>; rel="in\validates"`}, []string{"/a"}},
		{"the first rel counts (3.3)", []string{`</a>; rel=up; rel=invalidates, </b>; rel=invalidates; rel=up`}, []string{"/b"}},
		{"an anchor (3.2)", []string{`</a>; anchor="/x"; rel=invalidates, </b>; rel=invalidates`}, []string{"/b"}},
		{"other parameters", []string{`</a>; x; y=1; z*=UTF-8''e; rel=invalidates; w="1"`}, []string{"/a"}},
		{"empty parameters", []string{`</a>;; ;rel=invalidates;`}, []string{"/a"}},
		{"empty target", []string{`<>; rel=invalidates`}, []string{""}},
		{"waste after a parameter", []string{`</a>; rel="invalidates" waste, </b>; rel=invalidates`}, []string{"/a", "/b"}},
		{"a string that doesn't end", []string{`</a>; rel="invalidates, </b>; rel=invalidates`}, nil},
		{"a target that doesn't end", []string{`</a>; rel=invalidates, </b; rel=invalidates`}, []string{"/a"}},
		{"no target", []string{`rel=invalidates, </b>; rel=invalidates`, `</c>; rel=invalidates`}, []string{"/c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Links(tt.lines, "invalidates"); !slices.Equal(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.lines, got, tt.want)
			}
		})
	}
}

// FuzzLinks: any line is read to its end, the targets are pieces of it, and a link
// that is put before it is found.
func FuzzLinks(f *testing.F) {
	for _, line := range []string{``, `</a>; rel=invalidates`, `<a>;rel="x\"",<b>;REL = invalidates`, `</a`, `<>;;=,="`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		targets := Links([]string{line}, "invalidates")
		for _, target := range targets {
			if !strings.Contains(line, "<"+target+">") {
				t.Errorf("%q is no target in %q", target, line)
			}
		}
		got := Links([]string{`</first>; rel="up invalidates", ` + line}, "Invalidates")
		if want := append([]string{"/first"}, targets...); !slices.Equal(got, want) {
			t.Errorf("after another link, %q has the targets %q, want %q", line, got, want)
		}
	})
}
