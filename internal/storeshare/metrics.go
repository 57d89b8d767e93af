package storeshare

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// What the metrics say about the stores of one kind.
var (
	evicts = storeMetric("evicts",
		"Whether a store of this kind may evict keys, claims included (1) or not (0). Absent if the store doesn't tell.")
	up = storeMetric("up",
		"Whether the last operation reached all stores of this kind (1) or not (0).")
	graceUntil = storeMetric("grace_until_timestamp_seconds",
		"When the last grace of a store of this kind ends or ended, in seconds since 1970. 0 if this node has heard of none.")
	generations = storeMetric("generations_total",
		"How often this node has heard that a store of this kind begins anew, because it may have lost data.")
	unheard = storeMetric("journal_resources",
		"Resources that this node wrote without the store, which hasn't heard of it.")
)

func storeMetric(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_preconditions_store_"+name, help, []string{"store"}, nil)
}

// storeMetrics collects what the open stores tell about themselves, and what this process
// knows of them.
type storeMetrics struct{}

// Describe implements prometheus.Collector.
func (storeMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{evicts, up, graceUntil, generations, unheard} {
		descriptions <- d
	}
}

// ofKind is what is known of the stores of one kind.
type ofKind struct {
	evicts, told bool
	down         bool
	until        time.Time // the end of the last grace
	generations  int
	journaled    int64
}

// Collect implements prometheus.Collector. Of several stores of one kind, the worst counts:
// their keys don't go into a label.
func (storeMetrics) Collect(metrics chan<- prometheus.Metric) {
	shares, leave := AllOpen()
	defer leave()
	kinds := make(map[string]ofKind)
	for _, share := range shares {
		k := kinds[share.Kind]
		if e, ok := share.opened.(interface{ Evicts() (evicts, known bool) }); ok {
			evicting, known := e.Evicts()
			k.evicts, k.told = k.evicts || known && evicting, k.told || known
		}
		k.down = k.down || share.reach.last.Load() != noTrouble
		until, begun := share.Losses.last()
		if until.After(k.until) {
			k.until = until
		}
		k.generations += begun
		k.journaled += share.journal.due.Load()
		kinds[share.Kind] = k
	}
	for kind, k := range kinds {
		send := func(d *prometheus.Desc, t prometheus.ValueType, value float64) {
			metrics <- prometheus.MustNewConstMetric(d, t, value, kind)
		}
		if k.told {
			send(evicts, prometheus.GaugeValue, oneIf(k.evicts))
		}
		send(up, prometheus.GaugeValue, oneIf(!k.down))
		var until float64
		if !k.until.IsZero() {
			until = float64(k.until.UnixMilli()) / 1000
		}
		send(graceUntil, prometheus.GaugeValue, until)
		send(generations, prometheus.CounterValue, float64(k.generations))
		send(unheard, prometheus.GaugeValue, float64(k.journaled))
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// RegisterMetrics registers the metrics of the stores with the registry of a config, unless
// another handler of the config has done so.
func RegisterMetrics(registry *prometheus.Registry) error {
	return telemetry.RegisterOnce(registry, storeMetrics{})
}
