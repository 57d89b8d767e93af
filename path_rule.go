package preconditions

import (
	"errors"
	"fmt"
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
	p := segments(text)
	for _, s := range p {
		if strings.Contains(s, "*") && s != anySegment {
			return nil, fmt.Errorf("in %q, * must stand for a whole segment", text)
		}
	}
	return p, nil
}

// segments splits a path as it is for a key, but leaves each segment as it is
// written.
func segments(p string) []string {
	p = path.Clean("/" + strings.ReplaceAll(p, `\`, "/"))
	return slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool {
		return s == "" || implied(folded(s))
	})
}

// folded returns what the spellings of a segment have in common.
func folded(segment string) string { return foldSegment(foldCase(segment)) }

// match reports whether a path is one that p stands for, in any of the spellings
// that share its key, and returns what each `*` stood for.
func (p pathPattern) match(path string) (wild []string, ok bool) {
	given := segments(path)
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

// pathRule leads from a path to others.
type pathRule struct {
	from pathPattern
	to   []pathPattern
}

func parseRule(from string, to ...string) (r pathRule, err error) {
	if r.from, err = parsePattern(from); err != nil {
		return r, err
	}
	if len(to) == 0 {
		return r, errors.New("needs a path, and at least another one")
	}
	for _, text := range to {
		p, err := parsePattern(text)
		if err != nil {
			return r, err
		}
		if p.wildcards() > r.from.wildcards() {
			return r, fmt.Errorf("%q has more * than %q", text, from)
		}
		r.to = append(r.to, p)
	}
	return r, nil
}

// lead returns the paths that the rule leads to from a path, if it is one that
// the rule is for.
func (r pathRule) lead(from string) (to []string, ok bool) {
	wild, ok := r.from.match(from)
	if !ok {
		return nil, false
	}
	for _, p := range r.to {
		to = append(to, p.fill(wild))
	}
	return to, true
}
