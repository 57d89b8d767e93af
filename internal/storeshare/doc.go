// Package storeshare is this process's share of a store: the store itself, and
// what the process keeps beside it for all handlers that use it.
//
//   - The journal remembers the writes that were made while the store was out of
//     reach. The store isn't trusted until it has heard of them.
//   - The breaker makes calls fail at once while the store doesn't answer.
//   - The queues let the writes of one resource ask the store one at a time.
//   - The recent entries save most reads and writes a round trip.
//   - The unstable resources are the ones whose content differs on every read.
//   - The namings say which writes exclude each other after a reload that has changed
//     the keys that writes claim (reload.go).
//   - The longest grace of all handlers counts for every call (grace.go).
//   - The losses of the store's data: writes wait until the grace is over (loss.go).
//
// A share outlives the handlers: the handlers of a reloaded config take it over,
// and a request that is still being served keeps it open (pool.go, usage.go).
package storeshare
