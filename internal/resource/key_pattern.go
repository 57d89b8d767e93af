package resource

import "strings"

// A key pattern names any number of keys. An asterisk in it stands for any text
// without a slash. Two asterisks at the end stand for any text at all. `/**` also
// stands for nothing, so it includes the resource that the path before it names.
// Whatever follows two asterisks doesn't count. An asterisk can't be escaped: a key
// that contains one is a pattern, and may match other keys, too.

const (
	wildcard = "*"
	// Anything stands for any text, at the end of a key pattern.
	Anything = "**"
)

// IsPattern reports whether a key is a pattern.
func IsPattern(key string) bool { return strings.Contains(key, wildcard) }

// PatternPrefix returns a text with which every key begins that a pattern matches.
func PatternPrefix(pattern string) string {
	prefix, _, _ := strings.Cut(pattern, wildcard)
	if strings.HasPrefix(pattern[len(prefix):], Anything) {
		prefix = strings.TrimSuffix(prefix, "/")
	}
	return prefix[:min(len(prefix), maxKey)]
}

// PatternMatches reports whether a pattern matches a stored key. A shortened key
// matches if its prefix could match. So does a key whose beginning is all that the
// store returned; whole is false then.
func PatternMatches(pattern, key string, whole bool) bool {
	if len(key) > maxKey {
		key, whole = key[:maxKey], false // the rest is a digest
	}
	p, k := 0, 0
	retry, taken := -1, 0 // the position after the last asterisk, and the end of what it stands for so far
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
