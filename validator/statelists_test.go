package validator

import (
	"errors"
	"strings"
	"testing"
)

func TestParseStateLists(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, line, want string }{
		{"10.4.6 an untagged list", `(<urn:a> ["I am an ETag"])`, "malformed"}, // a tag has no spaces
		{"10.4.6 several untagged lists", `(<urn:a> ["x"]) (["y"])`, `(<urn:a> ["x"]) (["y"])`},
		{"10.4.7 Not", `(Not <urn:a> <urn:b>)`, `(Not <urn:a> <urn:b>)`},
		{"10.4.8 DAV:no-lock", `(<urn:a>) (Not <DAV:no-lock>)`, `(<urn:a>) (Not <DAV:no-lock>)`},
		{"10.4.9 tagged lists", `</r1> (<urn:a> [W/"x"]) (["y"]) <http://h/r2> (["z"])`, `</r1>(<urn:a> [W/"x"]) </r1>(["y"]) <http://h/r2>(["z"])`},
		{"white space is optional", `(not["x"]<urn:a>)(<urn:b>)`, `(Not ["x"] <urn:a>) (<urn:b>)`},
		{"a tag with brackets and parentheses", `(["a])b"])`, `(["a])b"])`},
		{"an empty tag", `([""])`, `([""])`},
		{"the kinds of lists can't be mixed", `(<urn:a>) </r> (<urn:b>)`, "malformed"},
		{"a resource without a list", `</r>`, "malformed"},
		{"two resources in a row", `</r> </s> (<urn:a>)`, "malformed"},
		{"an empty list", `()`, "malformed"},
		{"an open list", `(<urn:a>`, "malformed"},
		{"an open tag", `(["x)`, "malformed"},
		{"a tag without quotes", `([x])`, "malformed"},
		{"a tag after something", `([x"y"])`, "malformed"},
		{"no white space within brackets", `([ "x" ])`, "malformed"},
		{"no white space within a token", `(<urn: a>)`, "malformed"},
		{"an empty token", `(<>)`, "malformed"},
		{"Not twice", `(Not Not <urn:a>)`, "malformed"},
		{"Not alone", `(Not)`, "malformed"},
		{"a comma", `(<urn:a>), (<urn:b>)`, "malformed"},
		{"nothing", ``, "malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := ParseStateLists(tc.line)
			got := "malformed"
			if err == nil {
				got = written(s)
			}
			if got != tc.want {
				t.Errorf("%s is %s (%v), want %s", tc.line, got, err, tc.want)
			}
		})
	}
}

// written returns the lists as text, in one spelling.
func written(s *StateLists) string {
	var all []string
	for _, l := range s.Lists {
		var conditions []string
		for _, c := range l.Conditions {
			conditions = append(conditions, c.String())
		}
		text := "(" + strings.Join(conditions, " ") + ")"
		if l.Resource != "" {
			text = "<" + l.Resource + ">" + text
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestStateListsAreBounded(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		strings.Repeat(`(["x"])`, MaxTags+1),
		"(" + strings.Repeat(`<a:b>`, MaxTags+1) + ")",
		"(<a:" + strings.Repeat("x", MaxBytes) + ">)",
	} {
		if _, err := ParseStateLists(line); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%.20s…: %v", line, err)
		}
	}
}

func TestEvaluateStateLists(t *testing.T) {
	t.Parallel()
	present := Representation{State: Present, ETag: ETag{Opaque: "x", Valid: true}}
	weak := Representation{State: Present, ETag: ETag{Opaque: "x", Weak: true, Valid: true}}
	absent, unknown := Representation{State: Absent}, Representation{}
	for _, tc := range []struct {
		name, line string
		r          Representation
		want       Verdict
	}{
		{"10.4.3 all conditions of a list", `(["x"] ["y"])`, present, False},
		{"10.4.3 any of the lists", `(["y"]) (["x"])`, present, True},
		{"10.4.7 Not is about one condition", `(Not ["y"] ["x"])`, present, True},
		{"10.4.7 Not of the current tag", `(Not ["x"])`, present, False},
		{"10.4.5 an unmapped URL has no state", `(["x"])`, absent, False},
		{"10.4.5 and so Not holds", `(Not ["x"])`, absent, True},
		{"a mark that was added on the way", `(["x-gzip"])`, present, True},
		{"a weak tag proves nothing", `([W/"x"])`, present, False},
		{"a weak current tag proves nothing", `(["x"])`, weak, False},
		{"Not compares weakly", `(Not [W/"x"])`, present, False},
		{"nothing is known", `(["x"])`, unknown, Unverifiable},
		{"nothing is known of one list", `(<urn:a>) (["x"])`, unknown, Unverifiable},
		{"a token is for the backend", `(<urn:a> ["x"])`, present, True},
		{"a token doesn't make a false tag true", `(<urn:a> ["y"])`, present, False},
		{"a list of tokens may be true", `(["y"]) (<urn:a>)`, present, True},
		{"no tags", `(<urn:a>)`, present, Unconditional},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := ParseStateLists(tc.line)
			if err != nil {
				t.Fatal(err)
			}
			if res := Evaluate("PUT", Conditions{If: s}, tc.r, now); res.Verdict != tc.want || (res.Field == If) != (tc.want != Unconditional) {
				t.Errorf("%s is %s, want %s", tc.line, describe(res), tc.want)
			}
		})
	}
}

func TestIfIsEvaluatedAfterTheOthers(t *testing.T) {
	t.Parallel()
	present := Representation{State: Present, ETag: ETag{Opaque: "x", Valid: true}}
	s, _ := ParseStateLists(`(["y"])`)
	for field, c := range map[Field]Conditions{
		IfMatch: {IfMatch: []string{`"z"`}, If: s},
		If:      {IfMatch: []string{`"x"`}, If: s},
	} {
		if res := Evaluate("PUT", c, present, now); res.Verdict != False || res.Field != field {
			t.Errorf("%s decided: %s, want %s", res.Field, res.Verdict, field)
		}
	}
}

func TestStateListsWithoutTags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, line, want string }{
		{"a true tag is dropped", `(<urn:a> ["x"])`, `(<urn:a>)`},
		{"a false tag makes a list that can't hold", `(<urn:a> ["y"]) (<urn:b> ["x"])`, `(<urn:a> <DAV:no-lock>) (<urn:b>)`},
		{"a list isn't left empty", `(<urn:a> ["x"]) (Not <DAV:no-lock> ["y"]) (["x"])`, `(<urn:a>) (Not <DAV:no-lock> <DAV:no-lock>) (Not <DAV:no-lock>)`},
		{"a false list without tokens is dropped", `(["y"]) (<urn:a>)`, `(<urn:a>)`},
		{"nothing is left without tokens", `(["y"]) (["x"])`, ``},
		{"tagged lists keep their resources", `</r> (<urn:a> ["x"]) </s> (<urn:b>)`, `</r> (<urn:a>) </s> (<urn:b>)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := ParseStateLists(tc.line)
			if err != nil {
				t.Fatal(err)
			}
			got := s.WithoutTags(func(l StateList) bool {
				return !strings.Contains(written(&StateLists{Lists: []StateList{l}}), `"y"`)
			})
			if got != tc.want {
				t.Errorf("%s becomes %s, want %s", tc.line, got, tc.want)
			}
		})
	}
}

func TestStateListsThatRequireNothing(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`(<urn:a>)`: true, `(Not ["x"])`: true, `(Not <urn:a>)`: false, `(<urn:a>) (Not <DAV:no-lock>)`: false, `(<urn:a> Not <urn:b>)`: true,
	} {
		if s, err := ParseStateLists(line); err != nil || s.Requires() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// FuzzStateLists checks that a backend which has never seen the tags comes to the same result,
// whichever of the tokens match.
func FuzzStateLists(f *testing.F) {
	for _, seed := range []string{`(<urn:a> ["x"]) (Not <urn:b> ["y"])`, `</r> (["x"]) </s> (Not [W/"x"] <urn:a>)`, `(Not <DAV:no-lock>)`, `(["y"]`} {
		f.Add(seed, uint8(1))
	}
	present := Representation{State: Present, ETag: ETag{Opaque: "x", Valid: true}}
	f.Fuzz(func(t *testing.T, line string, matching uint8) {
		s, err := ParseStateLists(line)
		if err != nil {
			return
		}
		token := func(uri string) bool {
			return uri != noLock && matching>>(uri[len(uri)-1]%8)&1 == 1
		}
		tags := func(l StateList) bool { return l.EvaluateTags(WeakTags{}, present).Verdict == True }
		rest := s.WithoutTags(tags)
		if rest == "" {
			return // nothing but tags, which are evaluated here
		}
		sent, err := ParseStateLists(rest)
		if err != nil || sent.HasTags() {
			t.Fatalf("%q becomes %q: %v", line, rest, err)
		}
		if holdsWith(s, token, tags) != holdsWith(sent, token, tags) {
			t.Errorf("%q becomes %q, which means something else", line, rest)
		}
	})
}

// holdsWith evaluates all of the lists.
func holdsWith(s *StateLists, token func(string) bool, tags func(StateList) bool) bool {
	for _, l := range s.Lists {
		holds := tags(l)
		for _, c := range l.Conditions {
			holds = holds && (c.Tag != "" || token(c.Token) != c.Not)
		}
		if holds {
			return true
		}
	}
	return false
}
