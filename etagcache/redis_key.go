package etagcache

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxKey is the number of bytes of a key that are stored in full.
const maxKey = 200

// key returns the name in Redis of the entry of key. That of a long key ends in
// its hash, and is longer than any that isn't hashed. A key that might be taken
// for a marker's is hashed, too.
func (r *Redis) key(key string) string {
	if len(key) > maxKey || strings.HasPrefix(key, markerKey) {
		sum := sha256.Sum256([]byte(key))
		key = key[:min(len(key), headOfKey)] + hashMark + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return r.prefix + key
}

// What key makes of a key that it hashes.
const (
	headOfKey = maxKey - 32
	hashMark  = "#"
)

var hashSize = base64.RawURLEncoding.EncodedLen(sha256.Size)

// keyOf returns the key of the entry of that name, or, where whole is false, how
// it begins. It returns false where the name is no entry's.
func (r *Redis) keyOf(name string) (key string, whole, ok bool) {
	key, ok = strings.CutPrefix(name, r.prefix)
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

func (r *Redis) channel() string { return r.prefix + "handover" }
