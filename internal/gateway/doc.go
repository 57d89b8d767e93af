// Package gateway serves requests: it reads and writes on behalf of the handler.
// It is the only package that knows all the others.
//
// An exchange is one request. A read (read.go) is forwarded, labelled with its
// validators, and its conditions are evaluated against its very response. A write
// (write.go) reads from left to right:
//
//	subject → plan → view → hold → decide → release and answer
//	                                      → forward and settle
//
// Deciding returns a value, a decision, so there is one place where a write is
// released, one where it is answered, one where it is forwarded, and one where it
// is settled.
package gateway
