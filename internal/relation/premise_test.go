package relation

import (
	"slices"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// A write takes a claim on what its premises are about, and leaves that as it is unless it changes
// it for another reason. The claim on the target is enough for a premise about that.
func TestPremises(t *testing.T) {
	t.Parallel()
	rules := rulesOf(t, "affects /a /listed")
	r := requestOf("PUT /a", "X-None: x")
	for _, key := range []string{"/source", "/listed", "/a", "/source"} {
		r.Premises = append(r.Premises, resource.Premise{Subject: resource.Subject{Key: key}})
	}
	p := rules.Plan(r, rules.Namer.Own(r))
	if want := []Other{{"/listed", ExclusiveLock}, {"/source", Unchanging}}; !slices.Equal(p.Others, want) {
		t.Errorf("others %v, want %v", p.Others, want)
	}
	if want := []string{"/a", "/listed"}; !slices.Equal(p.ChangedKeys(), want) {
		t.Errorf("changes %v, want %v", p.ChangedKeys(), want)
	}
}
