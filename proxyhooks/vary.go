package proxyhooks

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// MaxVary is the longest list of names, in bytes, that [MergeVary] accepts, because a store
// keeps it with every resource.
const MaxVary = 512

// MergeVary adds the request fields that a response lists in its Vary field to the known ones
// (RFC 9110, section 12.5.5). Both known and the result are sorted lists of lower-case
// names, separated by commas without spaces. Accept-Encoding is left out, because the
// backend is always asked for the identity coding.
//
// It reports false if the response varies by more than the request can tell ("*"), or if
// the list is longer than [MaxVary].
func MergeVary(known string, h http.Header) (vary string, ok bool) {
	lines := h["Vary"]
	if len(lines) == 0 {
		return known, true
	}
	names := []string{known}
	for _, name := range varyNames(lines) {
		switch {
		case name == "*", strings.Contains(name, ";"): // no field name contains a semicolon
			return known, false
		case name == "", name == "accept-encoding":
		default:
			names = append(names, name)
		}
	}
	vary = JoinVary(names...)
	return vary, len(vary) <= MaxVary
}

// JoinVary merges lists of lower-case names, separated by commas, into one that is sorted
// and contains each name once.
func JoinVary(lists ...string) string {
	lists = slices.DeleteFunc(lists, func(list string) bool { return list == "" })
	if len(lists) == 0 {
		return ""
	}
	names := strings.Split(strings.Join(lists, ","), ",")
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// AddVary adds request fields to the Vary field of a response, unless it lists them
// already. Caches between here and the client need them (RFC 9110, section 12.5.5).
func AddVary(vary string, h http.Header) {
	if vary == "" {
		return
	}
	listed := varyNames(h["Vary"])
	if slices.Contains(listed, "*") {
		return
	}
	var missing []string
	for name := range strings.SplitSeq(vary, ",") {
		if !slices.Contains(listed, name) {
			missing = append(missing, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	if missing != nil {
		h["Vary"] = append(slices.Clip(h["Vary"]), strings.Join(missing, ", "))
	}
}

// Varies reports whether a response says that it depends on a request field (RFC 9110,
// section 12.5.5).
func Varies(h http.Header, field string) bool {
	names := varyNames(h["Vary"])
	return slices.Contains(names, "*") || slices.Contains(names, strings.ToLower(field))
}

// varyNames returns the members of a Vary field in lower case, including empty ones. A
// parser for structured fields (RFC 9651) would refuse some valid field names, such as
// those that begin with a digit.
func varyNames(lines []string) (names []string) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.ToLower(strings.Trim(name, " \t")))
		}
	}
	return names
}
