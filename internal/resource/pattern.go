package resource

import "strings"

// A key pattern names any number of keys. In it, an asterisk stands for any text
// without a slash. Two asterisks at the end stand for any text at all, and `/**`
// also for nothing, so that it includes what the path before it names. Whatever
// follows two asterisks doesn't count. There is no way to write an asterisk that
// stands for itself: a key that contains one is a pattern, which also matches
// other keys.

const (
	wildcard = "*"
	// Anything stands for any text.
	Anything = "**"
)

// IsPattern reports whether a key stands for any number of keys.
func IsPattern(key string) bool { return strings.Contains(key, wildcard) }

// PatternPrefix returns the text with which all keys begin that a pattern
// matches.
func PatternPrefix(pattern string) string {
	prefix, _, _ := strings.Cut(pattern, wildcard)
	if strings.HasPrefix(pattern[len(prefix):], Anything) {
		prefix = strings.TrimSuffix(prefix, "/")
	}
	return prefix[:min(len(prefix), maxKey)]
}

// PatternMatches reports whether a pattern matches a key as it is stored. A
// shortened key matches if its prefix could match; whole is false for a key that
// the store returned only in part.
func PatternMatches(pattern, key string, whole bool) bool {
	if len(key) > maxKey {
		key, whole = key[:maxKey], false // the rest is a digest
	}
	p, k := 0, 0
	retry, taken := -1, 0 // after the last asterisk, and how far it reaches so far
	for {
		left := pattern[p:]
		switch {
		case strings.HasPrefix(left, Anything), strings.HasPrefix(left, "/"+Anything) && k == len(key):
			return true
		case k == len(key) && !whole:
			return true
		case strings.HasPrefix(left, wildcard):
			p++
			retry, taken = p, k
			continue
		case left == "" && k == len(key):
			return true
		case left != "" && k < len(key) && left[0] == key[k]:
			p++
			k++
			continue
		}
		if retry < 0 || taken == len(key) || key[taken] == '/' {
			return false
		}
		taken++ // let the asterisk stand for one more
		p, k = retry, taken
	}
}
