package validator

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConditionsFrom(t *testing.T) {
	for _, tc := range []struct {
		name                       string
		h                          http.Header
		empty, guardsWrite, exists bool
	}{
		{"nothing", http.Header{}, true, false, false},
		{"nil", nil, true, false, false},
		{"other fields", http.Header{"If-Range": {`"a"`}, "If": {"(<urn:x>)"}}, true, false, false},
		{"tag", http.Header{"If-Match": {`"a"`}}, false, true, true},
		{"empty value", http.Header{"If-Match": {""}}, false, true, true},
		{"no value", http.Header{"If-Match": {}}, false, true, true},
		{"nil value", http.Header{"If-Match": nil}, false, true, true},
		{"If-None-Match", http.Header{"If-None-Match": {"*"}}, false, true, false},
		{"If-Unmodified-Since", http.Header{"If-Unmodified-Since": {""}}, false, true, false},
		{"If-Modified-Since", http.Header{"If-Modified-Since": {""}}, false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ConditionsFrom(tc.h)
			if c.Empty() != tc.empty || c.GuardsWrite() != tc.guardsWrite || (c.IfMatch != nil) != tc.exists {
				t.Errorf("%v: %+v, empty %v, guards write %v", tc.h, c, c.Empty(), c.GuardsWrite())
			}
			if !slices.Equal(c.IfMatch, tc.h["If-Match"]) {
				t.Errorf("If-Match = %q, want %q", c.IfMatch, tc.h["If-Match"])
			}
		})
	}
}

func TestConditionsFromDoesNotAllocate(t *testing.T) {
	h := http.Header{"If-Match": {`"a"`, `"b"`}, "If-None-Match": nil, "If-Modified-Since": {""}, "If-Unmodified-Since": {""}}
	if n := testing.AllocsPerRun(10, func() { ConditionsFrom(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sizeTests = []struct {
	name string
	c    Conditions
	ok   bool
}{
	{"nothing", Conditions{}, true},
	{"maximum number of tags", Conditions{IfMatch: []string{strings.Repeat(`"a",`, MaxTags)}}, true},
	{"too many tags", Conditions{IfMatch: []string{strings.Repeat(`"a",`, MaxTags+1)}}, false},
	{"too many tags in two fields", Conditions{
		IfMatch:     []string{strings.Repeat(`"a",`, MaxTags)},
		IfNoneMatch: []string{`"a"`},
	}, false},
	{"too many tags on many lines", Conditions{IfMatch: slices.Repeat([]string{`"a"`}, MaxTags+1)}, false},
	{"too many malformed members", Conditions{IfNoneMatch: []string{strings.Repeat("a,", MaxTags+1)}}, false},
	{"too many wildcards", Conditions{IfNoneMatch: slices.Repeat([]string{"*"}, MaxTags+1)}, false},
	{"maximum length of a tag", Conditions{IfMatch: []string{`"` + strings.Repeat("a", MaxBytes-2) + `"`}}, true},
	{"too long a tag", Conditions{IfMatch: []string{`"` + strings.Repeat("a", MaxBytes-1) + `"`}}, false},
	{"too long a date", Conditions{IfModifiedSince: []string{strings.Repeat("a", MaxBytes+1)}}, false},
	{"fields too long together", Conditions{
		IfUnmodifiedSince: []string{strings.Repeat("a", MaxBytes)},
		IfModifiedSince:   []string{"a"},
	}, false},
	{"too long with the separators of lines", Conditions{IfMatch: []string{strings.Repeat(",", MaxBytes-1), ""}}, false},
	{"empty elements are not members", Conditions{IfMatch: []string{strings.Repeat(",", MaxBytes)}}, true},
	{"too many empty elements", Conditions{IfMatch: []string{strings.Repeat(",", 1<<20)}}, false},
	{"maximum number of empty lines", Conditions{IfMatch: make([]string, MaxBytes/2+1)}, true},
	{"too many empty lines", Conditions{IfMatch: make([]string, 1<<20)}, false},
}

func TestCheckSize(t *testing.T) {
	for _, tc := range sizeTests {
		t.Run(tc.name+" 5.6.1.2", func(t *testing.T) {
			if err := tc.c.CheckSize(); errors.Is(err, ErrTooLarge) == tc.ok || (err == nil) != tc.ok {
				t.Errorf("CheckSize() = %v", err)
			}
			if n := testing.AllocsPerRun(1, func() { _ = tc.c.CheckSize() }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkCheckSize(b *testing.B) {
	for _, tc := range sizeTests {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = tc.c.CheckSize()
			}
		})
	}
}

// A condition by date counts only if the field is exactly one HTTP-date (RFC 9110, sections
// 13.1.3 and 13.1.4).
func TestHasDate(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, tt := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{date}, true},
		{[]string{" " + date + "\t"}, true},
		{[]string{"Sunday, 06-Nov-94 08:49:37 GMT"}, true},
		{[]string{date, date}, false},
		{[]string{date + ", " + date}, false},
		{[]string{"1994-11-06T08:49:37Z"}, false},
	} {
		c := Conditions{IfModifiedSince: tt.lines, IfUnmodifiedSince: tt.lines}
		for _, field := range []Field{IfModifiedSince, IfUnmodifiedSince} {
			if got := c.HasDate(field, time.Now()); got != tt.want || !slices.Equal(c.Lines(field), tt.lines) {
				t.Errorf("%s: %q: %v, want %v", field, tt.lines, got, tt.want)
			}
		}
		if c.HasDate(IfMatch, time.Now()) || c.Lines(None) != nil {
			t.Error("a field that is absent has a date")
		}
	}
}
