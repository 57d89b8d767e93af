package validator

import (
	"errors"
	"strings"
)

// StateLists is an If field (RFC 4918, section 10.4). It is true if one of its lists is.
type StateLists struct {
	// Sent is the field as it was sent.
	Sent string
	// Lists has the lists in their order.
	Lists []StateList
}

// StateList is a list of conditions on one resource. It is true if all of them are.
type StateList struct {
	// Resource is the reference of a tagged list, and empty if the list is about the target
	// of the request.
	Resource string
	// Other is zero if the list is about the resource that Evaluate compares with. The caller
	// of ParseStateLists may set it for lists that are about others. Evaluate takes these
	// for true.
	Other int

	Conditions []StateCondition
}

// StateCondition is a condition on a state token, or on an entity tag.
type StateCondition struct {
	Not bool
	// Token is the URI of a state token. It is empty if the condition is on a tag.
	Token string
	// Tag is an entity tag as it was sent. It is empty if the condition is on a token.
	Tag string
}

// noLock is a state token that matches no resource (RFC 4918, section 10.4.8).
const noLock = "DAV:no-lock"

// ErrStateLists is the error of ParseStateLists for what isn't an If field.
var ErrStateLists = errors.New("malformed If field")

// ParseStateLists parses an If field, which has one line. Its error is ErrTooLarge if there
// are more conditions than any honest client sends, as MaxTags and MaxBytes say.
func ParseStateLists(line string) (*StateLists, error) {
	if len(line) > MaxBytes {
		return nil, ErrTooLarge
	}
	p := stateParser{rest: line}
	s := &StateLists{Sent: line}
	resource, tagged := "", false
	for p.space(); p.rest != ""; p.space() {
		if p.rest[0] == '<' {
			if len(s.Lists) > 0 && !tagged {
				return nil, ErrStateLists // the two kinds of lists can't be mixed
			}
			reference, ok := p.between('<', '>')
			if p.space(); !ok || !strings.HasPrefix(p.rest, "(") {
				return nil, ErrStateLists
			}
			resource, tagged = reference, true
		}
		conditions, err := p.list()
		if err != nil {
			return nil, err
		}
		s.Lists = append(s.Lists, StateList{Resource: resource, Conditions: conditions})
	}
	if s.Lists == nil {
		return nil, ErrStateLists
	}
	return s, nil
}

// stateParser parses what is left of an If field.
type stateParser struct {
	rest       string
	conditions int
}

// space skips white space.
func (p *stateParser) space() { p.rest = strings.TrimLeft(p.rest, ows) }

// list parses a list with its parentheses.
func (p *stateParser) list() (all []StateCondition, err error) {
	var ok bool
	if p.rest, ok = strings.CutPrefix(p.rest, "("); !ok {
		return nil, ErrStateLists
	}
	for p.space(); p.rest != ""; p.space() {
		if rest, end := strings.CutPrefix(p.rest, ")"); end && all != nil {
			p.rest = rest
			return all, nil
		}
		if p.conditions++; p.conditions > MaxTags {
			return nil, ErrTooLarge
		}
		c, ok := p.condition()
		if !ok {
			return nil, ErrStateLists
		}
		all = append(all, c)
	}
	return nil, ErrStateLists
}

// condition parses a condition.
func (p *stateParser) condition() (c StateCondition, ok bool) {
	if len(p.rest) > len("Not") && strings.EqualFold(p.rest[:len("Not")], "Not") {
		c.Not, p.rest = true, p.rest[len("Not"):]
		p.space()
	}
	if strings.HasPrefix(p.rest, "[") {
		// A tag may have brackets inside its quotes.
		open := strings.IndexByte(p.rest, '"')
		if open < 0 {
			return c, false
		}
		length := strings.IndexByte(p.rest[open+1:], '"')
		if end := open + length + 2; length >= 0 && strings.HasPrefix(p.rest[end:], "]") {
			c.Tag, p.rest = p.rest[1:end], p.rest[end+1:]
			_, ok = ParseETag(c.Tag)
		}
		return c, ok
	}
	c.Token, ok = p.between('<', '>')
	return c, ok
}

// between parses a URI with the characters around it.
func (p *stateParser) between(open, shut byte) (uri string, ok bool) {
	end := strings.IndexByte(p.rest, shut)
	if end < 2 || p.rest[0] != open {
		return "", false
	}
	uri, p.rest = p.rest[1:end], p.rest[end+1:]
	return uri, !strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7F || strings.ContainsRune(`<>"()[]`, c) })
}

// HasTags reports whether a condition is on an entity tag.
func (s *StateLists) HasTags() bool {
	if s == nil {
		return false
	}
	for _, l := range s.Lists {
		if l.hasTags() {
			return true
		}
	}
	return false
}

// Requires reports whether the field can be true only for some state of a resource: each list
// has a condition other than that a token doesn't match.
func (s *StateLists) Requires() bool {
	for _, l := range s.Lists {
		requires := false
		for _, c := range l.Conditions {
			requires = requires || c.Tag != "" || !c.Not
		}
		if !requires {
			return false
		}
	}
	return true
}

// HasTokens reports whether a condition is on a state token.
func (s *StateLists) HasTokens() bool {
	if s == nil {
		return false
	}
	for _, l := range s.Lists {
		for _, c := range l.Conditions {
			if c.Token != "" {
				return true
			}
		}
	}
	return false
}

// AllTagsHold reports whether the tags of all lists hold for r. The field then means what it
// means without its tags.
func (s *StateLists) AllTagsHold(weak WeakTags, r Representation) bool {
	for _, l := range s.Lists {
		if l.Other != 0 && l.hasTags() || l.EvaluateTags(weak, r).Verdict != True {
			return false
		}
	}
	return true
}

func (l StateList) hasTags() bool {
	for _, c := range l.Conditions {
		if c.Tag != "" {
			return true
		}
	}
	return false
}

// evaluate evaluates the tags of the lists that are about r. Whatever is true for tokens, the
// field is false if the tags of every list are.
func (s *StateLists) evaluate(weak WeakTags, r Representation) Result {
	var first, refuted Result
	for _, l := range s.Lists {
		res := Result{Verdict: True}
		if l.Other == 0 {
			res = l.EvaluateTags(weak, r)
		}
		switch {
		case res.Verdict == Unverifiable:
			return res
		case res.Verdict == False && refuted.Verdict == Unconditional:
			refuted = res
		case res.Verdict == True && (first.Verdict == Unconditional || !first.Matched.Valid):
			first = res
		}
	}
	if first.Verdict == True {
		return first
	}
	return refuted
}

// EvaluateTags evaluates the conditions on tags of a list that is about r. A tag is compared
// as in If-Match, and after Not as in If-None-Match, so a weak one is never taken for proof.
func (l StateList) EvaluateTags(weak WeakTags, r Representation) Result {
	if r.State != Present {
		r = Representation{State: r.State}
	}
	all := Result{Verdict: True}
	for _, c := range l.Conditions {
		var res Result
		switch {
		case c.Tag == "":
			continue
		case c.Not:
			res = ifNoneMatch([]string{c.Tag}, r, false)
		default:
			res = ifMatch([]string{c.Tag}, weak, r)
		}
		switch {
		case res.Verdict == False:
			return res
		case res.Verdict == Unverifiable || all.Verdict == True && !all.Matched.Valid:
			all = res
		}
	}
	return all
}

// WithoutTags returns the field for a backend that has never seen the tags: holds says whether
// the tags of a list hold. All tokens stay, because a token counts as submitted wherever it is
// (RFC 4918, section 10.4.1). A list whose tags don't hold can't be true for the backend
// either. If no tokens are left, there is nothing to send, and the text is empty.
func (s *StateLists) WithoutTags(holds func(StateList) bool) string {
	var b strings.Builder
	tokens := false
	for _, l := range s.Lists {
		text, has := l.withoutTags(holds(l))
		if text == "" {
			continue
		}
		tokens = tokens || has
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if l.Resource != "" {
			b.WriteString("<" + l.Resource + "> ")
		}
		b.WriteString(text)
	}
	if !tokens {
		return ""
	}
	return b.String()
}

// withoutTags returns what is left of a list, and whether it has tokens of the client's.
func (l StateList) withoutTags(holds bool) (text string, tokens bool) {
	var left []string
	for _, c := range l.Conditions {
		if c.Tag == "" {
			left, tokens = append(left, StateCondition{Not: c.Not, Token: c.Token}.String()), true
		}
	}
	switch {
	case !holds && !tokens:
		return "", false
	case !holds:
		left = append(left, StateCondition{Token: noLock}.String())
	case !tokens:
		left = append(left, StateCondition{Not: true, Token: noLock}.String())
	}
	return "(" + strings.Join(left, " ") + ")", tokens
}

// String returns the condition as it is sent.
func (c StateCondition) String() string {
	text := "<" + c.Token + ">"
	if c.Tag != "" {
		text = "[" + c.Tag + "]"
	}
	if c.Not {
		return "Not " + text
	}
	return text
}
