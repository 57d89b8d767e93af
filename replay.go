package preconditions

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A receipt names a write that has succeeded: two digests and the status of the
// answer. The first digest is that of all that can be told without the content.

// newReceipt returns the receipt of a request, or "" where its content is not
// known.
func newReceipt(request string, content *[sha256.Size]byte, status int) string {
	if content == nil {
		return ""
	}
	return request + "." + base64.RawURLEncoding.EncodeToString(content[:12]) + "." + strconv.Itoa(status)
}

// identifying are the fields, beside conditions and overrides, that tell a request
// from another one: who sends it, by which key the client itself tells its requests
// apart, what its content is, and what WebDAV is to do (RFC 4918, section 10).
var identifying = [...]string{
	"Authorization", "Cookie", "Idempotency-Key",
	"Content-Type", "Content-Encoding", "Content-Language", "Content-Range",
	"Depth", "Destination", "Overwrite",
}

// requestDigest identifies a request but for its content.
func (x *exchange) requestDigest() string {
	h := sha256.New()
	parts := [][]string{
		append(overriding(x.r), x.r.Method, x.target, x.original()),
		x.conditions.IfMatch,
		x.conditions.IfNoneMatch,
		x.conditions.IfUnmodifiedSince,
	}
	for _, name := range identifying {
		parts = append(parts, x.header[name])
	}
	for _, part := range parts {
		for _, s := range part {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
		h.Write([]byte{1})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// refuted answers a conditional write whose condition is false, or can't be
// verified, for what is current: with 412, unless it is that of a write of which
// the client has lost the answer (RFC 9110, section 13.1.1).
func (x *exchange) refuted(res validator.Result, current validator.Observed) error {
	status, err := x.replayed(res, current)
	switch {
	case err != nil:
		return err
	case status == 0:
		return x.refuseWrite(x.failed(res, x.dated(current, x.stored())))
	}
	x.report(outcomePassed, "sent again")
	x.reportCondition(res.Field, current.ETag)
	header := x.w.Header()
	if current.ETag.Valid {
		header["Etag"] = []string{current.ETag.String()}
	}
	if status != http.StatusNoContent {
		header["Content-Length"] = []string{"0"}
	}
	return x.sendFinal(status, nil)
}

// replayed returns the status with which the backend answered this very request
// before, if what is current is what that led to, or zero.
func (x *exchange) replayed(res validator.Result, current validator.Observed) (status int, err error) {
	known := x.stored()
	request, rest, _ := strings.Cut(x.entry.Receipt, ".")
	if !x.h.Replay || res.Verdict != validator.False || request == "" || request != x.requestDigest() ||
		known.State == validator.Unknown || !known.SameValidators(current) {
		return 0, nil
	}
	_, answered, _ := strings.Cut(rest, ".")
	if status, err = strconv.Atoi(answered); err != nil {
		return 0, nil
	}
	content, ok := proxyhooks.Digest(x.r)
	if !ok {
		done, err := proxyhooks.ReadAhead(x.r, x.h.Buffer, true)
		if err != nil {
			return 0, contentError(err)
		}
		defer done()
		content, ok = proxyhooks.Digest(x.r)
	}
	if !ok || newReceipt(request, &content, status) != x.entry.Receipt {
		return 0, nil
	}
	return status, nil
}
