package etagcache

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxKey is the length in bytes up to which keys are stored in full.
const maxKey = 200

// prefix is the beginning of every name that a store uses in Redis.
type prefix string

// entry returns the name under which Redis stores the entry of key. The name of a
// long key ends in a hash of the key, which makes it longer than any name without
// one. A key that could be mistaken for a marker is hashed, too.
func (p prefix) entry(key string) string {
	if len(key) > maxKey || strings.HasPrefix(key, markerKey) {
		sum := sha256.Sum256([]byte(key))
		key = key[:min(len(key), headOfKey)] + hashMark + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return string(p) + key
}

const (
	headOfKey = maxKey - 32 // how many bytes of a hashed key remain in its name
	hashMark  = "#"         // what separates them from the hash
)

var hashSize = base64.RawURLEncoding.EncodedLen(sha256.Size)

// key is the inverse of entry. If whole is false, it returns only the beginning of
// the key. If ok is false, the name doesn't belong to an entry.
func (p prefix) key(name string) (key string, whole, ok bool) {
	key, ok = strings.CutPrefix(name, string(p))
	marker := strings.HasPrefix(key, markerKey)
	if !ok || len(key) <= maxKey && !marker {
		return key, true, ok
	}
	head := len(key) - hashSize - len(hashMark)
	if head < 0 || !strings.HasPrefix(key[head:], hashMark) {
		return "", false, false // a marker
	}
	return key[:head], false, true
}

// channel returns the name of the channel on which ends of writes are announced.
func (p prefix) channel() string { return string(p) + "handover" }
