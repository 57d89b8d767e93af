package preconditions

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// requestsTotal counts requests by what became of them. It belongs to the
// process, and each config registers it with its own registry, so that the
// count survives reloads.
var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "preconditions",
	Name:      "requests_total",
	Help:      "Requests by what became of them. In mode report, what would have become of them.",
}, []string{"outcome", "mode"})

// unstableTotal counts the resources that are never the same.
var unstableTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "preconditions",
	Name:      "unstable_resources_total",
	Help:      "Resources of which every read shows another content though nobody writes them.",
})

func init() {
	for _, mode := range []string{modeEnforce, modeReport} {
		for _, o := range outcomes {
			requestsTotal.WithLabelValues(string(o), mode)
		}
	}
}

// registerMetrics registers the collectors with a config's registry. Several
// handlers of one config share them.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{requestsTotal, unstableTotal} {
		err := registry.Register(c)
		if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !ok {
			return err
		}
	}
	return nil
}

func countUnstable() { unstableTotal.Inc() }

func countOutcome(o outcome, mode string) {
	requestsTotal.WithLabelValues(string(o), mode).Inc()
}
