package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-preconditions/preconditions/internal/history"
)

// shownStats is what the handlers of this process have done.
type shownStats struct {
	// Begun is when this process began to count, and Since the time since when lost updates
	// were counted, in whole hours.
	Begun time.Time `json:"begun"`
	Since time.Time `json:"since"`

	Prevented uint64 `json:"lost_updates_prevented"`
	Lost      uint64 `json:"lost_updates"` // in mode report

	// The rest was counted since Begun.
	Requests []shownRequests   `json:"requests"`
	Unstable float64           `json:"unstable_resources"`
	Buffered float64           `json:"buffered_bytes"`
	Handlers []history.Summary `json:"handlers"`
}

type shownRequests struct {
	Mode    string  `json:"mode"`
	Outcome string  `json:"outcome"`
	Count   float64 `json:"count"`
}

func serveStats(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	since, err := timeIn(r, "since")
	if err != nil {
		return err
	}
	stats, err := statsSince(since)
	if err != nil {
		return apiError(http.StatusInternalServerError, err)
	}
	return sendJSON(w, stats)
}

// statsSince returns what was done since a time, or since the process began.
func statsSince(since time.Time) (shownStats, error) {
	oldest := time.Now().Add(-history.Kept)
	for _, bound := range []time.Time{history.Begun, oldest} {
		if since.Before(bound) {
			since = bound
		}
	}
	s := shownStats{Begun: history.Begun.UTC(), Since: since.Truncate(time.Hour).UTC(), Requests: []shownRequests{}}
	if s.Since.Before(s.Begun) {
		s.Since = s.Begun
	}
	s.Handlers = history.Summaries(since)
	for _, h := range s.Handlers {
		s.Prevented += h.Prevented
		s.Lost += h.Lost
	}
	return s, s.readMetrics()
}

// readMetrics takes the numbers that the running config exposes as metrics.
func (s *shownStats) readMetrics() error {
	running := caddy.ActiveContext()
	registry := running.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	for _, family := range families {
		switch name, ours := strings.CutPrefix(family.GetName(), "caddy_preconditions_"); {
		case !ours:
		case name == "requests_total":
			s.addRequests(family.GetMetric())
		case name == "unstable_resources_total":
			s.Unstable = sum(family.GetMetric())
		case name == "buffered_bytes":
			s.Buffered = sum(family.GetMetric())
		}
	}
	return nil
}

// addRequests adds the requests by mode and outcome, whatever other labels there are.
func (s *shownStats) addRequests(metrics []*dto.Metric) {
	counts := make(map[shownRequests]float64)
	for _, m := range metrics {
		var kind shownRequests
		for _, label := range m.GetLabel() {
			switch label.GetName() {
			case "mode":
				kind.Mode = label.GetValue()
			case "outcome":
				kind.Outcome = label.GetValue()
			}
		}
		counts[kind] += m.GetCounter().GetValue()
	}
	for kind, n := range counts {
		if kind.Count = n; n > 0 {
			s.Requests = append(s.Requests, kind)
		}
	}
	slices.SortFunc(s.Requests, func(a, b shownRequests) int {
		return cmp.Or(cmp.Compare(a.Mode, b.Mode), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Outcome, b.Outcome))
	})
}

func sum(metrics []*dto.Metric) (n float64) {
	for _, m := range metrics {
		n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return n
}

// timeIn returns a time in the query of a request: a date and time (RFC 3339), or a duration
// before now. Without one, it returns the zero time.
func timeIn(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := caddy.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	return time.Time{}, apiError(http.StatusBadRequest, errors.New(name+" must be a time such as 2025-11-03T10:03:00Z, or how long ago, such as 90m or 7d"))
}
