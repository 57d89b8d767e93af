package preconditions

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// pathPattern is a path in which `*` stands for any one segment.
type pathPattern []string

// anySegment is the segment that stands for any.
const anySegment = "*"

func parsePattern(text string) (pathPattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("%q must begin with a slash", text)
	}
	if strings.ContainsAny(text, "?#") {
		return nil, fmt.Errorf("%q must be a path, without a query", text)
	}
	if plain, err := url.PathUnescape(text); err == nil && plain != text {
		return nil, fmt.Errorf("%q must be written without percent-encoding: %q", text, plain)
	}
	p := segments(text)
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

// segments splits a path as it is for a key, but leaves each segment as it is
// written.
func segments(p string) (kept []string) {
	p, _, _ = strings.Cut(path.Clean("/"+p), "\x00")
	for s := range strings.SplitSeq(strings.ReplaceAll(p, `\`, "/"), "/") {
		switch folded(s) {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	return slices.DeleteFunc(kept, func(s string) bool { return implied(folded(s)) })
}

// folded returns what the spellings of a segment have in common.
func folded(segment string) string { return foldSegment(foldCase(segment)) }

// match reports whether the segments of a path are those of one that p stands for,
// in any of the spellings that share its key, and returns what each `*` stood for.
func (p pathPattern) match(given []string) (wild []string, ok bool) {
	if len(given) != len(p) {
		return nil, false
	}
	for i, s := range p {
		switch {
		case s == anySegment:
			wild = append(wild, given[i])
		case folded(s) != folded(given[i]):
			return nil, false
		}
	}
	return wild, true
}

// fill puts what each `*` stands for in its place, in order.
func (p pathPattern) fill(wild []string) string {
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

// wildcards is the number of `*`.
func (p pathPattern) wildcards() (n int) {
	for _, s := range p {
		if s == anySegment {
			n++
		}
	}
	return n
}

// everythingBelow is how a path ends that stands for all that is below it, too.
const everythingBelow = "/**"

// pathRule leads from a path to others.
type pathRule struct {
	from pathPattern
	to   []destination
}

// destination is where a rule leads to.
type destination struct {
	pathPattern
	tree bool // with everything below
}

func parseRule(from string, to ...string) (r pathRule, err error) {
	if r.from, err = parsePattern(from); err != nil {
		return r, err
	}
	if len(to) == 0 {
		return r, errors.New("needs a path, and at least another one")
	}
	for _, text := range to {
		path, tree := strings.CutSuffix(text, everythingBelow)
		if tree && path == "" {
			path = "/"
		}
		p, err := parsePattern(path)
		if err != nil {
			return r, err
		}
		if p.wildcards() > r.from.wildcards() {
			return r, fmt.Errorf("%q has more * than %q", text, from)
		}
		r.to = append(r.to, destination{p, tree})
	}
	return r, nil
}

// target is a path that a rule leads to.
type target struct {
	path    string
	tree    bool // with everything below
	slashes bool // some are within segments, and still escaped
}

// url returns the target as that of a request.
func (t target) url() *url.URL {
	u := &url.URL{Path: t.path}
	if t.slashes {
		u.RawPath = escapedOnce.Replace(u.EscapedPath())
		u.Path = unescaped.Replace(t.path)
	}
	return u
}

// A slash within a segment stays escaped, and so that it is known from others, so
// does a percent sign.
var (
	escapedTwice = strings.NewReplacer("%2F", "%252F", "%2f", "%252F", "%25", "%2525")
	escapedOnce  = strings.NewReplacer("%252F", "%2F", "%2525", "%25")
	unescaped    = strings.NewReplacer("%2F", "/", "%25", "%")
)

// leadFrom does what lead does for the path of a URL. One in which slashes are
// escaped is matched with these between segments and within: backends do either.
func (r pathRule) leadFrom(u *url.URL) (to []target) {
	to, _ = r.lead(u.Path)
	kept, err := url.PathUnescape(escapedTwice.Replace(u.EscapedPath()))
	if err != nil || !strings.Contains(kept, "%2F") {
		return to
	}
	within, _ := r.lead(kept)
	for _, t := range within {
		t.slashes = true
		to = append(to, t)
	}
	return to
}

// lead returns the paths that the rule leads to from a path, if it is one that
// the rule is for.
func (r pathRule) lead(from string) (to []target, ok bool) {
	wild, ok := r.from.match(segments(from))
	if !ok {
		return nil, false
	}
	for _, d := range r.to {
		to = append(to, target{path: d.fill(wild), tree: d.tree})
	}
	return to, true
}
