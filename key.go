package preconditions

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
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

// maxKey is how many bytes of a key are kept in full, so that clients can't
// fill the store with long paths. A longer one ends in its digest.
const maxKey = 512
