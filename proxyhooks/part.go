package proxyhooks

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Part is a range of bytes of a representation.
type Part struct {
	first, last int64 // inclusive
}

// maxParts is how many ranges an honest client asks for. A Range field with more is
// ignored (RFC 9110, section 14.2).
const maxParts = 100

// ParseRange returns the parts that a Range field asks for, from a representation with
// size bytes. There are none if the ranges can't be satisfied.
//
// It reports false if the field is to be ignored (RFC 9110, sections 14.1 and 14.2): its
// unit isn't bytes, it is malformed, it asks for more bytes than there are or in too many
// pieces, or the representation is empty.
func ParseRange(lines []string, size int64) ([]Part, bool) {
	if len(lines) != 1 || size == 0 {
		return nil, false
	}
	unit, set, ok := strings.Cut(strings.Trim(lines[0], " \t"), "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	// http.ServeContent parses ranges too, but can't say in advance that a field is to be
	// ignored. It answers a malformed one with 416, and a suffix of zero bytes with 206.
	var parts []Part
	wanted, specs := int64(0), 0
	for spec := range strings.SplitSeq(set, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue
		}
		p, valid := parseRangeSpec(spec, size)
		if specs++; !valid || specs > maxParts {
			return nil, false
		}
		if p.first > p.last { // can't be satisfied
			continue
		}
		parts = append(parts, p)
		wanted += p.last - p.first + 1
	}
	return parts, specs > 0 && wanted <= size
}

// parseRangeSpec parses one range. If the range can't be satisfied, the result has its
// last byte before its first.
func parseRangeSpec(spec string, size int64) (Part, bool) {
	from, to, ok := strings.Cut(spec, "-")
	first, fromOK := parsePosition(from)
	last, toOK := parsePosition(to)
	switch {
	case !ok || !fromOK && from != "" || !toOK && to != "":
		return Part{}, false
	case from == "":
		return Part{max(0, size-last), size - 1}, toOK // a suffix of zero bytes can't be satisfied
	case to == "":
		return Part{first, size - 1}, true
	default:
		return Part{first, min(last, size-1)}, first <= last
	}
}

// parsePosition parses a number with any count of digits. One that doesn't fit becomes
// the largest number, which is beyond the end of any representation.
func parsePosition(digits string) (int64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}

// SendParts sends parts of content, which has size bytes, with status 206 (Partial Content), or 416 (Range Not
// Satisfiable) if there are no parts (RFC 9110, sections 15.3.7 and 15.5.17). The header
// of w must be that of the 200 (OK) that would send all of content; SendParts changes it
// accordingly.
func SendParts(w http.ResponseWriter, parts []Part, content io.ReadSeeker, size int64) {
	h := w.Header()
	removeDigests(h)
	if len(parts) == 0 {
		sendNotSatisfiable(w, size)
		return
	}
	specs := make([]string, len(parts))
	for i, p := range parts {
		specs[i] = fmt.Sprintf("%d-%d", p.first, p.last)
	}
	// Preconditions and If-Range were evaluated before, so the request contains only Range.
	r := &http.Request{
		Method: http.MethodGet,
		Header: http.Header{"Range": {"bytes=" + strings.Join(specs, ",")}},
	}
	http.ServeContent(w, r, "", time.Time{}, content)
}

// removeDigests removes the digests of the whole content.
func removeDigests(h http.Header) {
	for _, name := range [...]string{"Content-Digest", "Content-Md5"} {
		delete(h, name)
	}
}

// sendNotSatisfiable sends a 416 for a representation with size bytes. It keeps the
// validators, which [http.ServeContent] would remove, and has no content.
func sendNotSatisfiable(w http.ResponseWriter, size int64) {
	h := w.Header()
	for _, name := range [...]string{ // these describe the 200
		"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Disposition",
		"Repr-Digest", "Cache-Control", "Expires",
	} {
		delete(h, name)
	}
	h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", size)}
	h["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
}
