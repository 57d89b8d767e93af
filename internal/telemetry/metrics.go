package telemetry

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

const (
	namespace = "caddy"
	subsystem = "preconditions"
)

// Everything that is counted belongs to the process, and each config registers it with its own
// registry, so counts survive reloads.
var (
	requests = counters("requests_total",
		"Requests by outcome. In mode report, the outcome that they would have had.",
		"handler", "outcome", "reason", "method", "mode")
	lostUpdates = counters("lost_updates_prevented_total",
		"Writes refused because they would have replaced a state that their client hadn't seen.",
		"handler")
	claimsLost = counter("claims_lost_total",
		"Claims and passes of writes that were lost before the write was over.")
	unstable = counter("unstable_resources_total",
		"Resources whose content differs on every read although nobody writes them.")
	nearCacheHits = counter("near_cache_hits_total",
		"Writes that needed no read of the store, because this node remembered what the store had said.")

	eventsDropped = counter("events_dropped_total",
		"Events that were dropped because their subscribers are too slow.")

	added = histograms("added_seconds",
		"How long requests took in the handler and its store, without the time of the backend.",
		// From 16 µs to 17 s.
		prometheus.ExponentialBuckets(16e-6, 4, 11), "method")
	waits = histograms("wait_seconds",
		"How long writes waited: for their turn on this node (queue), for a write in flight (claim), or for the end of a grace.",
		prometheus.ExponentialBuckets(1e-3, 4, 9), "for")
	probes = histograms("probe_seconds",
		"How long the origin took to answer requests that the handler made itself, by what the answer told.",
		prometheus.ExponentialBuckets(1e-3, 4, 9), "result")
	operations = histograms("store_operation_seconds",
		"How long operations of the store took.",
		prometheus.ExponentialBuckets(16e-6, 4, 9), "store", "operation")
	storeErrors = counters("store_errors_total",
		"Operations of the store that failed. That a write must wait, or has lost a race, is no failure.",
		"store", "operation")

	buffered = gauge("buffered_bytes",
		"Bytes of request and response content that are held in memory.", proxyhooks.HeldBytes)
	spooled = gauge("spooled_bytes",
		"Bytes of request and response content that are held in temporary files.", proxyhooks.SpooledBytes)
	tagsDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "tags_total"),
		"Entity tags that were made, by source.", []string{"source"}, nil)
)

// tags collects how many tags were made.
type tags struct{}

// Describe implements prometheus.Collector.
func (tags) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- tagsDesc }

// Collect implements prometheus.Collector.
func (tags) Collect(metrics chan<- prometheus.Metric) {
	for kind, n := range proxyhooks.TagsMade() {
		metrics <- prometheus.MustNewConstMetric(tagsDesc, prometheus.CounterValue, float64(n), string(kind))
	}
}

// Register registers the metrics with the registry of a config, unless another handler of the
// config has done so.
func Register(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{
		requests, lostUpdates, claimsLost, unstable, nearCacheHits, eventsDropped, added, waits, probes, operations, storeErrors, buffered, spooled, tags{},
	} {
		if err := RegisterOnce(registry, c); err != nil {
			return err
		}
	}
	return nil
}

// RegisterOnce registers a collector, unless another handler of the config has done so.
func RegisterOnce(registry *prometheus.Registry, c prometheus.Collector) error {
	err := registry.Register(c)
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); again {
		return nil
	}
	return err
}

// CountUnstable counts an unstable resource.
func CountUnstable() { unstable.Inc() }

// CountNearCacheHit counts a write that went by what this node remembered.
func CountNearCacheHit() { nearCacheHits.Inc() }

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
	}, labels)
}

func gauge(name, help string, value func() int64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help},
		func() float64 { return float64(value()) })
}

// resolved returns the histograms of a vector for each of the values of its label, since looking
// one up costs more than observing.
func resolved[T ~string](of *prometheus.HistogramVec, values ...T) map[T]prometheus.Observer {
	all := make(map[T]prometheus.Observer, len(values))
	for _, v := range values {
		all[v] = of.WithLabelValues(string(v))
	}
	return all
}

var (
	addedBy  = resolved(added, Read, Write, Other)
	waitsFor = resolved(waits, ForTurn, ForWrite, ForGrace)
	probesBy = resolved(probes, ProbeKnown, ProbeUnknown, ProbeCached, ProbeFailed)
)

// since observes the time since begun.
func since(begun time.Time, in prometheus.Observer) { in.Observe(time.Since(begun).Seconds()) }
