package answer

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// requestsTotal counts requests by outcome. It belongs to the process, and each
// config registers it with its own registry, so the count survives reloads.
var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "preconditions",
	Name:      "requests_total",
	Help:      "Requests by outcome. In mode report, the outcome that they would have had.",
}, []string{"outcome", "mode"})

// unstableTotal counts the resources whose content differs on every read.
var unstableTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "preconditions",
	Name:      "unstable_resources_total",
	Help:      "Resources whose content differs on every read although nobody writes them.",
})

// bufferedBytes shows how much content is held in memory.
var bufferedBytes = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
	Namespace: "caddy",
	Subsystem: "preconditions",
	Name:      "buffered_bytes",
	Help:      "Bytes of request and response content that are held in memory.",
}, func() float64 { return float64(proxyhooks.HeldBytes()) })

// counters are the counters of requestsTotal. Looking one up by its labels costs more.
var counters = make(map[counted]prometheus.Counter)

// counted is what a counter of requestsTotal counts.
type counted struct {
	outcome Outcome
	mode    Mode
}

func init() {
	for _, mode := range []Mode{Enforce, ReportOnly} {
		for _, o := range outcomes {
			counters[counted{o, mode}] = requestsTotal.WithLabelValues(string(o), string(mode))
		}
	}
}

// RegisterMetrics registers the collectors with the registry of a config, unless
// another handler of the config has done so.
func RegisterMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{requestsTotal, unstableTotal, bufferedBytes} {
		err := registry.Register(c)
		if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !ok {
			return err
		}
	}
	return nil
}

// CountUnstable counts an unstable resource.
func CountUnstable() { unstableTotal.Inc() }
