// Package answer is how the handler answers in place of the backend, and how it
// tells what became of a request.
//
// A [Refusal] is a value: a status, what to tell the client, and what to tell the
// operator. A [Responder] sends it, as problem details or as an error for Caddy's
// error routes, and makes sure that it arrives although the client may still be
// sending. It reports the [Outcome] of every request as placeholders, in the
// access log, and in the metrics.
package answer
