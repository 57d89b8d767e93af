package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Template makes the key of a resource: it is a text with placeholders. The values
// of placeholders for the host, the port and the path are folded (fold.go).
type Template string

// HostAndPath is the usual template.
const HostAndPath Template = "{http.request.host}{http.request.uri.path}"

// Prefixes of the keys that don't belong to resources. No host and no path begins
// with them. Clients choose the value of other placeholders that a template may
// begin with, so the key of a resource that has such a prefix gets a slash in front.
const (
	groupPrefix   = "group "
	lockPrefix    = "lock "
	subtreePrefix = "age "
)

// Key returns the key for the request that a replacer belongs to.
func (t Template) Key(repl *caddy.Replacer) string { return shorten(t.fullKey(repl)) }

// ownKey returns the key of a request. Most have the usual template, and write their host and
// path as the key does.
func (t Template) ownKey(r *Request) string {
	if t == HostAndPath && isFolded(r.URL.Path) {
		if host, ok := foldedHost(r.Host); ok {
			return shorten(host + r.URL.Path)
		}
	}
	return t.Key(r.Replacer)
}

// fullKey returns the key before it is shortened.
func (t Template) fullKey(repl *caddy.Replacer) string {
	key, err := repl.ReplaceFunc(string(t), func(name string, value any) (any, error) {
		text := caddy.ToString(value)
		switch name {
		case objectPlaceholder:
			return objectKey(repl), nil
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
		return foldHost(value), true
	case "http.request.port":
		scheme, _ := repl.GetString("http.request.scheme")
		return foldPort(scheme, value), true
	case "http.request.hostport":
		scheme, _ := repl.GetString("http.request.scheme")
		return foldHostPort(scheme, value), true
	}
	return "", false
}

// maxKey is the number of bytes of a key that are kept.
const maxKey = 512

// shorten shortens a long key: clients can't fill the store with long paths. A
// shortened key ends in a digest of the whole.
func shorten(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey] + "#" + hex.EncodeToString(sum[:])
}

// StoredKey returns a key in the form in which it is stored. The key that an
// operator copied from a log may have that form already.
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

// MaxGroupName is the number of bytes that the name of a group may have. Nothing is
// stored of a resource in a group with a longer name.
const MaxGroupName = 256

// GroupKey returns the key of a group of resources (RFC 9875). It contains the same
// parts of the scheme, host and port as the keys of resources: if two origins share
// the keys of their resources, they must share their groups, too.
func (t Template) GroupKey(repl *caddy.Replacer, name string) string {
	var origin strings.Builder
	_, _ = repl.ReplaceFunc(string(t), func(placeholder string, value any) (any, error) {
		text := caddy.ToString(value)
		folded, ok := foldOrigin(repl, placeholder, text)
		if placeholder == "http.request.scheme" {
			folded, ok = foldHost(text), true
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
