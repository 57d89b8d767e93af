package resource

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Template makes the key of a resource: a text with placeholders. Placeholders
// for the host, the port and the path are folded.
type Template string

// Prefixes of the keys that don't belong to resources. No host and no path
// begins like this. Other things that a template may begin with are the client's
// choice, so keys of resources that begin like this get a slash in front.
const (
	groupPrefix   = "group "
	lockPrefix    = "lock "
	subtreePrefix = "age "
)

// Key returns the key for the request that a replacer belongs to.
func (t Template) Key(repl *caddy.Replacer) string { return shorten(t.fullKey(repl)) }

// fullKey returns the key before it is shortened.
func (t Template) fullKey(repl *caddy.Replacer) string {
	key, err := repl.ReplaceFunc(string(t), func(name string, value any) (any, error) {
		text := caddy.ToString(value)
		switch name {
		case "http.request.uri.path", "http.request.orig_uri.path":
			return foldPath(text), nil
		}
		if folded, ok := foldOrigin(repl, name, text); ok {
			return folded, nil
		}
		return text, nil
	})
	if err != nil {
		return string(t)
	}
	key = printable(key)
	for _, prefix := range [...]string{groupPrefix, lockPrefix, subtreePrefix} {
		if strings.HasPrefix(key, prefix) {
			key = "/" + key
		}
	}
	return key
}

// foldOrigin folds the value of a placeholder for a part of the request's
// authority. It reports false for all other placeholders.
func foldOrigin(repl *caddy.Replacer, name, value string) (string, bool) {
	switch name {
	case "http.request.host":
		return FoldHost(value), true
	case "http.request.port":
		scheme, _ := repl.GetString("http.request.scheme")
		return foldPort(scheme, value), true
	case "http.request.hostport":
		scheme, _ := repl.GetString("http.request.scheme")
		return FoldHostPort(scheme, value), true
	}
	return "", false
}

// MaxGroupName is how many bytes the name of a group may have. Nothing is stored
// of a resource in a group with a longer name.
const MaxGroupName = 256

// GroupKey returns the key of a group of resources (RFC 9875). It contains those
// parts of the scheme, host and port that the keys of resources contain: where
// these don't tell two origins apart, what is stored is about both.
func (t Template) GroupKey(repl *caddy.Replacer, name string) string {
	var origin strings.Builder
	_, _ = repl.ReplaceFunc(string(t), func(placeholder string, value any) (any, error) {
		text := caddy.ToString(value)
		folded, ok := foldOrigin(repl, placeholder, text)
		if placeholder == "http.request.scheme" {
			folded, ok = FoldHost(text), true
		}
		if ok {
			origin.WriteString(folded + " ")
		}
		return "", nil
	})
	return shorten(groupPrefix + origin.String() + name)
}

// GroupKeyAt returns the key of a group of an origin.
func (t Template) GroupKeyAt(origin *url.URL, name string) string {
	return t.GroupKey(replacerFor(origin), name)
}

// Key returns the key of a resource on the host of r: the client would ask for it
// by original, and the request would reach the handler as current. Everything
// else that the key is made of is taken from r.
func (n *Namer) Key(r *Request, original, current *url.URL) string {
	clone := r.Clone(r.Context())
	clone.URL = withTarget(r.URL, original)
	clone.RequestURI = clone.URL.RequestURI()
	server, _ := clone.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := clone.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	repl := caddy.NewReplacer()
	clone = caddyhttp.PrepareRequest(clone, repl, nil, server)
	clone.URL = withTarget(clone.URL, current)
	clone.RequestURI = clone.URL.RequestURI()
	maps.Copy(clone.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	repl.Map(func(name string) (any, bool) {
		if strings.HasPrefix(name, "http.request.uri") || strings.HasPrefix(name, "http.request.orig_uri") {
			return nil, false
		}
		return r.Replacer.Get(name)
	})
	return n.Template.Key(repl)
}

// URLKey returns the key that requests for a URL have, before it is shortened.
// It fails if the key depends on more than the URL.
func (t Template) URLKey(target *url.URL) (string, error) {
	if !t.dependsOnURL() {
		return "", fmt.Errorf("the key %s depends on more than the URL", t)
	}
	return t.fullKey(replacerFor(target)), nil
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

// dependsOnURL reports whether the key follows from the URL of a request, unless
// something rewrites that.
func (t Template) dependsOnURL() bool {
	return !slices.ContainsFunc(t.placeholders(), func(name string) bool { return !ofURL(name) && !global(name) })
}

// HasPartsOfPath reports whether the key contains only some segments of the
// path, or the like, so that it doesn't begin as the path does.
func (t Template) HasPartsOfPath() bool {
	return slices.ContainsFunc(t.placeholders(), func(name string) bool { return strings.Contains(name, "uri.path.") })
}

// AnyQuery returns a query made of wildcards, from which the template makes a
// pattern for whatever a key may contain of a query.
func (t Template) AnyQuery() string {
	query := Anything
	for _, name := range t.placeholders() {
		if _, field, ok := strings.Cut(name, "uri.query."); ok {
			query += "&" + url.QueryEscape(field) + "=" + Anything
		}
	}
	return query
}

// CheckOthers returns an error if a request doesn't tell the keys of resources
// other than its own: what a map or a matcher made of the request's path doesn't
// change with the path.
func (t Template) CheckOthers() error {
	for _, name := range t.placeholders() {
		prefix, rest, _ := strings.Cut(name, ".")
		kind, _, _ := strings.Cut(rest, ".")
		if known := prefix == "http" && slices.Contains([]string{"request", "vars", "auth"}, kind); !known && !global(name) {
			return fmt.Errorf("the keys of other resources can't be told: {%s} in the option key belongs to the request", name)
		}
	}
	return nil
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

// global reports whether a placeholder has nothing to do with the request.
func global(name string) bool {
	_, ok := caddy.NewReplacer().Get(name)
	return ok
}

// ofURL reports whether a placeholder is a part of the request's URL.
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

// maxKey is how many bytes of a key are kept in full.
const maxKey = 512

// shorten shortens a key so that clients can't fill the store with long paths. A
// shortened key ends in a digest of the whole.
func shorten(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey] + "#" + hex.EncodeToString(sum[:])
}

// StoredKey returns the form in which a key is stored. Operators may give a key
// in that form already, as logs and placeholders show it.
func StoredKey(key string) string {
	if isShortened(key) {
		return key
	}
	return shorten(key)
}

// isShortened reports whether a key looks like one that was shortened.
func isShortened(key string) bool {
	if len(key) != maxKey+len("#")+hex.EncodedLen(sha256.Size) || key[maxKey] != '#' {
		return false
	}
	_, err := hex.DecodeString(key[maxKey+1:])
	return err == nil
}
