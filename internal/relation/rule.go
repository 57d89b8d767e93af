package relation

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
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

	// variables has one element for each wildcard of the pattern: the member of the content
	// that fills it, or nothing if what the path matched does. Nil if there are no members.
	variables []string
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
		r.to = append(r.to, ruleTarget{Pattern: p, tree: tree})
	}
	return r, nil
}

// ParseGuard parses a rule that leads to the one resource that conditions are about. Whole
// segments of its path may be variables, such as {id}.
func ParseGuard(from, to string) (r Rule, err error) {
	segments := strings.Split(to, "/")
	var variables []string
	found := false
	for i, s := range segments {
		name, isVariable := variable(s)
		switch {
		case s == "*":
			variables = append(variables, "")
		case isVariable:
			segments[i], found = "*", true
			variables = append(variables, name)
		}
	}
	if !found {
		return ParseRule(from, to)
	}
	if r.from, err = resource.ParsePattern(from); err != nil {
		return r, err
	}
	p, err := resource.ParsePattern(strings.Join(segments, "/"))
	if err != nil {
		return r, err
	}
	if n := len(variables) - len(names(variables)); n > r.from.Wildcards() {
		return r, fmt.Errorf("%q has more * than %q", to, from)
	}
	r.to = []ruleTarget{{Pattern: p, variables: variables}}
	return r, nil
}

// variable returns the name of the variable that a segment is.
func variable(segment string) (name string, ok bool) {
	inside, opens := strings.CutPrefix(segment, "{")
	name, closes := strings.CutSuffix(inside, "}")
	return name, opens && closes && name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
	})
}

// names returns the variables among the fillings of a pattern's wildcards.
func names(variables []string) []string {
	return slices.DeleteFunc(slices.Clone(variables), func(name string) bool { return name == "" })
}

// Variables returns the members of the content that the rule needs.
func (r Rule) Variables() (all []string) {
	for _, d := range r.to {
		all = append(all, names(d.variables)...)
	}
	return all
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
	tree    bool   // with everything below
	escaped bool   // slashes within segments are still percent-encoded
	raw     string // the path with reserved characters of variables escaped, if there are any
}

// url returns the target in the form in which a request would carry it.
func (t target) url() *url.URL {
	u := &url.URL{Path: t.path}
	if t.escaped {
		u.RawPath = escapedOnce.Replace(u.EscapedPath())
		u.Path = unescaped.Replace(t.path)
	} else if t.raw != "" {
		u.RawPath = t.raw
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

// follow returns where the rule leads from the path of a URL, or nothing if the rule doesn't
// apply, or the values of variables are missing.
func (r Rule) follow(u *url.URL, values Values) (to []target) {
	to = r.followPath(u.Path, values)
	kept, ok := keptSlashes(u)
	if !ok {
		return to
	}
	for _, t := range r.followPath(kept, values) {
		t.escaped = true
		to = append(to, t)
	}
	return to
}

// keptSlashes returns the path of a URL with encoded slashes inside segments, if it has any.
// Such a path is matched twice, once with these slashes between segments and once with them
// inside: backends read it either way.
func keptSlashes(u *url.URL) (path string, ok bool) {
	path, err := url.PathUnescape(escapedTwice.Replace(u.EscapedPath()))
	return path, err == nil && strings.Contains(path, "%2F")
}

// matches reports whether the rule is about the path of a URL.
func (r Rule) matches(u *url.URL) bool {
	_, ok := r.from.Match(resource.Segments(u.Path))
	if kept, twice := keptSlashes(u); !ok && twice {
		_, ok = r.from.Match(resource.Segments(kept))
	}
	return ok
}

// followPath does the same for one reading of the path.
func (r Rule) followPath(path string, values Values) (to []target) {
	wild, ok := r.from.Match(resource.Segments(path))
	if !ok {
		return nil
	}
	for _, d := range r.to {
		if all, complete := d.filling(wild, values); complete {
			to = append(to, target{path: d.Fill(all), tree: d.tree, raw: d.raw(all)})
		}
	}
	return to
}

// filling returns what fills the wildcards of a path, from what the wildcards of the
// request's path stood for, and from the content. It reports false if the content lacks
// something.
func (d ruleTarget) filling(wild []string, values Values) (all []string, complete bool) {
	if d.variables == nil {
		return wild, true
	}
	for _, name := range d.variables {
		if name == "" {
			all, wild = append(all, wild[0]), wild[1:]
			continue
		}
		value, ok := values[name]
		if !ok {
			return nil, false
		}
		all = append(all, value)
	}
	return all, true
}

// raw returns the filled path as a client would write it that expands a template (RFC 6570,
// section 3.2.2), or nothing if the path has no variables.
func (d ruleTarget) raw(all []string) string {
	if d.variables == nil {
		return ""
	}
	var b strings.Builder
	next := 0
	for _, s := range d.Pattern {
		switch {
		case s != "*":
			s = (&url.URL{Path: "/" + s}).EscapedPath()[1:]
		case d.variables[next] != "":
			s = proxyhooks.EscapeSegment(all[next])
			next++
		default:
			s = (&url.URL{Path: "/" + all[next]}).EscapedPath()[1:]
			next++
		}
		b.WriteString("/" + s)
	}
	return b.String()
}
