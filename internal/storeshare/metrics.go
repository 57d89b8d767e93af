package storeshare

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// evicts is the metric that says whether a store may evict keys.
var evicts = prometheus.NewDesc(
	"caddy_preconditions_store_evicts",
	"Whether a store of this kind may evict keys, claims included (1) or not (0). Absent if the store doesn't tell.",
	[]string{"store"}, nil,
)

// storeMetrics collects what the open stores tell about themselves.
type storeMetrics struct{}

// Describe implements prometheus.Collector.
func (storeMetrics) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- evicts }

// Collect implements prometheus.Collector. Of several stores of one kind, the worst counts:
// their keys don't go into a label.
func (storeMetrics) Collect(metrics chan<- prometheus.Metric) {
	shares, leave := AllOpen()
	defer leave()
	worst := make(map[string]float64)
	for _, share := range shares {
		e, ok := share.opened.(interface{ Evicts() (evicts, known bool) })
		if !ok {
			continue
		}
		if evicting, known := e.Evicts(); known && evicting {
			worst[share.Kind] = 1
		} else if known {
			worst[share.Kind] += 0
		}
	}
	for kind, value := range worst {
		metrics <- prometheus.MustNewConstMetric(evicts, prometheus.GaugeValue, value, kind)
	}
}

// RegisterMetrics registers the metrics of the stores with the registry of a config, unless
// another handler of the config has done so.
func RegisterMetrics(registry *prometheus.Registry) error {
	err := registry.Register(storeMetrics{})
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); again {
		return nil
	}
	return err
}
