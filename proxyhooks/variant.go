package proxyhooks

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// VariantKey names the representation that a request selects: its exact target
// (path and query, as the backend receives them) and its values of the request
// fields in vary. The scheme by which tags are derived is part of it, so that
// handlers with different schemes never compare each other's tags.
func VariantKey(scheme, target, vary string, header http.Header) string {
	h := sha256.New()
	write := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	write(scheme)
	write(target)
	write(vary)
	for name := range strings.SplitSeq(vary, ",") {
		if name == "" {
			continue
		}
		for _, value := range header[textproto.CanonicalMIMEHeaderKey(name)] {
			h.Write([]byte(value))
			h.Write([]byte{1})
		}
		write("")
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Vary adds the request fields that a response's Vary names to those that are
// known, as a sorted list of lower-case names. Accept-Encoding is left out: the
// backend is always asked for the identity coding. It reports false where the
// response varies by more than the request says (`Vary: *`), or by more than is
// worth storing.
func Vary(known string, h http.Header) (string, bool) {
	lines := h["Vary"]
	if len(lines) == 0 {
		return known, true
	}
	names := []string{known}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			switch {
			case name == "*", strings.Contains(name, ";"): // which no field has in its name
				return known, false
			case name == "", name == "accept-encoding":
			default:
				names = append(names, name)
			}
		}
	}
	vary := JoinVary(names...)
	return vary, len(vary) <= MaxVary
}

// MaxVary is the most bytes that are stored of Vary.
const MaxVary = 512

// JoinVary joins lists of lower-case names, separated by commas, to one that is
// sorted and names each once.
func JoinVary(lists ...string) string {
	lists = slices.DeleteFunc(lists, func(list string) bool { return list == "" })
	if len(lists) == 0 {
		return ""
	}
	names := strings.Split(strings.Join(lists, ","), ",")
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// SendVary has a response name the given request fields in Vary, for the caches
// on its way (RFC 9110, section 12.5.5).
func SendVary(vary string, h http.Header) {
	if vary == "" {
		return
	}
	var named []string
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			named = append(named, strings.ToLower(strings.Trim(name, " \t")))
		}
	}
	if slices.Contains(named, "*") {
		return
	}
	var missing []string
	for name := range strings.SplitSeq(vary, ",") {
		if !slices.Contains(named, name) {
			missing = append(missing, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	if missing != nil {
		h["Vary"] = append(slices.Clip(h["Vary"]), strings.Join(missing, ", "))
	}
}
