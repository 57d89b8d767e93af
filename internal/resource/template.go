package resource

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The placeholders of a template decide whether a key can be computed without a
// request for the resource: from its URL, or from a request for a different target.

// URLKey returns the key of requests for a URL, before it is shortened. It fails if
// the key depends on more than the URL.
func (t Template) URLKey(target *url.URL) (string, error) {
	if !t.dependsOnlyOnURL() {
		return "", fmt.Errorf("the key %s depends on more than the URL", t)
	}
	return t.fullKey(replacerFor(target)), nil
}

// replacerFor returns the replacer of a request for a URL.
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

// dependsOnlyOnURL reports whether the URL of a request determines its key, if no
// handler rewrites the URL.
func (t Template) dependsOnlyOnURL() bool {
	return !slices.ContainsFunc(t.placeholders(), func(name string) bool { return !ofURL(name) && !global(name) })
}

// HasPartsOfPath reports whether the key contains only parts of the path, such as
// one segment. It then doesn't begin like the path.
func (t Template) HasPartsOfPath() bool {
	return slices.ContainsFunc(t.placeholders(), func(name string) bool {
		return strings.Contains(name, "uri.path.") || name == objectPlaceholder
	})
}

// dependsOnOriginal reports whether the key contains the path as the client sent it.
func (t Template) dependsOnOriginal() bool {
	return strings.Contains(string(t), "http.request.orig_uri")
}

// AnyQuery returns a query made of wildcards. From a URL with that query, the
// template makes a pattern that matches the keys of all queries.
func (t Template) AnyQuery() string {
	query := Anything
	for _, name := range t.placeholders() {
		if _, field, ok := strings.Cut(name, "uri.query."); ok {
			query += "&" + url.QueryEscape(field) + "=" + Anything
		}
	}
	return query
}

// CheckOthers returns an error if the keys of resources other than a request's own
// can't be made from that request: a placeholder that a map or a matcher set for
// the request's path says nothing about a different path.
func (t Template) CheckOthers() error {
	for _, name := range t.placeholders() {
		prefix, rest, _ := strings.Cut(name, ".")
		kind, _, _ := strings.Cut(rest, ".")
		if known := name == objectPlaceholder || prefix == "http" && slices.Contains([]string{"request", "vars", "auth"}, kind); !known && !global(name) {
			return fmt.Errorf("the keys of other resources can't be told: {%s} in the option key belongs to the request", name)
		}
	}
	return nil
}

// Constant reports whether all requests have the same key.
func (t Template) Constant() bool {
	return !slices.ContainsFunc(t.placeholders(), func(name string) bool { return !global(name) })
}

// placeholders returns the names of the template's placeholders.
func (t Template) placeholders() (names []string) {
	repl := caddy.NewEmptyReplacer()
	repl.Map(func(name string) (any, bool) {
		names = append(names, name)
		return "", true
	})
	repl.ReplaceAll(string(t), "")
	return names
}

// global reports whether a placeholder has the same value for all requests.
func global(name string) bool {
	_, ok := caddy.NewReplacer().Get(name)
	return ok
}

// ofURL reports whether a placeholder is a part of the request's URL.
func ofURL(name string) bool {
	name, ok := strings.CutPrefix(name, "http.request.")
	switch {
	case name == objectPlaceholder:
		return true
	case !ok:
		return false
	case name == "scheme", name == "host", name == "port", name == "hostport", strings.HasPrefix(name, "host."):
		return true
	default:
		name = strings.TrimPrefix(name, "orig_")
		return name == "uri" || strings.HasPrefix(name, "uri.") || strings.HasPrefix(name, "uri_")
	}
}
