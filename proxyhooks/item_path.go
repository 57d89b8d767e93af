package proxyhooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// ItemPath says how to find the path of an item in a list: by a template, or by a JSON
// pointer to a member of the item.
type ItemPath struct {
	pointer   Pointer   // if there are no variables
	literals  []string  // of a template: before, between and after its variables
	variables []Pointer // of a template
	paths     *regexp.Regexp
}

// ParseItemPath parses a template if text contains a brace, otherwise a JSON pointer. A
// template is a path that begins with a slash. Its variables, such as {id}, name members
// of the item (RFC 6570, level 1). The error doesn't repeat the text.
func ParseItemPath(text string) (p ItemPath, err error) {
	if !strings.Contains(text, "{") {
		if p.pointer, err = ParsePointer(text); err == nil && text == "" {
			err = errors.New("must point at a member of the item")
		}
		return p, err
	}
	for rest := text; ; {
		literal, after, more := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return p, errors.New("has a } without a {")
		}
		p.literals = append(p.literals, literal)
		if !more {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			return p, errors.New("has a { without a }")
		case name == "" || strings.ContainsFunc(name, invalidInVariable):
			return p, fmt.Errorf("has the variable {%s}: the name of a member, of letters, digits, _ and -, is needed "+
				"(a Caddyfile takes {path}, {host}, {file} and some others for something else)", name)
		}
		p.variables = append(p.variables, Pointer{text: "/" + name, tokens: []string{name}})
		rest = after
	}
	literal := strings.Join(p.literals, "")
	if _, err := url.ParseRequestURI(literal); err != nil || !strings.HasPrefix(text, "/") || strings.ContainsAny(literal, "?#") {
		return p, errors.New("must be a path that begins with a slash, without a query")
	}
	var quoted []string
	for _, literal := range p.literals {
		quoted = append(quoted, regexp.QuoteMeta((&url.URL{Path: literal}).EscapedPath()))
	}
	p.paths, err = regexp.Compile("(?i)^" + strings.Join(quoted, "[^/]+") + "/?$")
	return p, err
}

// Matches reports whether the path of a URL may be one of an item. A path that isn't given as
// a template matches nothing.
func (p ItemPath) Matches(u *url.URL) bool {
	return p.paths != nil && p.paths.MatchString(u.EscapedPath())
}

func invalidInVariable(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
}

// Template reports whether the path was given as a template. Then Of returns a path as the
// handler receives it, rather than a reference as the client would resolve it.
func (p ItemPath) Template() bool { return len(p.variables) > 0 }

// Of returns the path of an item, or, if p isn't a template, the URI reference that the
// item contains. It reports false if the item doesn't contain the needed values as
// non-empty strings or, in a template, integers. The item must be valid JSON in UTF-8.
func (p ItemPath) Of(item []byte) (reference string, ok bool) {
	if !p.Template() {
		value, ok := p.pointer.find(item)
		if !ok || value[0] != '"' {
			return "", false
		}
		err := json.Unmarshal(value, &reference)
		return reference, err == nil && reference != ""
	}
	// A library for RFC 6570 would expand a missing or null member to nothing, which gives
	// the path of a different resource.
	var b strings.Builder
	for i, variable := range p.variables {
		value, found := variable.find(item)
		text, ok := segment(value)
		if !found || !ok {
			return "", false
		}
		b.WriteString(p.literals[i] + text)
	}
	return b.String() + p.literals[len(p.variables)], true
}

// segment returns a value as it appears in a path (RFC 6570, section 3.2.2): a string
// with every reserved character escaped, or an integer as it is written.
func segment(value []byte) (string, bool) {
	text, ok := Text(value)
	return EscapeSegment(text), ok && text != ""
}

// EscapeSegment escapes every reserved character of a text (RFC 6570, section 3.2.2).
func EscapeSegment(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}
