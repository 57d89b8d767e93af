package caddytest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// Counted returns how many requests had an outcome in a mode, according to the
// site with the metrics.
func Counted(t testing.TB, metrics, outcome, mode string) int {
	t.Helper()
	name := fmt.Sprintf("caddy_preconditions_requests_total{mode=%q,outcome=%q} ", mode, outcome)
	for line := range strings.Lines(Send(t, "GET", metrics, "").Expect(t, 200).Content) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no counter %s", name)
	panic("unreachable")
}

// WithMetrics returns a Caddyfile with two sites, one with the given directives and
// one with the metrics, and their URLs. All Caddys of a process count together.
func WithMetrics(t testing.TB, directives string) (sites, url, metrics string) {
	one, two := Address(t), Address(t)
	sites = fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\nmetrics\n}\n", one, directives, two)
	return sites, "http://" + one, "http://" + two
}
