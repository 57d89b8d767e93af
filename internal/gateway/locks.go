package gateway

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// locking is a write that may be about a lock of WebDAV (RFC 4918, section 6).
type locking struct{ *writing }

// fate returns the fate of the write, given that of its answer. A lock that is taken, refreshed
// or given back leaves the content as it is. The status of a LOCK that creates its target is 201
// (section 9.10.6).
func (w locking) fate(a proxyhooks.Answer, fate proxyhooks.Fate) proxyhooks.Fate {
	locked := w.request.DoesOnly("LOCK") && a.Status == http.StatusOK
	unlocked := w.request.DoesOnly("UNLOCK") && (a.Status == http.StatusOK || a.Status == http.StatusNoContent)
	if w.Namer.WebDAV && fate == proxyhooks.Applied && (locked || unlocked) {
		return proxyhooks.Refused
	}
	return fate
}
