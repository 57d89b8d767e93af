package resource

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// takesDestination reports whether a method may have a Destination field (RFC 4918,
// section 10.3). COPY and MOVE have one, and some methods that nobody has registered.
func takesDestination(method string) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		"ACL", "LOCK", "MKCOL", "PROPPATCH", "UNLOCK":
		return false
	default:
		return ClassOf(method) == Write
	}
}

// renameSources are the fields of a PUT that moves something to its target, which they name:
// in S3 Express, in Azure Data Lake Storage, and in Azure Files.
var renameSources = [...]string{"X-Amz-Rename-Source", "X-Ms-Rename-Source", "X-Ms-File-Rename-Source"}

// readDestinations reads the fields in which clients name what else their request changes. If
// some backend may read one in a way that can't be foreseen, the request is unclear.
func (r *Request) readDestinations() {
	if slices.ContainsFunc(r.readings, takesDestination) {
		naming{r}.readDestination("Destination", naming{r}.destinations)
	}
	for _, name := range renameSources {
		if r.Class == Write && r.Fields[name] != nil {
			naming{r}.readDestination(name, naming{r}.sources)
		}
	}
}

// naming is a request that names what else it changes.
type naming struct{ *Request }

// readDestination reads one such field.
func (r naming) readDestination(name string, read func(line string) ([]*url.URL, bool)) {
	lines := r.Fields[name]
	clear := len(lines) <= 1 // some take the first line, some the last, some all of them as one
	for _, line := range lines {
		targets, ok := read(line)
		r.Destinations = append(r.Destinations, targets...)
		clear = clear && ok
	}
	if !clear {
		r.Unclear = "the " + name + " field isn't one plain URL"
	}
}

// sources returns the targets that a field of renameSources may name. The path may begin with
// the name of a bucket that the host names, too.
func (r naming) sources(line string) (targets []*url.URL, ok bool) {
	if targets, ok = r.destinations(line); !ok || line == "" {
		return targets, ok
	}
	for _, target := range slices.Clone(targets) {
		path := strings.TrimPrefix(target.EscapedPath(), "/")
		if _, below, found := strings.Cut(path, "/"); found {
			more, ok := targetsOf("/" + below)
			if !ok {
				return nil, false
			}
			targets = append(targets, more...)
		}
	}
	return targets, true
}

// destinations returns the targets on this host that some backend may find in a
// Destination field. Which host the field names doesn't count: not all backends look at
// it. It reports false if there may be others.
//
// Only what RFC 3986 allows has a chance to be read in one way. nginx, for one, looks for
// the first slash after what begins like its own host, and drops the percent sign of %zz.
func (r naming) destinations(line string) (targets []*url.URL, ok bool) {
	if line == "" {
		return nil, true
	}
	if !isURIText(line) {
		return nil, false
	}
	var references []string
	rest, absolute := cutScheme(line)
	switch {
	case strings.Contains(rest, "://"): // some look for that anywhere
		return nil, false
	case absolute: // its scheme counts as little as its host
		path, ok := cutAuthority(rest)
		if !ok {
			return nil, false
		}
		references = []string{path}
	case line[0] == '/':
		references = []string{line}
	case line[0] == '?' || line[0] == '#':
		return nil, false
	default:
		if references, ok = r.below(line); !ok {
			return nil, false
		}
	}
	for _, reference := range references {
		found, ok := targetsOf(reference)
		if !ok {
			return nil, false
		}
		targets = append(targets, found...)
	}
	return targets, true
}

// maxBelow is how many places a relative reference may be below.
const maxBelow = 16

// below returns what a relative reference may mean. Some resolve it against the target, others
// against the root, and others against something in between, as Swift does, which begins with
// the account.
func (r naming) below(line string) (references []string, ok bool) {
	resolved, ok := r.Resolve(line)
	if !ok {
		return nil, false
	}
	references = []string{resolved.RequestURI() + fragment(line)}
	path, _, _ := strings.Cut(r.OriginalTarget, "?")
	for i := range len(path) {
		if path[i] == '/' {
			references = append(references, path[:i+1]+line)
		}
	}
	return references, len(references) <= maxBelow
}

// targetsOf returns the targets that some backend may find in a reference that begins with
// a slash.
func targetsOf(reference string) (targets []*url.URL, ok bool) {
	paths := []string{reference}
	if strings.HasPrefix(reference, "//") { // a path in section 8.3 of RFC 4918, not in RFC 3986
		path, ok := cutAuthority(reference)
		if !ok || strings.HasPrefix(path, "//") {
			return nil, false
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		if !isPlainPath(path) {
			return nil, false
		}
		for _, target := range []string{strings.TrimSuffix(path, fragment(path)), tailEscaper.Replace(path)} {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				return nil, false
			}
			targets = append(targets, u)
		}
	}
	return targets, true
}

// fragment returns the fragment of a reference, with its number sign.
func fragment(reference string) string {
	before, _, _ := strings.Cut(reference, "#")
	return reference[len(before):]
}

// tailEscaper makes a query and a fragment a part of the path. Some backends take all of
// a Destination for a path.
var tailEscaper = strings.NewReplacer("?", "%3F", "#", "%23")

// isURIText reports whether text consists of the characters of a URI, and of whole
// percent-encodings (RFC 3986, section 2).
func isURIText(text string) bool {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '%':
			if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
				return false
			}
			i += 2
		case !isAlphanumeric(c) && !strings.Contains("-._~:/?#[]@!$&'()*+,;=", string(rune(c))):
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// cutScheme cuts the scheme off a URI. It reports false for a reference that begins with
// a path, or with an authority.
func cutScheme(text string) (rest string, ok bool) {
	i := strings.IndexFunc(text, func(c rune) bool { return !isAlphanumeric(byte(c)) && !strings.ContainsRune("+-.", c) })
	if i <= 0 || text[i] != ':' || '0' <= text[0] && text[0] <= '9' {
		return text, false
	}
	return text[i+1:], true
}

// cutAuthority returns what follows the authority of a reference: a path, which isn't
// empty, a query and a fragment. It reports false if there is no authority, or if not
// everybody agrees on where it ends.
func cutAuthority(text string) (path string, ok bool) {
	text, ok = strings.CutPrefix(text, "//")
	if !ok {
		return "", false
	}
	end := strings.IndexAny(text, "/?#")
	if end < 0 {
		text, end = text+"/", len(text)
	}
	user, host, found := strings.Cut(text[:end], "@")
	if !found {
		user, host = "", user
	}
	return text[end:], text[end] == '/' && !strings.ContainsAny(user, "%[]") && isHostPort(host)
}

// isHostPort reports whether text is a host that may have a port, and nothing else.
func isHostPort(text string) bool {
	host, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:i], text[i+1:]
	}
	if strings.Trim(port, "0123456789") != "" {
		return false
	}
	if address, ok := strings.CutPrefix(host, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		return ok && address != "" && strings.Trim(address, "0123456789abcdefABCDEF:.") == ""
	}
	return host != "" && !strings.ContainsAny(host, "%:@[]")
}

// isPlainPath reports whether a path, with what follows it, leads to one place. Where a
// dot segment leads to depends on what a backend takes for a segment. No path has
// brackets.
func isPlainPath(path string) bool {
	decoded, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(path, "[]") || strings.ContainsFunc(decoded, unicode.IsControl) {
		return false
	}
	return unclearBelow(path) == "" && !hasDots(decodeFully(path))
}
