package proxyhooks

import (
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Fate is what is known about a write that was forwarded.
type Fate uint8

const (
	// Unanswered means that nothing is known: the backend didn't answer, or didn't
	// answer one of several attempts, or the answer doesn't mean that it is done. It
	// may still apply the write.
	Unanswered Fate = iota
	// Applied means that the backend answered, and that the resource may have changed.
	Applied
	// Refused means that the backend answered and changed nothing, or that nothing was
	// sent to it.
	Refused
)

// worse returns the fate that says less.
func worse(a, b Fate) Fate { return min(a, b) }

// StatusClientClosedRequest is the status that Caddy's proxy writes if the context of
// the request was cancelled before the backend answered.
const StatusClientClosedRequest = 499

// fateOf returns what the status of an answer says about the write. Settled means that the
// backend says itself that it is done. Open are the statuses that leave a write
// unanswered.
func fateOf(status int, settled bool, open Statuses) Fate {
	switch {
	case !settled && (status < 100 || status > 599 || status == StatusClientClosedRequest || open.Contain(status)):
		return Unanswered
	case status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return Refused // the write has to be sent elsewhere
	case status < 400, status >= 500, status == http.StatusRequestTimeout:
		return Applied
	default:
		return Refused
	}
}

// fateOfError returns what an error of next says about the write, if there was no
// answer. A nil error stands for a panic.
func fateOfError(err error) Fate {
	handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return Unanswered
	}
	switch handlerErr.StatusCode {
	case 0, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
		StatusClientClosedRequest, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		// The content broke off halfway, or the proxy lost its backend.
		return Unanswered
	default:
		return Applied // a handler speaks for itself; the backend may have got the write or not
	}
}

// notDialed reports whether the proxy could not even connect to its backend.
func notDialed(err error) bool {
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
