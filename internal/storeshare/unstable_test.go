package storeshare

import (
	"fmt"
	"testing"
)

func TestUnstable(t *testing.T) {
	t.Run("a resource is named once, after some changes in a row", func(t *testing.T) {
		u, named := newUnstable(), 0
		note := func(resource, variant string, changed bool) {
			if u.Note(resource, variant, changed) {
				named++
			}
		}
		for i := range 100 {
			note("page", "calm", i%unstableRun != 0)
		}
		if named != 0 {
			t.Fatalf("a resource that stays the same now and then was named %d times", named)
		}
		for range 100 {
			note("page", "a", true)
			note("page", "b", true)
		}
		if named != 1 {
			t.Errorf("named %d times, want once", named)
		}
		for range unstableRun {
			note("page of a different host", "c", true) // the same path, so the same variant
			note("page", "c", false)
		}
		if named != 2 {
			t.Errorf("a resource that changes, beside one that doesn't, was named %d times", named-1)
		}
	})
	t.Run("what is remembered has a limit", func(t *testing.T) {
		u := newUnstable()
		for i := range 10 * maxUnstable {
			for range unstableRun {
				u.Note(fmt.Sprint(i), fmt.Sprint(i), true)
			}
		}
		if u.runs.Len() > maxUnstable || u.named.Len() > maxUnstable {
			t.Errorf("%d runs and %d names are remembered", u.runs.Len(), u.named.Len())
		}
	})
}
