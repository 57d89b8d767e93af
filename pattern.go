package preconditions

import "strings"

// In a pattern of keys, an asterisk stands for any text without a slash, and two
// at its end for any text at all: `/**` for everything below, and for that which
// it is below. What follows two doesn't count. There is no way to write an
// asterisk that stands for itself, so that such a key is a pattern that means
// others, too.

const (
	wildcard = "*"
	anything = "**"
)

// isPattern reports whether key stands for any number of keys.
func isPattern(key string) bool { return strings.Contains(key, wildcard) }

// patternPrefix returns what all keys begin with that a pattern means.
func patternPrefix(pattern string) string {
	prefix, _, _ := strings.Cut(pattern, wildcard)
	if strings.HasPrefix(pattern[len(prefix):], anything) {
		prefix = strings.TrimSuffix(prefix, "/")
	}
	return prefix[:min(len(prefix), maxKey)]
}

// patternMatches reports whether a pattern means a key as it is stored. Of one
// that isn't whole it may mean what is left out, so that it is taken to.
func patternMatches(pattern, key string, whole bool) bool {
	if len(key) > maxKey {
		key, whole = key[:maxKey], false // the rest is a digest
	}
	p, k := 0, 0
	retry, taken := -1, 0 // after the last asterisk, and what it stands for so far
	for {
		left := pattern[p:]
		switch {
		case strings.HasPrefix(left, anything), strings.HasPrefix(left, "/"+anything) && k == len(key):
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
