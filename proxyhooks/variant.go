package proxyhooks

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// MaxNegotiation is how many bytes the lines may have that a [VariantKey] contains.
const MaxNegotiation = 256

// VariantKey returns a key for the representation that a request selects. It depends on
// the exact target (path and query, as the backend receives them) and on the values in
// header of the request fields that vary lists (see [MergeVary]). It also depends on scheme
// (see [Deriver.Scheme]), so that handlers with different schemes never compare their
// tags.
//
// The key begins with 22 characters, all of them letters, digits, - or _. If vary lists
// fields that negotiate content (see [Negotiates]), a line feed follows, and their lines in
// the request, so that [Renegotiate] can make other requests select the same
// representation. More than [MaxNegotiation] bytes of lines are left out, together with
// the line feed.
func VariantKey(scheme, target, vary string, header http.Header) string {
	var onStack [512]byte
	text := append(onStack[:0], scheme...)
	text = append(text, 0)
	text = append(text, target...)
	text = append(text, 0)
	text = append(text, vary...)
	text = append(text, 0)
	var negotiated bool
	var lines []byte
	for name := range strings.SplitSeq(vary, ",") {
		if name == "" {
			continue
		}
		negotiates := Negotiates(name)
		negotiated = negotiated || negotiates
		for _, value := range header[textproto.CanonicalMIMEHeaderKey(name)] {
			text = append(text, value...)
			text = append(text, 1)
			if negotiates {
				lines = append(lines, name+": "+value+"\n"...)
			}
		}
		text = append(text, 0)
	}
	sum := sha256.Sum256(text)
	key := base64.RawURLEncoding.AppendEncode(onStack[:0], sum[:16])
	if negotiated && len(lines) <= MaxNegotiation {
		key = append(append(key, '\n'), lines...)
	}
	return string(key)
}

// Negotiates reports whether a request field says which representation the client prefers,
// and nothing about who asks. These are the fields whose names begin with Accept, and those
// whose last word is Version, Format, Language, Lang or Locale. Any other field may be a
// credential, or the name of a user, that somebody has checked or set: it is never taken
// from a different request.
//
// Accept-Encoding isn't one of them, because the backend is always asked for the identity
// coding.
func Negotiates(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "accept") {
		return name != "accept-encoding"
	}
	last := name[strings.LastIndexByte(name, '-')+1:]
	return slices.Contains([]string{"version", "format", "language", "lang", "locale"}, last)
}

// Renegotiate returns a copy of header in which the fields that negotiate content are those
// of the request that selected the representation with a key. The other arguments are as
// for [VariantKey].
//
// It reports false if the result wouldn't select that representation: the key doesn't
// contain the fields, or depends on something else that differs, such as the target or the
// credentials.
func Renegotiate(key, scheme, target, vary string, header http.Header) (http.Header, bool) {
	_, lines, ok := strings.Cut(key, "\n")
	if !ok {
		return nil, false
	}
	if header = header.Clone(); header == nil {
		header = make(http.Header)
	}
	for name := range strings.SplitSeq(vary, ",") {
		if Negotiates(name) {
			delete(header, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !Negotiates(name) {
			return nil, false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		header[name] = append(header[name], value)
	}
	return header, VariantKey(scheme, target, vary, header) == key
}
