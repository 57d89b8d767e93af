package preconditions

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
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
			return normalHost(text), nil
		case "http.request.uri.path", "http.request.orig_uri.path":
			return strings.ToLower(path.Clean("/" + text)), nil
		}
		return text, nil
	})
	if err != nil {
		return template
	}
	if strings.HasPrefix(key, groupPrefix) {
		key = "/" + key
	}
	return shorten(key)
}

// groupPrefix is what the keys of groups begin with, and no key of a resource: no
// host and no path does, and what else a template may begin with can be chosen
// by clients.
const groupPrefix = "group "

func normalHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// shorten returns a key that is no longer than what is kept of one.
func shorten(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey] + "#" + hex.EncodeToString(sum[:])
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

// maxKey is how many bytes of a key are kept in full, so that clients can't
// fill the store with long paths. A longer one ends in its digest.
const maxKey = 512
