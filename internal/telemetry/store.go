package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Operation is an operation of a store, as metrics call it.
type Operation string

// The operations of stores.
const (
	StoreRead          Operation = "read"
	StorePeek          Operation = "peek"
	StoreObserve       Operation = "observe"
	StoreClaim         Operation = "claim"
	StorePass          Operation = "pass"
	StoreRenew         Operation = "renew"
	StoreSettle        Operation = "settle"
	StoreSpend         Operation = "spend"
	StoreInvalidate    Operation = "invalidate"
	StoreInvalidateAll Operation = "invalidate_all"
)

var allOperations = []Operation{
	StoreRead, StorePeek, StoreObserve, StoreClaim, StorePass, StoreRenew, StoreSettle, StoreSpend, StoreInvalidate, StoreInvalidateAll,
}

// StoreMeter measures the operations of the stores of one kind. A nil StoreMeter measures
// nothing.
type StoreMeter struct {
	took   map[Operation]prometheus.Observer
	errors map[Operation]prometheus.Counter
}

// NewStoreMeter returns a meter for a kind of store, such as redis.
func NewStoreMeter(kind string) *StoreMeter {
	m := &StoreMeter{make(map[Operation]prometheus.Observer), make(map[Operation]prometheus.Counter)}
	for _, o := range allOperations {
		m.took[o], m.errors[o] = operations.WithLabelValues(kind, string(o)), storeErrors.WithLabelValues(kind, string(o))
	}
	return m
}

// Note notes that an operation has ended which began at some time, and whether it failed.
func (m *StoreMeter) Note(o Operation, begun time.Time, failed bool) {
	if m == nil {
		return
	}
	since(begun, m.took[o])
	if failed {
		m.errors[o].Inc()
	}
}
