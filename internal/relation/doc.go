// Package relation tells how resources are related: which resource the conditions
// of a write are about, and what else the write changes.
//
// Before a write is forwarded, [Rules.Plan] answers both, from the configuration
// and from the Destination field (plan.go). After it, [Rules.ChangedBy] reads in
// the backend's answer what else has changed (answer.go). Both are pure functions.
package relation
