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
			return strings.TrimSuffix(strings.ToLower(text), "."), nil
		case "http.request.uri.path", "http.request.orig_uri.path":
			return strings.ToLower(path.Clean("/" + text)), nil
		}
		return text, nil
	})
	if err != nil {
		return template
	}
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = key[:maxKey] + "#" + hex.EncodeToString(sum[:])
	}
	return key
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
