package preconditions

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/text/unicode/norm"
)

// resourceKey expands the key template for a request. Spellings that backends
// take for one resource get one key: to share a key by mistake costs a needless
// wait, to have two for one resource costs an update.
func resourceKey(template string, repl *caddy.Replacer) string {
	return bounded(wholeKey(template, repl))
}

// wholeKey returns the key before it is shortened.
func wholeKey(template string, repl *caddy.Replacer) string {
	key, err := repl.ReplaceFunc(template, func(name string, value any) (any, error) {
		text := caddy.ToString(value)
		switch name {
		case "http.request.host":
			return foldHost(text), nil
		case "http.request.port", "http.request.hostport":
			scheme, _ := repl.GetString("http.request.scheme")
			if name == "http.request.port" {
				return foldPort(scheme, text), nil
			}
			return foldHostPort(scheme, text), nil
		case "http.request.uri.path", "http.request.orig_uri.path":
			return foldPath(text), nil
		}
		return text, nil
	})
	if err != nil {
		return template
	}
	key = printable(key)
	for _, prefix := range [...]string{groupPrefix, lockPrefix, agePrefix} {
		if strings.HasPrefix(key, prefix) {
			key = "/" + key
		}
	}
	return key
}

// What the keys begin with that are not those of resources. No host and no path
// begins so, but what else a template may begin with can be chosen by clients.
const (
	groupPrefix = "group " // groups.go
	lockPrefix  = "lock "  // trees.go
	agePrefix   = "age "
)

// foldHost returns what the spellings of a host have in common. An IPv6 address
// has brackets only where it came without a port.
func foldHost(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// foldHostPort does the same for a host that may have a port, which says nothing
// if it is that of the scheme.
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

// foldPort does the same for a port alone.
func foldPort(scheme, port string) string {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ""
	}
	return port
}

// foldPath returns what the spellings of a path have in common: for most backends,
// dot segments, empty ones and a slash at the end; for some also the case (IIS,
// Express), a backslash (IIS), what follows a semicolon (Tomcat), dots and spaces
// at the end of a name (Windows), a line feed there (PHP, whose patterns match before
// it), a plus sign for a space (PHP, where it decodes the path as a query), how
// letters are composed (macOS), or what follows a NUL. Segments that name the index
// of a directory, or a session, are left out.
func foldPath(p string) string {
	// First as those take it for whom the rest are letters like others: a `..`
	// after such a segment is not what it would be otherwise.
	p, _, _ = strings.Cut(path.Clean("/"+p), "\x00")
	p = foldCase(p)
	segments := strings.Split(strings.ReplaceAll(p, `\`, "/"), "/")
	for i := range segments {
		segments[i] = foldSegment(segments[i])
	}
	segments = strings.Split(path.Clean("/"+strings.Join(segments, "/")), "/")
	return "/" + strings.Join(slices.DeleteFunc(segments[1:], implied), "/")
}

// foldCase has both the case and the composition of letters make no difference.
func foldCase(s string) string {
	lower := strings.ToLower(s)
	if !strings.ContainsFunc(lower, func(c rune) bool { return c > unicode.MaxASCII }) {
		return lower
	}
	return norm.NFC.String(strings.ToLower(strings.ToUpper(lower))) // ς is an σ
}

// foldSegment takes off what some backends don't look at.
func foldSegment(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimRight(strings.ReplaceAll(s, "+", " "), space)
	if s == "." || s == ".." {
		return s
	}
	return strings.TrimRight(s, space+".")
}

// space is what most languages take for white space.
const space = " \t\n\v\f\r"

// implied reports whether a backend may find the same without this segment: the
// name of an index (`/docs/index.html`, `/index.php/docs`), or a session of
// ASP.NET (`/(S(…))/docs`).
func implied(segment string) bool {
	for _, index := range [...]string{"index.", "default."} {
		if strings.HasPrefix(segment, index) {
			return true
		}
	}
	return strings.HasSuffix(segment, "))") && len(segment) > 4 &&
		segment[0] == '(' && strings.IndexByte("asfx", segment[1]) >= 0 && segment[2] == '('
}

// printable escapes control characters, so that a key can be logged, sent and
// typed.
func printable(key string) string {
	key = strings.ToValidUTF8(key, string(unicode.ReplacementChar))
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

// keyAt returns the key of the resource that a request for another target of the
// same host would be for, if nothing rewrites it.
func (x *exchange) keyAt(target *url.URL) string { return x.keyOf(target, target) }

// keyOf returns the key of the resource that a request would be for which asks for
// a target of the same host and comes here with another one. Of what the key is
// made of, all that doesn't follow from these is taken from this request.
func (x *exchange) keyOf(asked, target *url.URL) string {
	r := x.r.Clone(x.r.Context())
	r.URL = at(x.r.URL, asked)
	r.RequestURI = r.URL.RequestURI()
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, x.w, server)
	r.URL = at(r.URL, target)
	r.RequestURI = r.URL.RequestURI()
	maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	repl.Map(func(name string) (any, bool) {
		if strings.HasPrefix(name, "http.request.uri") || strings.HasPrefix(name, "http.request.orig_uri") {
			return nil, false
		}
		return x.repl.Get(name)
	})
	return resourceKey(x.h.Key, repl)
}

// keyOfURL returns the key that requests for a URL have, before it is shortened,
// if that is all that their key depends on.
func keyOfURL(template string, target *url.URL) (string, error) {
	if !dependsOnURL(template) {
		return "", fmt.Errorf("the key %s depends on more than the URL", template)
	}
	return wholeKey(template, replacerFor(target)), nil
}

// replacerFor returns the replacer that a request for a URL has.
func replacerFor(target *url.URL) *caddy.Replacer {
	r := &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery},
		Host:   target.Host,
	}
	r.RequestURI = r.URL.RequestURI()
	if target.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	repl := caddy.NewReplacer()
	caddyhttp.PrepareRequest(r, repl, nil, nil)
	return repl
}

// dependsOnURL reports whether a key follows from the URL of a request, as long as
// nothing rewrites it.
func dependsOnURL(template string) bool {
	return !slices.ContainsFunc(placeholders(template), func(name string) bool { return !ofURL(name) && !global(name) })
}

// hasPartsOfPath reports whether a key has only some segments of the path, or the
// like, so that it doesn't follow from the beginning of the path.
func hasPartsOfPath(template string) bool {
	return slices.ContainsFunc(placeholders(template), func(name string) bool { return strings.Contains(name, "uri.path.") })
}

// anyQuery returns a pattern of queries that gives a pattern of all that a key may
// have of one.
func anyQuery(template string) string {
	query := anything
	for _, name := range placeholders(template) {
		if _, field, ok := strings.Cut(name, "uri.query."); ok {
			query += "&" + url.QueryEscape(field) + "=" + anything
		}
	}
	return query
}

// ofOthers returns an error where the keys of other resources than that of a
// request can't be told: what a map or a matcher makes of the path of the request
// stays as it is.
func ofOthers(template string) error {
	for _, name := range placeholders(template) {
		prefix, rest, _ := strings.Cut(name, ".")
		kind, _, _ := strings.Cut(rest, ".")
		if known := prefix == "http" && slices.Contains([]string{"request", "vars", "auth"}, kind); !known && !global(name) {
			return fmt.Errorf("the keys of other resources can't be told: {%s} in the option key is that of the request", name)
		}
	}
	return nil
}

// placeholders returns the names of the placeholders of a template.
func placeholders(template string) (names []string) {
	repl := caddy.NewEmptyReplacer()
	repl.Map(func(name string) (any, bool) {
		names = append(names, name)
		return "", true
	})
	repl.ReplaceAll(template, "")
	return names
}

// global reports whether a placeholder has nothing to do with the request.
func global(name string) bool {
	_, ok := caddy.NewReplacer().Get(name)
	return ok
}

// ofURL reports whether a placeholder is a part of the URL of a request.
func ofURL(name string) bool {
	name, ok := strings.CutPrefix(name, "http.request.")
	switch {
	case !ok:
		return false
	case name == "scheme", name == "host", name == "port", name == "hostport", strings.HasPrefix(name, "host."):
		return true
	default:
		name = strings.TrimPrefix(name, "orig_")
		return name == "uri" || strings.HasPrefix(name, "uri.") || strings.HasPrefix(name, "uri_")
	}
}

// bounded shortens a key so that clients can't fill the store with long paths. A
// shortened one ends in its digest.
func bounded(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey] + "#" + hex.EncodeToString(sum[:])
}

// isBounded reports whether a key looks like one that was shortened.
func isBounded(key string) bool {
	if len(key) != maxKey+len("#")+hex.EncodedLen(sha256.Size) || key[maxKey] != '#' {
		return false
	}
	_, err := hex.DecodeString(key[maxKey+1:])
	return err == nil
}

// maxKey is how many bytes of a key are kept in full.
const maxKey = 512
