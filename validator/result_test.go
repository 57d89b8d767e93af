package validator

import (
	"fmt"
	"testing"
)

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	check := func(v fmt.Stringer, want bool) {
		t.Helper()
		name := v.String()
		if (name != "") != want || want && seen[name] {
			t.Errorf("%T: the name %q is missing, used twice or unexpected", v, name)
		}
		seen[name] = true
	}
	for v := range Unverifiable + 1 {
		check(v, true)
	}
	for r := range ReadsOnly + 1 {
		check(r, true)
	}
	for f := range If + 1 {
		check(f, f != None)
	}
	check(Unverifiable+1, false)
	check(ReadsOnly+1, false)
	check(If+1, false)
}
