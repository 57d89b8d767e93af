package relation

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// Rule leads from the path of a request to other paths.
type Rule struct {
	from resource.Pattern
	to   []ruleTarget
}

// ruleTarget is a path that a rule leads to, before its wildcards are filled.
type ruleTarget struct {
	resource.Pattern
	tree bool // with everything below
}

// wholeTree ends a path that also stands for everything below it.
const wholeTree = "/**"

// ParseRule parses a rule from the configuration.
func ParseRule(from string, to ...string) (r Rule, err error) {
	if r.from, err = resource.ParsePattern(from); err != nil {
		return r, err
	}
	if len(to) == 0 {
		return r, errors.New("needs a path and at least one other path")
	}
	for _, text := range to {
		path, tree := strings.CutSuffix(text, wholeTree)
		if tree && path == "" {
			path = "/"
		}
		p, err := resource.ParsePattern(path)
		if err != nil {
			return r, err
		}
		if p.Wildcards() > r.from.Wildcards() {
			return r, fmt.Errorf("%q has more * than %q", text, from)
		}
		r.to = append(r.to, ruleTarget{p, tree})
	}
	return r, nil
}

// LeadsToTree reports whether the rule leads to a path and everything below it.
func (r Rule) LeadsToTree() bool { return len(r.Roots()) > 0 }

// Roots returns the roots of the trees that the rule leads to.
func (r Rule) Roots() (roots []resource.Pattern) {
	for _, d := range r.to {
		if d.tree {
			roots = append(roots, d.Pattern)
		}
	}
	return roots
}

// target is a path that a rule leads to from the path of a request.
type target struct {
	path    string
	tree    bool // with everything below
	escaped bool // slashes within segments are still percent-encoded
}

// url returns the target in the form in which a request would carry it.
func (t target) url() *url.URL {
	u := &url.URL{Path: t.path}
	if t.escaped {
		u.RawPath = escapedOnce.Replace(u.EscapedPath())
		u.Path = unescaped.Replace(t.path)
	}
	return u
}

// A slash within a segment stays percent-encoded. So does a percent sign, or an
// encoded slash couldn't be told from a literal "%2F".
var (
	escapedTwice = strings.NewReplacer("%2F", "%252F", "%2f", "%252F", "%25", "%2525")
	escapedOnce  = strings.NewReplacer("%252F", "%2F", "%2525", "%25")
	unescaped    = strings.NewReplacer("%2F", "/", "%25", "%")
)

// follow returns where the rule leads from the path of a URL, or nothing if the
// rule doesn't apply. A path with encoded slashes is matched twice, once with these
// slashes between segments and once with them inside: backends read it either way.
func (r Rule) follow(u *url.URL) (to []target) {
	to, _ = r.followPath(u.Path)
	kept, err := url.PathUnescape(escapedTwice.Replace(u.EscapedPath()))
	if err != nil || !strings.Contains(kept, "%2F") {
		return to
	}
	within, _ := r.followPath(kept)
	for _, t := range within {
		t.escaped = true
		to = append(to, t)
	}
	return to
}

// followPath does the same for one reading of the path, and reports whether the
// rule applies.
func (r Rule) followPath(path string) (to []target, ok bool) {
	wild, ok := r.from.Match(resource.Segments(path))
	if !ok {
		return nil, false
	}
	for _, d := range r.to {
		to = append(to, target{path: d.Fill(wild), tree: d.tree})
	}
	return to, true
}
