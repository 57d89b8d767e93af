package resource

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	long := "h/" + strings.Repeat("x", maxKey)
	tests := []struct {
		pattern string
		matches []string
		not     []string
	}{
		{"h/a", []string{"h/a"}, []string{"h/", "h/ab", "h/a/b", "h/b", ""}},
		{"h/*", []string{"h/", "h/a", "h/abc"}, []string{"h", "h/a/b", "g/a"}},
		{"h/a/*", []string{"h/a/b", "h/a/"}, []string{"h/a", "h/a/b/c", "h/ab"}},
		{"h/a/**", []string{"h/a", "h/a/", "h/a/b", "h/a/b/c"}, []string{"h/ab", "h/", "h"}},
		{"h/a**", []string{"h/a", "h/ab", "h/a/b"}, []string{"h/b", "h/"}},
		{"h/**", []string{"h/", "h", "h/a", "h/a/b"}, []string{"h2/a", ""}},
		{"**", []string{"", "h/", "h/a"}, nil},
		{"*", []string{"", "h"}, []string{"h/", "/"}},
		{"*/docs/**", []string{"h/docs", "h/docs/a", "/docs"}, []string{"h/x/docs/a", "h/doc"}},
		{"h/*/b", []string{"h/a/b", "h//b"}, []string{"h/a/c", "h/a/a/b", "h/b"}},
		{"h/*.json", []string{"h/a.json", "h/.json", "h/a.json.json"}, []string{"h/a.jsonx", "h/a/b.json", "h/json"}},
		{"h/a*b*c", []string{"h/abc", "h/a-b-c", "h/abbcc", "h/abcbc"}, []string{"h/ab", "h/acb", "h/ab/c"}},
		{"h/*/x*y", []string{"h/a/xy", "h/b/x-xy"}, []string{"h/xy", "h/a/x/y"}},
		{"h/a/**/c", []string{"h/a", "h/a/b", "h/a/c"}, []string{"h/b", "h/ab"}}, // what follows doesn't count
		{"h/x*", []string{"h/x", shorten(long + "/y")}, nil},
		{long + "/y*", []string{shorten(long + "/y1"), shorten(long + "/z")}, []string{"h/x"}},
	}
	for _, tt := range tests {
		for _, key := range tt.matches {
			if !PatternMatches(tt.pattern, key, true) || !strings.HasPrefix(key, PatternPrefix(tt.pattern)) {
				t.Errorf("%s doesn't match %s", tt.pattern, key)
			}
			for n := range key {
				if !PatternMatches(tt.pattern, key[:n], false) {
					t.Errorf("%s doesn't match a key that begins with %s", tt.pattern, key[:n])
				}
			}
		}
		for _, key := range tt.not {
			if PatternMatches(tt.pattern, key, true) {
				t.Errorf("%s matches %s", tt.pattern, key)
			}
		}
	}
}

// A key of which only the beginning is known matches if it could match as a whole.
func TestPatternsOfTruncatedKeys(t *testing.T) {
	for _, tt := range []struct {
		pattern, head string
		want          bool
	}{
		{"h/docs/*", "h/do", true},
		{"h/docs/*", "h/docs/a", true},
		{"h/docs/*", "h/docs/a/b", false},
		{"h/docs/a", "h/docs/b", false},
		{"h/docs/**", "g", false},
		{"h/a", "h/a", true},
		{"h/a", "h/ab", false},
	} {
		if got := PatternMatches(tt.pattern, tt.head, false); got != tt.want {
			t.Errorf("%s matches %s…: %v", tt.pattern, tt.head, got)
		}
	}
}

// The time that a pattern takes doesn't explode.
func TestPatternOfManyAsterisks(t *testing.T) {
	if PatternMatches(strings.Repeat("*a", 100)+"b", strings.Repeat("a", maxKey), true) {
		t.Error("it matches")
	}
}
