// Package relation says how resources hang together: which resource the
// conditions of a write are about, and what else the write changes.
//
// [Rules.Plan] answers both for a request, from the configuration and from the
// Destination field, before anything is asked or forwarded. [Rules.ChangedBy]
// reads in the answer of the backend what else the write has changed. Both only
// compute; they talk to nobody.
package relation
