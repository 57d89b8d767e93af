package resource

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// foldHost returns one spelling for all spellings of a host. An IPv6 address has
// brackets in a Host field without a port, and none after the port was split off.
func foldHost(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// foldedHost returns the host of an authority, if that is a name or an IPv4 address which
// foldHost leaves as it is, as far as one look at its characters tells.
func foldedHost(authority string) (host string, ok bool) {
	host, port, _ := strings.Cut(authority, ":")
	for i := range len(host) {
		c := host[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return "", false
		}
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", false
		}
	}
	return host, host != "" && host[len(host)-1] != '.'
}

// foldHostPort is foldHost for a host that may have a port. It leaves out the
// default port of the scheme.
func foldHostPort(scheme, hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return foldHost(hostport)
	}
	if port = foldPort(scheme, port); port == "" {
		return foldHost(host)
	}
	return net.JoinHostPort(foldHost(host), port)
}

// foldPort returns a port, or nothing if it is the default port of the scheme.
func foldPort(scheme, port string) string {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ""
	}
	return port
}

// foldPath returns one spelling for all spellings of a path. Most backends ignore
// dot segments, empty segments and a slash at the end. Some also ignore:
//
//   - case (IIS, Express)
//   - the difference between a backslash and a slash (IIS)
//   - everything after a semicolon in a segment (Tomcat)
//   - dots and spaces at the end of a name (Windows), or a line feed (PHP, whose
//     patterns match before it)
//   - the difference between a plus sign and a space (PHP, if the application
//     decodes the path like a query)
//   - how letters are composed (macOS)
//   - everything after a NUL
//
// Segments that name the index of a directory, or a session, are left out.
func foldPath(p string) string {
	if isFolded(p) {
		return p
	}
	return foldAnyPath(p)
}

// foldAnyPath is foldPath without the first look.
func foldAnyPath(p string) string {
	segments := strings.Split(foldCase(cleanPath(p)), "/")
	for i := range segments {
		segments[i] = foldSegmentEnd(segments[i])
	}
	segments = strings.Split(path.Clean("/"+strings.Join(segments, "/")), "/")
	return "/" + strings.Join(slices.DeleteFunc(segments[1:], implied), "/")
}

// isFolded reports whether foldPath leaves a path as it is, as far as one look at its
// characters tells.
func isFolded(p string) bool {
	if len(p) < 2 || p[0] != '/' {
		return p == "/"
	}
	for i := 1; i < len(p); i++ {
		c, first := p[i], p[i-1] == '/'
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '~':
			if first && (c == 'i' || c == 'd') && implied(p[i:]) {
				return false
			}
		case c == '.' && !first && i+1 < len(p) && p[i+1] != '/' && p[i+1] != '.':
		case c == '/' && !first && i+1 < len(p):
		default:
			return false
		}
	}
	return true
}

// cleanPath returns a path in which all segments end in a slash. First it cleans the path
// as backends do for which other characters mean nothing: a `..` after `;x` removes a
// different segment than it would later.
func cleanPath(p string) string {
	p, _, _ = strings.Cut(path.Clean("/"+p), "\x00")
	return strings.ReplaceAll(p, `\`, "/")
}

// foldCase removes differences in the case and the composition of letters. All that isn't
// UTF-8 is one character: decoders replace it by one or by several.
func foldCase(s string) string {
	lower := strings.ToLower(s)
	if !strings.ContainsFunc(lower, func(c rune) bool { return c > unicode.MaxASCII }) {
		return lower
	}
	lower = norm.NFC.String(strings.ToLower(strings.ToUpper(lower))) // ς is a σ
	for strings.Contains(lower, invalid+invalid) {
		lower = strings.ReplaceAll(lower, invalid+invalid, invalid)
	}
	return lower
}

const invalid = string(unicode.ReplacementChar)

// foldSegment returns one spelling for all spellings of a path segment.
func foldSegment(segment string) string { return foldSegmentEnd(foldCase(segment)) }

// foldSegmentEnd removes whatever some backend ignores at the end of a segment.
func foldSegmentEnd(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimRight(strings.ReplaceAll(s, "+", " "), space)
	if s == "." || s == ".." {
		return s
	}
	return strings.TrimRight(s, space+".")
}

// space holds the characters that most languages count as white space.
// JavaScript counts the last one, too.
const space = " \t\n\v\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" +
	"\u2028\u2029\u202f\u205f\u3000\ufeff"

// implied reports whether a backend may find the same resource without this
// segment, because it is the name of an index (`/docs/index.html`,
// `/index.php/docs`) or an ASP.NET session (`/(S(…))/docs`).
func implied(segment string) bool {
	for _, index := range [...]string{"index.", "default."} {
		if strings.HasPrefix(segment, index) {
			return true
		}
	}
	return strings.HasSuffix(segment, "))") && len(segment) > 4 &&
		segment[0] == '(' && strings.IndexByte("asfx", segment[1]) >= 0 && segment[2] == '('
}

// printable escapes control characters. A key must be fit to be logged, sent and
// typed.
func printable(key string) string {
	key = strings.ToValidUTF8(key, invalid)
	if !strings.ContainsFunc(key, unicode.IsControl) {
		return key
	}
	var b strings.Builder
	for _, c := range key {
		if unicode.IsControl(c) {
			b.WriteString(url.PathEscape(string(c)))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
