package resource

import (
	"net/url"
	"slices"
	"strings"
)

// The key may contain a parameter of the query. Caddy reads it as Go does. Backends differ
// in what they take for that parameter, and which of several they read.

// CheckQuery makes a write unclear if nobody can tell which resource it is about, because
// the key contains a parameter of the query that backends may read differently.
func (t Template) CheckQuery(r *Request) {
	if r.Class != Write || r.Unclear != "" || !strings.Contains(string(t), "uri.query.") {
		return
	}
	for _, placeholder := range t.placeholders() {
		_, original, _ := strings.Cut(r.OriginalTarget, "?")
		for prefix, query := range map[string]string{
			"http.request.uri.query.":      r.URL.RawQuery,
			"http.request.orig_uri.query.": original,
		} {
			if name, ok := strings.CutPrefix(placeholder, prefix); ok && !plainlyOnce(query, name) {
				r.Unclear = "the parameter " + name + " of the query must be there only once, and in this spelling"
				return
			}
		}
	}
}

// plainlyOnce reports whether all backends read the same value for a parameter of a query:
// it is there at most once, and in no other spelling.
func plainlyOnce(query, name string) bool {
	count := 0
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		raw, value, _ := strings.Cut(pair, "=")
		decoded, err := url.QueryUnescape(raw)
		if err != nil {
			decoded = raw
		}
		if foldParameter(decoded) != foldParameter(name) {
			continue
		}
		count++
		if _, bad := url.QueryUnescape(value); decoded != name || err != nil || bad != nil {
			return false
		}
	}
	return count == 0 || count == 1 && !strings.Contains(query, ";")
}

// Parameter returns the decoded value of a parameter of a query. It reports false if backends
// may read different values.
func Parameter(query, name string) (value string, found, clear bool) {
	if !plainlyOnce(query, name) {
		return "", true, false
	}
	for pair := range strings.SplitSeq(query, "&") {
		if isParameter(pair, name) {
			_, value, _ = strings.Cut(pair, "=")
			value, _ = url.QueryUnescape(value)
			return value, true, true
		}
	}
	return "", false, true
}

// WithoutParameter returns a query without a parameter, in any of its spellings that say the
// same. The rest stays as it is.
func WithoutParameter(query, name string) string {
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool { return isParameter(pair, name) })
	return strings.Join(pairs, "&")
}

func isParameter(pair, name string) bool {
	raw, _, _ := strings.Cut(pair, "=")
	decoded, err := url.QueryUnescape(raw)
	return err == nil && decoded == name
}

// foldParameter returns what all spellings of a parameter's name have in common: backends
// ignore case (ASP.NET), blanks at the beginning and brackets at the end (PHP, Rails), and
// take a dot or a blank for an underscore (PHP).
func foldParameter(name string) string {
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.TrimLeft(name, " ")
	if i := strings.IndexByte(name, '['); i > 0 {
		name = name[:i]
	}
	return strings.NewReplacer(".", "_", " ", "_").Replace(strings.ToLower(name))
}
