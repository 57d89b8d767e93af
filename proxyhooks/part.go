package proxyhooks

import (
	"bytes"
	"fmt"
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

// maxParts is how many ranges an honest client asks for. With more, the field
// is ignored (RFC 9110, section 14.2).
const maxParts = 100

// ParseRange returns the parts that a Range field asks for, of a representation
// of the given size. There are none if the ranges can't be satisfied. It reports
// false where the field is to be ignored: its unit isn't bytes, it isn't well
// formed, it asks for more than there is, in too many pieces, or for a part of
// nothing (RFC 9110, sections 14.1 and 14.2).
func ParseRange(lines []string, size int64) ([]Part, bool) {
	if len(lines) != 1 || size == 0 {
		return nil, false
	}
	unit, set, ok := strings.Cut(strings.Trim(lines[0], " \t"), "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	var parts []Part
	wanted, specs := int64(0), 0
	for spec := range strings.SplitSeq(set, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue
		}
		p, valid := parseSpec(spec, size)
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

// parseSpec parses one range. One that can't be satisfied ends before it begins.
func parseSpec(spec string, size int64) (Part, bool) {
	from, to, ok := strings.Cut(spec, "-")
	first, fromOK := parsePosition(from)
	last, toOK := parsePosition(to)
	switch {
	case !ok || !fromOK && from != "" || !toOK && to != "":
		return Part{}, false
	case from == "":
		return Part{max(0, size-last), size - 1}, toOK // a suffix of no bytes is no part
	case to == "":
		return Part{first, size - 1}, true
	default:
		return Part{first, min(last, size-1)}, first <= last
	}
}

// parsePosition parses a number of any length: one that is too large for any
// representation is as good as the largest.
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

// SendParts sends parts of the content, as 206, in place of the 200 whose header
// w has; or 416, if there are none (RFC 9110, sections 15.3.7 and 15.5.17).
func SendParts(w http.ResponseWriter, parts []Part, content []byte) {
	h := w.Header()
	for _, name := range [...]string{"Content-Digest", "Content-Md5"} { // of the whole
		delete(h, name)
	}
	if len(parts) == 0 {
		for _, name := range [...]string{
			"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Disposition",
			"Repr-Digest", "Cache-Control", "Expires", // of the 200
		} {
			delete(h, name)
		}
		h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", len(content))}
		h["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	specs := make([]string, len(parts))
	for i, p := range parts {
		specs[i] = fmt.Sprintf("%d-%d", p.first, p.last)
	}
	// A request with nothing but a Range leaves nothing else to be evaluated.
	r := &http.Request{
		Method: http.MethodGet,
		Header: http.Header{"Range": {"bytes=" + strings.Join(specs, ",")}},
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
