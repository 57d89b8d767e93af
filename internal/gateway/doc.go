// Package gateway serves requests: it reads and writes on behalf of the handler.
// It is the only package that knows all the others.
//
// An exchange is one request. A read (read.go) is forwarded, labelled with its
// validators, and its conditions are evaluated against that response. A write
// (write.go) goes through these steps:
//
//	subject → plan → view → ask ahead → hold → decide → release and answer
//	                                                  → forward and settle
//
// To decide is to return a value, a decision. So there is one place that releases
// and answers a write (carryOut), one that forwards it (forward.go), and one that
// settles it. A write asks the origin ahead of its turn if nothing else tells whether it
// earns one (ahead.go). What a handler further out has let through passes (holder.go).
// Around them are the answers in place of the backend's (conclude.go),
// the look at the origin after a write (after.go), repeated writes (replay.go),
// writes while the store is out of reach (without_store.go), what is sent instead
// of the response to a read (reply.go), lists with the tags of their items
// (list.go), mode report (report.go), and what scripts of other origins may see (cors.go).
package gateway
