package relation

import (
	"slices"
	"strings"
	"testing"
)

// A `*` stands for one segment, and what it matched carries over in order. All
// spellings that share a key match.
func TestRule(t *testing.T) {
	for _, tt := range []struct {
		rule string
		path string
		want string // or "-" if the rule isn't for the path
	}{
		{"/items/* /items", "/items/7", "/items"},
		{"/items/* /items", "/items/7/", "/items"},
		{"/items/* /items", "//Items/./7", "/items"},
		{"/items/* /items", "/items", "-"},
		{"/items/* /items", "/items/7/parts", "-"},
		{"/orders/*/ship /orders/*", "/orders/789/ship", "/orders/789"},
		{"/orders/*/ship /orders/*", "/orders/789/bill", "-"},
		{"/*/x/* /*/y/* /*", "/a/x/b", "/a/y/b /a"},
		{"/slugs/* / /a", "/slugs/s", "/ /a"},
		{"/ /index", "/", "/index"},
		{"/items/* /items", `/items\7;v=1`, "/items"},
		{"/items/*/a /items/*", "/items/Seven/A.", "/items/Seven"},
		{"/items/* /items", "/items/index.html", "-"},
		{"/folders/*/* /folders/*/** /recent", "/folders/7/archive", "/folders/7/** /recent"},
		{"/import /**", "/import", "//**"},
	} {
		words := strings.Fields(tt.rule)
		rule, err := ParseRule(words[0], words[1:]...)
		if err != nil {
			t.Fatalf("%s: %v", tt.rule, err)
		}
		targets := rule.followPath(tt.path, nil)
		ok := len(targets) > 0
		var to []string
		for _, target := range targets {
			if target.tree {
				target.path += wholeTree
			}
			to = append(to, target.path)
		}
		if want := strings.Fields(tt.want); ok != (tt.want != "-") || ok && !slices.Equal(to, want) {
			t.Errorf("%s: %s leads to %q, %v, want %s", tt.rule, tt.path, to, ok, tt.want)
		}
	}
	for _, rule := range []string{"items /a", "/items a", "/items", "/it*ms /a", "/items/** /a", "/items /a/*", "/a/* /b/*/*", "/a?b /c", "/a /**/b", "/a /b**", "/a /b/***", "/a /*/**", "/a b/**", "/a%20b/* /c", "/a /%62"} {
		words := strings.Fields(rule)
		if _, err := ParseRule(words[0], words[1:]...); err == nil {
			t.Errorf("%s: no error", rule)
		}
	}
}
