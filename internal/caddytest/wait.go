package caddytest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// DurationFromEnv returns the number of units that an environment variable says, or
// the default.
func DurationFromEnv(t testing.TB, name string, unit, byDefault time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return time.Duration(n) * unit
}

// Eventually waits until ok reports true, because of something that happens in the
// background.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
