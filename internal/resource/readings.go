package resource

import (
	"net/url"
	"slices"
	"strings"
)

// Servers disagree about some paths. Where a dot segment leads depends on what a server
// takes for a segment, and on what it does first: `/docs//../plan` is /docs/plan to WHATWG
// URL parsers, and /plan to nginx, Apache and Go, which merge slashes before. A path is
// clear if all readings of it have one key.

// Why a path is unclear, and what to send in its place.
const (
	unclearHost    = "its path begins with two slashes, and some servers take what follows for a host. Send a path that begins with one slash"
	unclearPlace   = "servers disagree about where its path leads. Send the path without dot segments, NUL, and slashes in parameters"
	unclearLetters = "its path has a character in more bytes than UTF-8 allows, and servers disagree about what it is. Send that character as it is"
)

// maxDotted is the number of bytes that a path with dot segments may have. It limits what
// a request can cost.
const maxDotted = 1024

// unclearPath says why servers disagree about where a path leads. It returns nothing if
// they agree. The path is percent-encoded, as a backend gets it.
func unclearPath(escaped string) string {
	if strings.HasPrefix(escaped, "//") {
		return unclearHost
	}
	return unclearBelow(escaped)
}

// unclearBelow does the same for a path that nobody takes for a host.
func unclearBelow(escaped string) string {
	if !strings.Contains(escaped, "%") && !strings.Contains(escaped, "/.") {
		return ""
	}
	decoded := decodeFully(escaped)
	switch {
	case isOverlong(decoded):
		return unclearLetters
	case hasDots(decoded), strings.Contains(decoded, "\x00"):
		if len(escaped) > maxDotted || !agree(stages[:], escaped, foldPath(unescape(escaped))) {
			return unclearPlace
		}
	case strings.Contains(escaped, ";") && foldPath(unescape(cutParameters(escaped))) != foldPath(unescape(escaped)):
		return unclearPlace
	}
	return ""
}

// IsPlain reports whether servers agree on the path of a target, and it has no dot segments.
func IsPlain(target *url.URL) bool {
	escaped := target.EscapedPath()
	return unclearPath(escaped) == "" && !hasDots(decodeFully(escaped))
}

// A step is something that some servers do with a path.
type step func(path string) string

// stages are what happens to a path on its way to a resource. At each stage, a server does
// one of the steps. What is percent-encoded at the end is decoded then.
var stages = [...][]step{
	{asIs, cutParameters}, // Tomcat and Jetty drop path parameters first
	{
		asIs,            // RFC 3986, to the letter
		decodeBut(`/\`), // WHATWG; Apache with AllowEncodedSlashes NoDecode
		decodeBut(""),   // nginx, Go, IIS
		decodeTwice,     // a proxy and a server that both decode
	},
	{asIs, cutTail},         // for C, the path ends at a NUL; if it is taken for a URL again, at a `?`
	{asIs, turnBackslashes}, // IIS
	{asIs, foldSegmentEnds}, // `..;x`, and names as Windows reads them
	{asIs, mergeSlashes},    // nginx, Apache, Tomcat, Go; but not RFC 3986
	{removeDots},
	{asIs, trimNames}, // Windows
	{asIs, cutHost},   // whoever takes the path for a reference (RFC 3986, section 4.2)
}

// agree reports whether all readings of a path that is at the first of some stages have
// the same key, in which the path is folded.
func agree(left [][]step, path, folded string) bool {
	if len(left) == 0 {
		return foldPath(unescape(path)) == folded
	}
	var seen []string
	for _, take := range left[0] {
		if next := take(path); !slices.Contains(seen, next) {
			if !agree(left[1:], next, folded) {
				return false
			}
			seen = append(seen, next)
		}
	}
	return true
}

// hasDots reports whether some server may find a dot segment in a decoded path.
func hasDots(decoded string) bool {
	isEnd := func(c rune) bool { return strings.ContainsRune("/\\?#\x00", c) }
	return slices.ContainsFunc(strings.FieldsFunc(decoded, isEnd), func(s string) bool {
		s = foldSegmentEnd(s)
		return s == "." || s == ".."
	})
}

// isOverlong reports whether a decoded path has a character that leads somewhere, in an
// encoding that UTF-8 forbids (RFC 3629, section 3) and that some decoders accept.
func isOverlong(decoded string) bool {
	return slices.ContainsFunc(overlong, func(c string) bool { return strings.Contains(decoded, c) })
}

var overlong = []string{
	"\xc0\xae", "\xc0\xaf", "\xc1\x9c", "\xc0\xbb", "\xc0\xa5", "\xc0\x80", // . / \ ; % NUL
	"\xe0\x80\xae", "\xe0\x80\xaf", "\xe0\x81\x9c", "\xe0\x80\xbb", "\xe0\x80\xa5", "\xe0\x80\x80",
}

func asIs(p string) string { return p }

// decodeBut returns a step that decodes all characters but some. The percent sign stays
// encoded, as a step later decodes what is left.
func decodeBut(chars string) step {
	return func(p string) string {
		return decode(p, func(c byte) bool { return c != '%' && strings.IndexByte(chars, c) < 0 })
	}
}

func decodeTwice(p string) string { return decodeBut("")(unescape(p)) }

// decodeFully decodes a path as often as any server does.
func decodeFully(p string) string { return unescape(unescape(p)) }

// unescape decodes a path. What isn't a percent-encoding stays as it is.
func unescape(p string) string { return decode(p, func(byte) bool { return true }) }

// decode decodes the characters of a path that are chosen.
func decode(p string, chosen func(byte) bool) string {
	if !strings.Contains(p, "%") {
		return p
	}
	var b strings.Builder
	for len(p) > 0 {
		if p[0] == '%' && len(p) > 2 && isHex(p[1]) && isHex(p[2]) {
			if c := unhex(p[1])<<4 | unhex(p[2]); chosen(c) {
				b.WriteByte(c)
			} else {
				b.WriteString(p[:3])
			}
			p = p[3:]
			continue
		}
		b.WriteByte(p[0])
		p = p[1:]
	}
	return b.String()
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | ' ') - 'a' + 10
}

func cutTail(p string) string {
	if i := strings.IndexAny(p, "\x00?#"); i >= 0 {
		return p[:i]
	}
	return p
}

func turnBackslashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

func cutParameters(p string) string {
	return eachSegment(p, func(s string) string {
		s, _, _ = strings.Cut(s, ";")
		return s
	})
}

func foldSegmentEnds(p string) string { return eachDecoded(p, foldSegmentEnd) }

func trimNames(p string) string {
	return eachDecoded(p, func(s string) string { return strings.TrimRight(s, space+".") })
}

// eachDecoded changes each segment that is decoded: nobody trims what is behind a percent
// sign.
func eachDecoded(p string, change step) string {
	return eachSegment(p, func(s string) string {
		if strings.Contains(s, "%") {
			return s
		}
		return change(s)
	})
}

func eachSegment(p string, change step) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = change(segments[i])
	}
	return strings.Join(segments, "/")
}

func mergeSlashes(p string) string {
	var b strings.Builder
	for i := range len(p) {
		if p[i] != '/' || i == 0 || p[i-1] != '/' {
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// removeDots removes dot segments (RFC 3986, section 5.2.4). An empty segment counts as
// any other.
func removeDots(p string) string {
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	var kept []string
	for i, s := range segments {
		switch {
		case s == "..":
			kept = kept[:max(0, len(kept)-1)]
		case s != ".":
			kept = append(kept, s)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// cutHost removes what follows two slashes at the beginning.
func cutHost(p string) string {
	rest, ok := strings.CutPrefix(p, "//")
	if !ok {
		return p
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}
