// Package proxyhooks is what happens around the next handler of a Caddy chain:
// it captures a response and derives its validators, probes the origin without
// a trace in the client's response, and forwards a write under a lease.
package proxyhooks
