package proxyhooks

import "strings"

// Links returns the targets of the links that have the given relation type, from the
// lines of a Link field (RFC 8288, section 3). In a malformed line, it reads the links
// before the error. It leaves out links with an anchor, which say something about a
// different resource (section 3.2).
func Links(lines []string, relation string) (targets []string) {
	for _, line := range lines {
		rest := line
		for {
			link, after, ok := nextLink(rest)
			if !ok {
				break
			}
			if !link.hasAnchor && link.hasRelation(relation) {
				targets = append(targets, link.target)
			}
			rest = after
		}
	}
	return targets
}

// link is a link-value. The parser is our own, because the packages in use
// (tomnomnom/linkheader, peterhellberg/link) split targets and titles at commas and ignore
// anchors. Either would invalidate the wrong resource.
type link struct {
	target    string
	relations string // separated by spaces
	hasRel    bool   // only the first rel counts (section 3.3)
	hasAnchor bool
}

// hasRelation reports whether the link has a relation type, which is compared without
// regard to case.
func (l *link) hasRelation(relation string) bool {
	for r := range strings.FieldsSeq(l.relations) {
		if strings.EqualFold(r, relation) {
			return true
		}
	}
	return false
}

// nextLink reads the first link of s (RFC 8288, appendix B.2).
func nextLink(s string) (l link, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t,"), "<")
	if !ok {
		return l, "", false
	}
	if l.target, s, ok = strings.Cut(s, ">"); !ok {
		return l, "", false
	}
	for {
		if s, ok = strings.CutPrefix(trimLeft(s), ";"); !ok {
			break
		}
		var name, value string
		name, value, s = nextParameter(s)
		switch strings.ToLower(name) {
		case "rel":
			if !l.hasRel {
				l.relations, l.hasRel = value, true
			}
		case "anchor":
			l.hasAnchor = true
		}
	}
	// Ignore anything else before the comma that ends the link.
	_, s, _ = strings.Cut(s, ",")
	return l, s, true
}

// nextParameter reads the first parameter of s (RFC 8288, appendix B.3).
func nextParameter(s string) (name, value, rest string) {
	s = trimLeft(s)
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return trimRight(s), "", ""
	}
	name, s = trimRight(s[:end]), s[end:]
	if s[0] != '=' {
		return name, "", s
	}
	s = trimLeft(s[1:])
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		value, rest = unquote(quoted)
		return name, value, rest
	}
	if end = strings.IndexAny(s, ";,"); end < 0 {
		end = len(s)
	}
	return name, trimRight(s[:end]), s[end:]
}

// unquote reads a quoted string after its opening quote (RFC 9110, section 5.6.4).
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func trimLeft(s string) string  { return strings.TrimLeft(s, " \t") }
func trimRight(s string) string { return strings.TrimRight(s, " \t") }
