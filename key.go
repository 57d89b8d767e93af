package preconditions

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// resourceKey expands the key template for a request. Spellings that backends
// take for one path get one key: to share a key by mistake costs a needless
// wait, to have two for one resource costs an update. Express and IIS, for two,
// don't heed the case of a path.
func resourceKey(template string, repl *caddy.Replacer) string {
	key, err := repl.ReplaceFunc(template, func(name string, value any) (any, error) {
		text := caddy.ToString(value)
		switch name {
		case "http.request.host", "http.request.hostport":
			return strings.TrimSuffix(strings.ToLower(text), "."), nil
		case "http.request.uri.path", "http.request.orig_uri.path":
			return strings.ToLower(path.Clean("/" + text)), nil
		}
		return text, nil
	})
	if err != nil {
		return template
	}
	return bounded(key)
}

// keyAt returns the key of the resource that a request for another target of the
// same host would be for. Of what the key is made of, all that doesn't follow
// from the target is taken from this request.
func (x *exchange) keyAt(target *url.URL) string {
	r := x.r.Clone(x.r.Context())
	r.URL = new(*x.r.URL)
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = target.Path, target.RawPath, target.RawQuery
	r.RequestURI = r.URL.RequestURI()
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, x.w, server)
	maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	repl.Map(func(name string) (any, bool) {
		if strings.HasPrefix(name, "http.request.uri") || strings.HasPrefix(name, "http.request.orig_uri") {
			return nil, false
		}
		return x.repl.Get(name)
	})
	return resourceKey(x.h.Key, repl)
}

// keyOfURL returns the key that requests for a URL have, if that is all that
// their key depends on.
func keyOfURL(template string, target *url.URL) (string, error) {
	if !dependsOnURL(template) {
		return "", fmt.Errorf("the key %s depends on more than the URL", template)
	}
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
	return resourceKey(template, repl), nil
}

// dependsOnURL reports whether a key follows from the URL of a request, as long as
// nothing rewrites it.
func dependsOnURL(template string) bool {
	only := true
	names := caddy.NewEmptyReplacer()
	names.Map(func(name string) (any, bool) {
		only = only && (!strings.HasPrefix(name, "http.") || ofURL(name))
		return "", true
	})
	names.ReplaceAll(template, "")
	return only
}

// ofURL reports whether a placeholder is a part of the URL of a request.
func ofURL(name string) bool {
	name, ok := strings.CutPrefix(name, "http.request.")
	switch {
	case !ok:
		return false
	case name == "scheme", name == "host", name == "hostport", strings.HasPrefix(name, "host."):
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

// maxKey is how many bytes of a key are kept in full.
const maxKey = 512
