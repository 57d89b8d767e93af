package resource

import (
	"slices"
	"strings"
	"testing"
)

// Every known write method can require a condition, and none is taken for a slip.
func TestCheckRequired(t *testing.T) {
	t.Parallel()
	if err := CheckRequired(knownWrites); err != nil {
		t.Error(err)
	}
	if err := CheckRequired([]string{"FROBNICATE", "M-FOO", "MY_OWN", "LOCKALL"}); err != nil {
		t.Errorf("a method of somebody's own is refused: %v", err)
	}
	for method, says := range map[string]string{
		"PTU": "mean PUT?", "PUTT": "mean PUT?", "PATHC": "mean PATCH?", "DELET": "mean DELETE?", "MKCOLL": "mean MKCOL?",
		"put": "write PUT", "Put": "write PUT", "get": "not a write method", "PROPFIND": "not a write method",
		"": "separated by spaces", "PUT/PATCH": "separated by spaces", "P\u00dcT": "separated by spaces",
	} {
		if err := CheckRequired([]string{method}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want one that says %q", method, err, says)
		}
	}
}

// Methods that nobody has registered are named.
func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	if got := UnknownMethods([]string{"PUT", "FROBNICATE", "MKCOL", "ZAP"}); !slices.Equal(got, []string{"FROBNICATE", "ZAP"}) {
		t.Errorf("got %q", got)
	}
}
