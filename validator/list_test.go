package validator

import (
	"slices"
	"strings"
	"testing"
)

// A listMember is a member of a list and its offset.
type listMember struct {
	text   string
	offset int
}

var listTests = []struct {
	name  string
	lines []string
	want  []listMember
}{
	{"no line", []string{}, nil},
	{"empty line", []string{""}, nil},
	{"white space", []string{" \t "}, nil},
	{"empty elements", []string{", ,\t,", ","}, nil},
	{"one", []string{`"a"`}, []listMember{{`"a"`, 0}}},
	{"several", []string{`"a", W/"b","c"`}, []listMember{{`"a"`, 0}, {`W/"b"`, 5}, {`"c"`, 11}}},
	{"white space around", []string{"\t\"a\" \t,\t \"b\" "}, []listMember{{`"a"`, 1}, {`"b"`, 9}}},
	{"empty elements between", []string{`,"a",, ,"b",`}, []listMember{{`"a"`, 1}, {`"b"`, 8}}},
	{"comma inside quotes", []string{`"a,b", "c"`}, []listMember{{`"a,b"`, 0}, {`"c"`, 7}}},
	{"backslash escapes nothing", []string{`"a\", "b"`}, []listMember{{`"a\"`, 0}, {`"b"`, 6}}},
	{"several lines", []string{`"a"`, `"b", "c"`, `"d"`}, []listMember{{`"a"`, 0}, {`"b"`, 5}, {`"c"`, 10}, {`"d"`, 15}}},
	{"empty line between", []string{`"a"`, ``, `"b"`}, []listMember{{`"a"`, 0}, {`"b"`, 7}}},
	{"unquoted", []string{`a, "b"`}, []listMember{{`a`, 0}, {`"b"`, 3}}},
	{"missing comma", []string{`"a" "b", "c"`}, []listMember{{`"a" "b"`, 0}, {`"c"`, 9}}},
	{"tag inside a word", []string{`x"a", "b"`}, []listMember{{`x"a"`, 0}, {`"b"`, 6}}},
	{"tag inside quotes", []string{`"x, "b", y"`}, []listMember{{`"x, "b", y"`, 0}}},
	{"quote not closed", []string{`"a", "b, "c"`}, []listMember{{`"a"`, 0}, {`"b, "c"`, 5}}},
	{"quote not closed takes its line only", []string{`"a, `, `"b"`}, []listMember{{`"a,`, 0}, {`"b"`, 6}}},
	{"quote not closed in a word", []string{`x"y, "a"`}, []listMember{{`x"y, "a"`, 0}}},
	{"wildcard among others", []string{`*, "a"`, `*`}, []listMember{{`*`, 0}, {`"a"`, 3}, {`*`, 8}}},
}

func members(lines []string) (all []listMember) {
	l := list{lines: lines}
	for text, offset, ok := l.next(); ok; text, offset, ok = l.next() {
		all = append(all, listMember{text, offset})
	}
	return all
}

func TestList(t *testing.T) {
	for _, tc := range listTests {
		t.Run(tc.name+" 5.6.1", func(t *testing.T) {
			if got := members(tc.lines); !slices.Equal(got, tc.want) {
				t.Errorf("%q:\n got %v\nwant %v", tc.lines, got, tc.want)
			}
		})
	}
}

func TestIsWildcard(t *testing.T) {
	for value, want := range map[string]bool{
		"*": true, " *\t": true, "": false, "**": false, "*,": false, ",*": false, "* *": false, `"*"`: false, "*\n*": false, "\n*": false,
	} {
		if got := IsWildcard(strings.Split(value, "\n")); got != want {
			t.Errorf("13.1.1: %q: %v", value, got)
		}
	}
}

// membersByHand parses a list in the most obvious way: it blanks out what is inside
// quotes, splits at the remaining commas, and trims.
func membersByHand(lines []string) (all []listMember) {
	before := 0
	for _, line := range lines {
		outside := strings.Split(line, `"`)
		for i := 1; i < len(outside); i += 2 {
			outside[i] = strings.Repeat("x", len(outside[i]))
		}
		offset := 0
		for element := range strings.SplitSeq(strings.Join(outside, `"`), ",") {
			text := line[offset : offset+len(element)]
			if trimmed := strings.Trim(text, " \t"); trimmed != "" {
				start := offset + len(text) - len(strings.TrimLeft(text, " \t"))
				all = append(all, listMember{trimmed, before + start})
			}
			offset += len(element) + 1
		}
		before += len(line) + 2
	}
	return all
}

func FuzzList(f *testing.F) {
	for _, tc := range listTests {
		f.Add(strings.Join(tc.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		got := members(lines)
		if want := membersByHand(lines); !slices.Equal(got, want) {
			t.Fatalf("%q:\n got %v\nwant %v", lines, got, want)
		}
		joined := strings.Join(lines, ", ")
		for _, m := range got {
			if !strings.HasPrefix(joined[m.offset:], m.text) {
				t.Errorf("%q isn't at %d of %q", m.text, m.offset, joined)
			}
		}
		checkSplit(t, lines, got)
	})
}

// checkSplit checks that a list means the same on any number of lines (5.3), if
// every quote is closed on its line.
func checkSplit(t *testing.T, lines []string, all []listMember) {
	t.Helper()
	for _, line := range lines {
		if strings.Count(line, `"`)%2 != 0 {
			return
		}
	}
	joined := []string{strings.Join(lines, ", ")}
	if got := members(joined); !slices.Equal(got, all) {
		t.Errorf("%q:\n got %v\nwant %v", joined, got, all)
	}
	if IsWildcard(joined) != IsWildcard(lines) {
		t.Errorf("%q is a wildcard on one line or on %d, but not on both", joined, len(lines))
	}
	split := make([]string, len(all))
	for i, m := range all {
		split[i] = m.text
	}
	for _, method := range []string{"GET", "PUT"} {
		r := representations["strong"]
		one := Evaluate(method, Conditions{IfMatch: []string{strings.Join(split, ", ")}}, r, now)
		many := Evaluate(method, Conditions{IfMatch: split}, r, now)
		if one != many && len(split) > 0 {
			t.Errorf("If-Match %q: %s on one line, %s on many", split, describe(one), describe(many))
		}
	}
}
