package preconditions

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// prefersRepresentation reports whether a Prefer field asks for the
// representation in the answer (RFC 7240, section 4.2). Who asks for the
// contrary as well asks for nothing.
func prefersRepresentation(h http.Header) bool {
	wanted := ""
	for _, line := range h["Prefer"] {
		for preference := range unquoted(line, ',') {
			word := preference
			for part := range unquoted(preference, ';') {
				word = part
				break
			}
			name, value, _ := strings.Cut(word, "=")
			if !strings.EqualFold(strings.Trim(name, " \t"), "return") {
				continue
			}
			value = strings.Trim(strings.Trim(value, " \t"), `"`)
			if wanted != "" && wanted != value {
				return false
			}
			wanted = value
		}
	}
	return wanted == "representation"
}

// unquoted yields the parts of s between separators that are not in quotes.
func unquoted(s string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case quoted && s[i] == '\\':
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == separator && !quoted:
				if !yield(s[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(s[begin:])
	}
}

// refuseWrite refuses a write whose condition is false. A client that prefers so
// gets the current representation with it, so that it can merge its change
// without another round trip (RFC 8144, section 3.2).
func (x *exchange) refuseWrite(f refusal) error {
	if f.status != http.StatusPreconditionFailed || x.h.Errors != errorsProblem || !*x.h.Disclose ||
		x.signed || !prefersRepresentation(x.header) {
		return x.refuse(f)
	}
	content := &capped{left: x.h.Buffer}
	p := proxyhooks.ProbeContent(x.r.Context(), x.next, x.subject, x.h.deriver, content)
	if !p.Known || p.Status != http.StatusOK || content.left < 0 {
		return x.refuse(f)
	}
	x.report(f.outcome, f.reason)
	current := p.Observed.ETag
	if p.Versioned {
		current = f.current.ETag
	}
	x.reportCondition(f.condition, current)
	header := x.w.Header()
	removeRepresentationMetadata(header)
	for name, lines := range p.Header {
		if strings.HasPrefix(name, "Content-") && name != "Content-Length" && name != "Content-Location" || name == "Vary" {
			header[name] = append(header[name], lines...)
		}
	}
	header["Vary"] = append(header["Vary"], "Prefer")
	header["Cache-Control"] = []string{"no-store"}
	header["Content-Length"] = []string{strconv.Itoa(content.Len())}
	header["Content-Location"] = []string{x.subjectTarget()}
	header["Preference-Applied"] = []string{"return=representation"}
	if current.Valid {
		header["Etag"] = []string{current.String()}
	}
	if r := x.dated(p.Observed, x.stored()); r.State == validator.Present {
		sendDate(header, r, time.Now())
	}
	return x.sendFinal(f.status, content.Bytes())
}

// capped is content up to a limit.
type capped struct {
	bytes.Buffer
	left int64 // below zero if there was more
}

var errTooMuch = errors.New("too much content")

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, errTooMuch
	}
	return c.Buffer.Write(p)
}
