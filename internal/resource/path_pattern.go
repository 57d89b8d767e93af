package resource

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pattern is a path, split into segments. The segment `*` stands for any one
// segment.
type Pattern []string

// anySegment is the segment that stands for any segment.
const anySegment = "*"

// ParsePattern parses a path pattern from the configuration.
func ParsePattern(text string) (Pattern, error) {
	if err := checkWildcards(text); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("%q must begin with a slash", text)
	}
	if strings.ContainsAny(text, "?#") {
		return nil, fmt.Errorf("%q must be a path, without a query", text)
	}
	if plain, err := url.PathUnescape(text); err == nil && plain != text {
		return nil, fmt.Errorf("%q must be written without percent-encoding: %q", text, plain)
	}
	if unclearPath(text) != "" {
		return nil, fmt.Errorf("%q must be written without dot segments and double slashes", text)
	}
	p := Segments(text)
	for _, s := range p {
		switch {
		case s == anySegment:
		case strings.Contains(s, anySegment+anySegment):
			return nil, fmt.Errorf("in %q, ** may stand only at the end of what is affected", text)
		case strings.Contains(s, anySegment):
			return nil, fmt.Errorf("in %q, * must stand for a whole segment", text)
		}
	}
	return p, nil
}

// foreign matches segments that stand for any segment elsewhere, and what only occurs in
// regular expressions.
var foreign = regexp.MustCompile(`^(?::\w+|<[^<>]*>)$|[{}]|\.\*|\.\+|\[(?:\^|\w-\w)|\\[A-Za-z.]|\(\?|^\^$`)

// checkWildcards refuses the wildcards of other languages. They would be taken literally,
// and the rule would never apply.
func checkWildcards(text string) error {
	for s := range strings.SplitSeq(text, "/") {
		switch found := foreign.FindString(s); {
		case found == "":
		case strings.Contains(s, "{http."):
			return fmt.Errorf("in %q, %s would be taken literally: a Caddyfile takes {path}, {host}, {file} and some others for a placeholder. Choose a different name, or write * for any one segment", text, s)
		case strings.ContainsAny(found, "{}"):
			return fmt.Errorf("in %q, %s would be taken literally: write * for any one segment. Only guards fills in what the content of a write says: as a whole segment {name} of its second path", text, s)
		case strings.ContainsAny(found, ":<"):
			return fmt.Errorf("in %q, %s would be taken literally: write * for any one segment", text, s)
		default:
			return fmt.Errorf("%q looks like a regular expression: write * for any one segment", text)
		}
	}
	return nil
}

// Segments splits a path into the segments that count for a key. It doesn't fold
// them.
func Segments(p string) (kept []string) {
	for s := range strings.SplitSeq(cleanPath(p), "/") {
		switch foldSegment(s) {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	return slices.DeleteFunc(kept, func(s string) bool { return implied(foldSegment(s)) })
}

// Match reports whether the segments of a path match the pattern, in any
// spelling that leads to the same key. It returns what each `*` stood for.
func (p Pattern) Match(segments []string) (wild []string, ok bool) {
	if len(segments) != len(p) {
		return nil, false
	}
	for i, s := range p {
		switch {
		case s == anySegment:
			wild = append(wild, segments[i])
		case foldSegment(s) != foldSegment(segments[i]):
			return nil, false
		}
	}
	return wild, true
}

// Fill returns the path with each `*` replaced by the next element of wild, which
// has at least as many elements as p has wildcards.
func (p Pattern) Fill(wild []string) string {
	var b strings.Builder
	for _, s := range p {
		if s == anySegment {
			s, wild = wild[0], wild[1:]
		}
		b.WriteString("/" + s)
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// IsSegment reports whether a text can be one segment of a path, in one reading only.
func IsSegment(text string) bool {
	if text == "" || strings.ContainsAny(text, `/\%`) || strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
		return false
	}
	u := &url.URL{Path: "/" + text}
	return IsPlain(u) && len(Segments(u.Path)) == 1
}

// Wildcards returns the number of `*` in the pattern.
func (p Pattern) Wildcards() (n int) {
	for _, s := range p {
		if s == anySegment {
			n++
		}
	}
	return n
}
