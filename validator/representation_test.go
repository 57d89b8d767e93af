package validator

import (
	"strings"
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

// The backend's own tag takes no part in what a state is: servers that share their
// content may each have a tag of their own for it.
func TestObservedEqual(t *testing.T) {
	a := Observed{Representation: representations["strong"]}
	for name, tt := range map[string]struct {
		differ                 func(*Observed)
		equal, state, validate bool
	}{
		"nothing":         {func(*Observed) {}, true, true, true},
		"backend's tag":   {func(o *Observed) { o.Backend = ETag{Opaque: "b", Weak: true, Valid: true} }, false, true, true},
		"weakness":        {func(o *Observed) { o.WeakDate = !o.WeakDate }, false, false, true},
		"whose tag it is": {func(o *Observed) { o.Own = true }, false, false, false},
		"tag":             {func(o *Observed) { o.ETag.Opaque += "x" }, false, false, false},
		"state":           {func(o *Observed) { o.State = Absent }, false, false, false},
	} {
		b := a
		tt.differ(&b)
		if a.Equal(b) != tt.equal || a.SameState(b) != tt.state || a.SameValidators(b) != tt.validate {
			t.Errorf("%s: %v, %v, %v", name, a.Equal(b), a.SameState(b), a.SameValidators(b))
		}
		if same := a.Identity() == b.Identity(); name == "backend's tag" && !same {
			t.Errorf("%s: a different identity", name)
		}
	}
}

func TestStateString(t *testing.T) {
	for s, want := range map[State]string{Unknown: "unknown", Absent: "absent", Present: "present", Present + 1: "unknown"} {
		if got := s.String(); got != want {
			t.Errorf("%d: %q, want %q", s, got, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	tagged := func(tag string, own bool) Observed {
		etag, _ := ParseETag(tag)
		return Observed{Own: own, Representation: Representation{State: Present, ETag: etag}}
	}
	dated := func(o Observed, seconds int64) Observed {
		o.LastModified = time.Unix(seconds, 0)
		return o
	}
	present := Observed{Representation: Representation{State: Present}}
	absent := Observed{Representation: Representation{State: Absent}}
	weak := dated(present, 1763769600)
	weak.WeakDate = true
	local := dated(present, 1763769600)
	local.LastModified = local.LastModified.In(time.FixedZone("CET", 3600)).Add(time.Millisecond)

	// The states of a line have the same identity, and those of two lines don't.
	identities := make(map[string]int)
	for i, same := range [][]Observed{
		{tagged(`"1"`, true), tagged(`"1"`, false), tagged(`W/"1"`, true), dated(tagged(`"1"`, true), 1763769600)},
		{tagged(`"2"`, true), dated(tagged(`"2"`, false), 1763769600)},
		{tagged(`""`, true), tagged(`W/""`, false)},
		{tagged(`"W/1"`, true)},
		{tagged(`"1763769600"`, true)},
		{dated(present, 1763769600), weak, local},
		{dated(present, 1763769601)},
		{dated(present, 0)},
		{dated(present, -1)},
		{absent, {Own: true, Representation: Representation{State: Absent}}, dated(absent, 1763769600)},
	} {
		for _, o := range same {
			identity := o.Identity()
			if line, ok := identities[identity]; ok && line != i {
				t.Errorf("lines %d and %d have the same identity %q", line, i, identity)
			} else if !ok && len(identities) > i {
				t.Errorf("line %d: %+v has the identity %q, which the others don't have", i, o, identity)
			}
			identities[identity] = i
			if identity == "" || len(identity) > 16 || strings.ContainsFunc(identity, func(c rune) bool { return c <= ' ' || c > '~' || c == ';' }) {
				t.Errorf("%+v has the identity %q", o, identity)
			}
		}
	}
	for _, o := range []Observed{
		{},
		present,
		{Representation: Representation{ETag: ETag{Opaque: "1", Valid: true}}}, // the state is unknown
		{Representation: Representation{State: Present, ETag: ETag{Opaque: "1"}}},
	} {
		if identity := o.Identity(); identity != "" {
			t.Errorf("%+v has the identity %q", o, identity)
		}
	}
	// Stores keep identities, so they must stay the same.
	for want, o := range map[string]Observed{
		"t52dc44c27cc6c05": tagged(`"1"`, true), "d9ed86411f308250": dated(present, 1763769600), "absent": absent,
	} {
		if got := o.Identity(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
