package answer

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// statusField is the response field that explains to developers how their request was treated.
// Like Cache-Status (RFC 9211), it is a list: each handler that a response has come through
// adds a member, the one nearest to the origin first.
const statusField = "Preconditions-Status"

// CheckStatusName refuses a name that can't identify a member of Preconditions-Status: it must be
// a token of RFC 9651, section 3.3.4.
func CheckStatusName(name string) error {
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '*'
		if !letter && (i == 0 || c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),;<=>?@[\]{}`, c) >= 0) {
			return errors.New("must be a word that begins with a letter, without spaces and quotes, such as the name of this node")
		}
	}
	return nil
}

// addStatus adds a member to Preconditions-Status, if the configuration asks for it. It has no
// entity tags.
func addStatus(a *Responder, o Outcome, reason string, code telemetry.Reason) {
	if a.StatusName == "" || a.Writer == nil {
		return
	}
	text := a.StatusName + "; outcome=" + string(o)
	if code != telemetry.NoReason {
		text += "; reason=" + string(code)
	}
	if a.Mode != Enforce {
		text += "; mode=" + string(a.Mode)
	}
	if waited := a.Course.Waits(); waited >= time.Millisecond {
		text += "; waited=" + strconv.FormatInt(waited.Milliseconds(), 10)
	}
	if probes := a.Course.Probes(); probes > 0 {
		text += "; probed=" + strconv.Itoa(probes)
	}
	if reason != "" {
		text += "; detail=" + structuredString(reason)
	}
	h := a.Writer.Header()
	h[statusField] = append(h[statusField], text)
}

// structuredString returns a text as a string of RFC 9651, section 3.3.3, which has ASCII only.
func structuredString(text string) string {
	to := make([]byte, 0, len(text)+2)
	to = append(to, '"')
	for _, c := range text {
		switch {
		case c == '"', c == '\\':
			to = append(to, '\\', byte(c))
		case c < ' ', c > '~':
			to = append(to, '?')
		default:
			to = append(to, byte(c))
		}
	}
	return string(append(to, '"'))
}
