package gateway

import (
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// keepProtocol takes off a request what asks the backend to go on in a different protocol,
// which a server may ignore (RFC 9110, section 7.8), and returns a function that puts it
// back. In a protocol such as h2c, clients could send writes that nobody checks. A
// WebSocket carries no requests.
func keepProtocol(r *http.Request) (restore func()) {
	lines := r.Header["Upgrade"]
	if len(lines) == 0 || len(lines) == 1 && strings.EqualFold(strings.Trim(lines[0], " \t"), "websocket") {
		return func() {}
	}
	return proxyhooks.EditHeader(r.Header, map[string][]string{"Upgrade": nil, "Http2-Settings": nil})
}

// keepPath does the same with fields that give the request a different path, to some
// backends. A signed request stays as it is, and a write of it is refused.
func keepPath(r *http.Request, expected []resource.Scheme) (restore func()) {
	var removed map[string][]string
	for name := range r.Header {
		if proxyhooks.IsPathOverride(name) {
			removed = proxyhooks.With(removed, name, nil)
		}
	}
	if len(removed) == 0 || resource.IsSigned(r, expected) {
		return func() {}
	}
	return proxyhooks.EditHeader(r.Header, removed)
}
