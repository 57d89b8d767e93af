package validator

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/evaluations.txt
var evaluationsText string

var (
	now          = time.Date(2025, time.November, 22, 0, 0, 0, 0, time.UTC)
	lastModified = time.Date(2025, time.November, 3, 12, 0, 0, 0, time.UTC)

	representations = map[string]Representation{
		"unknown": {},
		"absent":  {State: Absent},
		"bare":    {State: Present},
		"tagged":  {State: Present, ETag: strong("a")},
		"dated":   {State: Present, LastModified: lastModified},
		"strong":  {State: Present, ETag: strong("a"), LastModified: lastModified},
		"weak":    {State: Present, ETag: weak("a"), LastModified: lastModified, WeakDate: true},
	}
	methods = map[string][]string{
		"read":  {"GET", "HEAD"},
		"write": {"PUT", "PATCH", "DELETE", "POST", "get", "X-UNKNOWN"},
	}
)

func strong(opaque string) ETag { return ETag{Opaque: opaque, Valid: true} }
func weak(opaque string) ETag   { return ETag{Opaque: opaque, Weak: true, Valid: true} }

// An evaluation is a case of testdata/evaluations.txt.
type evaluation struct {
	title      string
	conditions Conditions
	want       map[[2]string]string // by the keys of methods and representations
}

// evaluations reads the cases that tests and benchmarks share.
func evaluations(tb testing.TB) []evaluation {
	tb.Helper()
	var cases []evaluation
	for n, line := range strings.Split(evaluationsText, "\n") {
		if title, ok := strings.CutPrefix(line, "== "); ok {
			cases = append(cases, evaluation{title: title, want: map[[2]string]string{}})
		} else if line != "" && !strings.HasPrefix(line, "#") {
			if err := cases[len(cases)-1].addLine(line); err != nil {
				tb.Fatalf("testdata/evaluations.txt:%d: %v", n+1, err)
			}
		}
	}
	combinations := len(methods) * len(representations)
	for _, c := range cases {
		if len(c.want) != combinations {
			tb.Fatalf("%s: %d outcomes, want %d", c.title, len(c.want), combinations)
		}
	}
	if len(cases) < 60 {
		tb.Fatalf("only %d cases", len(cases))
	}
	return cases
}

func (e *evaluation) addLine(line string) error {
	columns := strings.Split(line, " | ")
	if len(columns) == 3 {
		return e.addOutcome(strings.TrimSpace(columns[0]), strings.Fields(columns[1]), columns[2])
	}
	name, value, _ := strings.Cut(line, ":")
	if name == "Weak" {
		e.conditions.Weak = WeakTags{Listed: value == " listed", Current: value == " current"}
		return nil
	}
	lines := e.conditions.field(name)
	if lines == nil {
		return fmt.Errorf("unknown field %q", name)
	}
	*lines = append(*lines, strings.TrimPrefix(value, " "))
	return nil
}

func (e *evaluation) addOutcome(class string, states []string, want string) error {
	for m := range methods {
		if class != m && class != "any" {
			continue
		}
		for s := range representations {
			key := [2]string{m, s}
			named := slices.Contains(states, s)
			if e.want[key] != "" && named {
				return fmt.Errorf("%v is named twice", key)
			}
			if named || states[0] == "..." && e.want[key] == "" {
				e.want[key] = want
			}
		}
	}
	return nil
}

func (c *Conditions) field(name string) *[]string {
	switch name {
	case "If-Match":
		return &c.IfMatch
	case "If-None-Match":
		return &c.IfNoneMatch
	case "If-Modified-Since":
		return &c.IfModifiedSince
	case "If-Unmodified-Since":
		return &c.IfUnmodifiedSince
	}
	return nil
}

// describe formats a result as in testdata/evaluations.txt.
func describe(r Result) string {
	var b strings.Builder
	b.WriteString(r.Verdict.String())
	if r.Field != None {
		fmt.Fprintf(&b, " by %v", r.Field)
	}
	if r.Reason == Malformed || r.Reason == WildcardInList {
		fmt.Fprintf(&b, " (%v at %d)", r.Reason, r.Offset)
	} else {
		fmt.Fprintf(&b, " (%v)", r.Reason)
	}
	if r.Matched.Valid {
		fmt.Fprintf(&b, " %v", r.Matched)
	}
	for i, sep := IfMatch, ", ignored "; i <= IfModifiedSince; i++ {
		if r.Ignored.Has(i) {
			fmt.Fprintf(&b, "%s%v", sep, i)
			sep = " "
		}
	}
	return b.String()
}

func TestEvaluate(t *testing.T) {
	for _, tc := range evaluations(t) {
		t.Run(tc.title, func(t *testing.T) {
			for key, want := range tc.want {
				for _, method := range methods[key[0]] {
					got := describe(Evaluate(method, tc.conditions, representations[key[1]], now))
					if got != want {
						t.Errorf("%s of %s:\n got %s\nwant %s", method, key[1], got, want)
					}
				}
			}
		})
	}
}

// Validators count only if the representation is present, whatever the caller left
// in the other fields.
func TestEvaluateValidatorsOfNothing(t *testing.T) {
	for _, tc := range evaluations(t) {
		for _, state := range []State{Unknown, Absent} {
			for _, method := range []string{"GET", "PUT"} {
				r := representations["strong"]
				r.State = state
				got := Evaluate(method, tc.conditions, r, now)
				want := Evaluate(method, tc.conditions, Representation{State: state}, now)
				if got != want {
					t.Errorf("%s: %s of %v: got %s, want %s", tc.title, method, state, describe(got), describe(want))
				}
			}
		}
	}
}

// Fractions of a second don't count, because HTTP-dates have none (5.6.7).
func TestEvaluateFractionOfSecond(t *testing.T) {
	date := []string{FormatDate(lastModified)}
	r := Representation{State: Present, LastModified: lastModified.Add(999 * time.Millisecond)}
	if got := Evaluate("GET", Conditions{IfModifiedSince: date}, r, now); got.Verdict != NotModified {
		t.Errorf("If-Modified-Since: %s", describe(got))
	}
	if got := Evaluate("PUT", Conditions{IfUnmodifiedSince: date}, r, now); got.Verdict != True {
		t.Errorf("If-Unmodified-Since: %s", describe(got))
	}
}

// White space around a field value is not part of it (5.5).
func TestEvaluateWhiteSpace(t *testing.T) {
	for name, value := range map[string]string{"If-Match": `"a"`, "If-None-Match": "*", "If-Modified-Since": FormatDate(now), "If-Unmodified-Since": FormatDate(now)} {
		var bare, padded Conditions
		*bare.field(name) = []string{value}
		*padded.field(name) = []string{"\t " + value + " \t"}
		got, want := Evaluate("GET", padded, representations["strong"], now), Evaluate("GET", bare, representations["strong"], now)
		if got != want || got.Verdict == Unconditional {
			t.Errorf("%s: got %s, want %s", name, describe(got), describe(want))
		}
	}
}

func TestEvaluateDoesNotAllocate(t *testing.T) {
	for _, tc := range evaluations(t) {
		for name, r := range representations {
			for _, method := range []string{"GET", "PUT"} {
				if n := testing.AllocsPerRun(10, func() { Evaluate(method, tc.conditions, r, now) }); n != 0 {
					t.Errorf("%s: %s of %s: %v allocations", tc.title, method, name, n)
				}
			}
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	cases := evaluations(b)
	for _, method := range []string{"GET", "PUT"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				Evaluate(method, cases[i%len(cases)].conditions, representations["strong"], now)
			}
		})
	}
	b.Run("largest", func(b *testing.B) {
		c := Conditions{IfMatch: []string{strings.Repeat(`"0123456789abcdef", `, MaxTags)}}
		if err := c.CheckSize(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.SetBytes(int64(len(c.IfMatch[0])))
		for b.Loop() {
			Evaluate("PUT", c, representations["strong"], now)
		}
	})
}

// The tag of a backend may itself end in the name of a coding. A server in front that
// compresses responses removes that from an If-None-Match. The client still has the
// current content, and the result names the backend's tag.
func TestIfNoneMatchOfOwnCoding(t *testing.T) {
	current := Representation{State: Present, ETag: strong("v1-gzip")}
	for field, want := range map[string]Verdict{
		`"v1"`: NotModified, `"v1-gzip"`: NotModified, `W/"v1"`: NotModified, `"v1-br"`: True, `"v2"`: True, `"v2", "v1"`: NotModified,
	} {
		c := Conditions{IfNoneMatch: []string{field}}
		res := Evaluate("GET", c, current, now)
		if res.Verdict != want || want == NotModified && res.Matched.Opaque != "v1-gzip" {
			t.Errorf("%s: got %+v, want %v", field, res, want)
		}
		if res := Evaluate("PUT", Conditions{IfMatch: []string{`"v1"`}}, current, now); res.Verdict != False {
			t.Errorf("a write with If-Match \"v1\": got %+v", res)
		}
	}
}

// If-None-Match matches the current tag without its coding suffix, which a server in
// front may have removed. It matches no other tag.
func TestStrippedMark(t *testing.T) {
	current := Representation{State: Present, ETag: strong("a-gzip")}
	for listed, want := range map[string]Verdict{
		`"a-gzip"`:                      NotModified,
		`"a"`:                           NotModified,
		`"a-gzip-items0123456789"`:      NotModified,
		`"a-gzip-items0123456789-gzip"`: NotModified,
		`"a-br"`:                        True,
		`"a-items0123456789"`:           True,
		`"a-items0123456789-gzip"`:      True,
	} {
		if got := Evaluate("GET", Conditions{IfNoneMatch: []string{listed}}, current, now); got.Verdict != want {
			t.Errorf("%s: %s", listed, describe(got))
		}
	}
}

// TestUndecided: whether a validator that isn't known could change the result.
func TestUndecided(t *testing.T) {
	date := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	same, later := FormatDate(date), FormatDate(date.Add(time.Second))
	bare := Representation{State: Present}
	dated := Representation{State: Present, LastModified: date}
	weak := Representation{State: Present, ETag: ETag{Opaque: "a", Weak: true, Valid: true}}
	for _, tt := range []struct {
		name string
		c    Conditions
		r    Representation
		want bool
	}{
		{"no condition", Conditions{}, bare, false},
		{"If-Match, no tag", Conditions{IfMatch: []string{`"a"`}}, bare, true},
		{"If-Match, no tag, but a date", Conditions{IfMatch: []string{`"a"`}, IfUnmodifiedSince: []string{same}}, dated, true},
		{"If-Match, weak tag", Conditions{IfMatch: []string{`"a"`}}, weak, false},
		{"If-Match: *", Conditions{IfMatch: []string{"*"}}, bare, false},
		{"If-Match, empty", Conditions{IfMatch: []string{""}}, bare, false},
		{"If-Match with weak tags only", Conditions{IfMatch: []string{`W/"a"`}}, bare, false},
		{"If-Match with weak tags only, which count", Conditions{IfMatch: []string{`W/"a"`}, Weak: WeakTags{Listed: true}}, bare, true},
		{"If-None-Match, no tag", Conditions{IfNoneMatch: []string{`"a"`}}, bare, true},
		{"If-None-Match, weak tag", Conditions{IfNoneMatch: []string{`"a"`}}, weak, false},
		{"If-None-Match: *", Conditions{IfNoneMatch: []string{"*"}}, bare, false},
		{"If-None-Match after a true If-Match", Conditions{IfMatch: []string{"*"}, IfNoneMatch: []string{`"a"`}}, bare, true},
		{"If-None-Match after a false If-Match", Conditions{IfMatch: []string{""}, IfNoneMatch: []string{`"a"`}}, bare, false},
		{"If-Modified-Since, no date", Conditions{IfModifiedSince: []string{same}}, bare, true},
		{"If-Modified-Since, date", Conditions{IfModifiedSince: []string{same}}, dated, false},
		{"If-Modified-Since that isn't a date", Conditions{IfModifiedSince: []string{"x"}}, bare, false},
		{"If-Unmodified-Since, no date", Conditions{IfUnmodifiedSince: []string{same}}, bare, true},
		{"If-Unmodified-Since, date", Conditions{IfUnmodifiedSince: []string{later}}, dated, false},
	} {
		if got := Undecided("HEAD", tt.c, tt.r, time.Now()); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
