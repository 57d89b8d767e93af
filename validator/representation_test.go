package validator

import (
	"testing"
	"time"
)

func TestRepresentationEqual(t *testing.T) {
	for a, x := range representations {
		for b, y := range representations {
			if x.Equal(y) != (a == b) {
				t.Errorf("%s and %s: Equal = %v", a, b, x.Equal(y))
			}
		}
	}
	local := representations["strong"]
	local.LastModified = local.LastModified.In(time.FixedZone("CET", 3600))
	if !local.Equal(representations["strong"]) {
		t.Error("the same instant in a different zone is not equal")
	}
}

func TestStateString(t *testing.T) {
	for s, want := range map[State]string{Unknown: "unknown", Absent: "absent", Present: "present", Present + 1: "unknown"} {
		if got := s.String(); got != want {
			t.Errorf("%d: %q, want %q", s, got, want)
		}
	}
}
