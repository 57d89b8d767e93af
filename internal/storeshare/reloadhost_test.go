package storeshare

import (
	"errors"
	"testing"
)

func beginAt(t *testing.T, n *naming, h host) *Write {
	t.Helper()
	w, err := tryBeginAt(n, h)
	if err != nil {
		t.Fatalf("a write under %s to the host %d: %v", n.text, h, err)
	}
	return w
}

func refusedAt(t *testing.T, n *naming, h host, want error) {
	t.Helper()
	if _, err := tryBeginAt(n, h); !errors.Is(err, want) {
		t.Errorf("a write under %s to the host %d: got %v, want %v", n.text, h, err, want)
	}
}

// Writes to one host under different namings exclude each other if a reload has changed
// the namings at all. Then other handlers can't hide that it has renamed the resources
// of the host. Writes to other hosts go by the numbers of handlers.
func TestHostBesideOthers(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after []string
		old, new      string // of two writes
		exclusive     bool   // if they are to one host
	}{
		{"another handler with the old naming is added", []string{"a"}, []string{"b", "a"}, "a", "b", true},
		{"another handler with the new naming is removed", []string{"a", "b"}, []string{"b"}, "a", "b", true},
		{"any handler is added", []string{"a", "b"}, []string{"a", "b", "c"}, "a", "b", true},
		{"the naming is kept", []string{"a"}, []string{"b", "a"}, "a", "a", false},
		{"the reload changes no naming", []string{"a", "b"}, []string{"b", "a"}, "a", "b", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			one := load(r, nil, tt.before...)
			first := beginAt(t, one.at(tt.old), 1)
			two := load(r, one, tt.after...)
			one.end()
			beginAt(t, two.at(tt.new), 2).End()
			beginAt(t, one.at(tt.old), 3).End()
			if !tt.exclusive {
				beginAt(t, two.at(tt.new), 1).End()
				beginAt(t, one.at(tt.old), 1).End()
				return
			}
			refusedAt(t, two.at(tt.new), 1, ErrOlderWrites)
			refusedAt(t, one.at(tt.old), 1, ErrReplacedConfig)
			first.End()
			beginAt(t, two.at(tt.new), 1).End()
			refusedAt(t, one.at(tt.old), 1, ErrReplacedConfig)
			beginAt(t, one.at(tt.old), 3).End()
		})
	}
}

// forgotten returns how often a write to a host makes the store forget.
func forgotten(t *testing.T, n *naming, h host) (times int) {
	t.Helper()
	w, err := n.begin(t.Context(), h, func() error { times++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	w.End()
	return times
}

// The store forgets what it knows of a host before the first write under another naming
// than before, once the older writes have ended. A write to another host doesn't make up
// for that while they are in flight.
func TestHostIsForgotten(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	beginAt(t, one.at("a"), 1).End()
	first := beginAt(t, one.at("a"), 2)
	two := load(r, one, "b", "a")
	one.end()
	if got := forgotten(t, two.at("b"), 3); got != 0 {
		t.Errorf("forgot %d times before a write to a new host", got)
	}
	if got := forgotten(t, two.at("b"), 1); got != 1 {
		t.Errorf("forgot %d times before the first write, want once", got)
	}
	if got := forgotten(t, two.at("b"), 1); got != 0 {
		t.Errorf("forgot %d times before the second write", got)
	}
	first.End()
	if got := forgotten(t, two.at("b"), 2); got != 1 {
		t.Errorf("forgot %d times after the older write, want once", got)
	}
	if !two.at("b").calm.Load() {
		t.Error("writes take longer than before the reload")
	}
	three := load(r, two, "a", "b")
	two.end()
	for _, h := range []host{1, 2, 3} {
		if got := forgotten(t, three.at("b"), h); got != 0 {
			t.Errorf("forgot %d times after a reload that changes no naming", got)
		}
	}
}

// A late write of an older config makes the store forget once more.
func TestLateWriteIsForgotten(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	beginAt(t, one.at("a"), 1).End()
	two := load(r, one, "b", "a")
	one.end()
	if got := forgotten(t, two.at("b"), 1); got != 1 {
		t.Fatalf("forgot %d times, want once", got)
	}
	one.at("a").count(2).End()
	if got := forgotten(t, two.at("b"), 2); got != 1 {
		t.Errorf("forgot %d times after a late write, want once", got)
	}
}

// A config in which nobody wrote leaves to the next one what it should have made the
// store forget.
func TestForgettingIsInherited(t *testing.T) {
	for _, namings := range [][]string{{"b"}, {"b", "a"}} {
		r := newRegistry()
		one := load(r, nil, "a")
		beginAt(t, one.at("a"), 1).End()
		two := load(r, one, namings...)
		one.end()
		three := load(r, two, namings...)
		two.end()
		if got := forgotten(t, three.at("b"), 1); got != 1 {
			t.Errorf("%v: forgot %d times, want once", namings, got)
		}
	}
}

// What a config wrote that failed to load then is forgotten.
func TestFailedConfigWroteToHost(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	beginAt(t, one.at("a"), 1).End()
	failed := load(r, one, "b", "a")
	beginAt(t, failed.at("b"), 1).End()
	failed.end()
	if got := forgotten(t, one.at("a"), 1); got != 1 {
		t.Errorf("forgot %d times, want once", got)
	}
	if !one.at("a").calm.Load() {
		t.Error("writes take longer than before")
	}
}
