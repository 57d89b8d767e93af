package proxyhooks

import (
	"net/http"
	"strings"
)

// SettledField is a response field with which a backend says that it is done with a write:
// nothing will happen after this answer. Its value is a boolean of RFC 9651, so it is true
// if it is ?1. Only Forward reads it; the client never gets it
// (Forwarding.KeepSettled is for handlers).
//
// A backend may repeat fields of the request in its answer. Whoever forwards a write removes
// the field from the request; Forward ignores it on the answer otherwise.
const SettledField = "Preconditions-Settled"

// isSettled reports whether a backend says with this header section that it is done.
func isSettled(h http.Header) bool {
	lines := h[SettledField]
	return len(lines) == 1 && isTrue(lines[0])
}

// isTrue reports whether a field value is the boolean true (RFC 9651, section 3.3.6).
func isTrue(value string) bool { return strings.Trim(value, " ") == "?1" }

// removeSettled removes the field, which isn't for the client.
func removeSettled(h http.Header) {
	delete(h, SettledField)
	delete(h, http.TrailerPrefix+SettledField)
}
