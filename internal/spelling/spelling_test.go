package spelling

import "testing"

// The nearest word is found whatever the slip: a letter too many, too few, a wrong one, two
// exchanged, or the wrong case. A word that is like none stays without a suggestion.
func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"verify", "lease", "lag", "mode", "store_down", "unconditional"}
	for word, want := range map[string]string{
		"vrify": "verify", "verifyy": "verify", "verifi": "verify", "veirfy": "verify", "VERIFY": "verify",
		"leese": "lease", "lga": "lag", "stor_down": "store_down", "unconditionel": "unconditional",
		"": "", "x": "", "profile": "", "colour": "", "observe": "",
	} {
		if got := Nearest(word, words...); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

// Of two words that are as near, the first one counts.
func TestNearestOfTwo(t *testing.T) {
	t.Parallel()
	if got := Nearest("bat", "cat", "hat"); got != "cat" {
		t.Errorf("got %q", got)
	}
}

// Whatever the letters, a word is nearest to itself.
func FuzzNearest(f *testing.F) {
	f.Add("verify", "verifi")
	f.Fuzz(func(t *testing.T, a, b string) {
		if distance(a, a) != 0 || distance(a, b) != distance(b, a) || distance(a, b) > max(len(a), len(b)) {
			t.Errorf("%q and %q: %d", a, b, distance(a, b))
		}
	})
}

// A message names the words that are possible, and the one that may have been meant.
func TestCheck(t *testing.T) {
	t.Parallel()
	if err := Check("report", "enforce", "report"); err != nil {
		t.Error(err)
	}
	for word, want := range map[string]string{
		"reprot": `must be enforce or report, not "reprot" (did you mean report?)`,
		"x":      `must be enforce or report, not "x"`,
	} {
		if err := Check(word, "enforce", "report"); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", word, err)
		}
	}
}
