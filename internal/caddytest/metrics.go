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
	return int(Metric(t, metrics, "caddy_preconditions_requests_total", "mode", mode, "outcome", outcome))
}

// Metric returns the sum of a metric over all its series with these labels: names and values
// by turns. There must be one.
func Metric(t testing.TB, metrics, name string, labels ...string) float64 {
	t.Helper()
	sum, found := FindMetric(t, metrics, name, labels...)
	if !found {
		t.Fatalf("there is no metric %s %q", name, labels)
	}
	return sum
}

// FindMetric is like Metric, but reports whether there is such a series.
func FindMetric(t testing.TB, metrics, name string, labels ...string) (sum float64, found bool) {
	t.Helper()
	for line := range strings.Lines(Send(t, "GET", metrics, "").Expect(t, 200).Content) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.Contains(line, "{") {
			series, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if series != name && !strings.HasPrefix(series, name+"{") || !hasLabels(series, labels) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		found, sum = true, sum+n
	}
	return sum, found
}

func hasLabels(series string, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if !strings.Contains(series, fmt.Sprintf("%s=%q", labels[i], labels[i+1])) {
			return false
		}
	}
	return true
}

// WithMetrics returns a Caddyfile with two sites, one with the given directives and
// one with the metrics, and their URLs. All Caddys of a process count together.
func WithMetrics(t testing.TB, directives string) (sites, url, metrics string) {
	one, two := Address(t), Address(t)
	sites = fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\nmetrics\n}\n", one, directives, two)
	return sites, "http://" + one, "http://" + two
}
