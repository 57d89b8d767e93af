// Package answer answers requests in place of the backend, and reports what became
// of each request.
//
// A [Refusal] is a value: a status, what to tell the client, and what to tell the
// operator. A [Responder] sends it, as problem details or as an error for Caddy's
// error routes. It makes sure that the answer arrives even if the client is still
// sending. It reports the [Outcome] of every request as placeholders, in the access
// log, and in the metrics.
package answer
