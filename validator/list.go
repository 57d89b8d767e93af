package validator

import (
	"iter"
	"strings"
)

// A list iterates over the members of a list-based field (RFC 9110, section 5.6.1)
// without joining its lines. The standard library has no parser for such lists.
//
// A member ends at the next comma outside quotes, or at the end of its line. An
// unclosed quote makes the rest of its line one malformed member. It neither hides
// the next line nor takes anything from it. Every quote opens or closes, wherever it
// is, as in `x"y, z"`. So text that another parser sees as the inside of a tag never
// becomes a member here. Empty elements are skipped.
type list struct {
	lines  []string // the current line and those after it
	pos    int      // in the current line
	before int      // the length of the lines before it, joined with ", "
}

// next returns the next member without the white space around it, and its
// offset in the joined lines.
func (l *list) next() (member string, offset int, ok bool) {
	for ; len(l.lines) > 0; l.nextLine() {
		line := l.lines[0]
		l.pos = len(line) - len(strings.TrimLeft(line[l.pos:], ows+","))
		if l.pos == len(line) {
			continue
		}
		start, quoted := l.pos, false
		for ; l.pos < len(line) && (quoted || line[l.pos] != ','); l.pos++ {
			quoted = quoted != (line[l.pos] == '"')
		}
		return trimOWS(line[start:l.pos]), l.before + start, true
	}
	return "", 0, false
}

func (l *list) nextLine() {
	l.before += len(l.lines[0]) + len(", ")
	l.lines, l.pos = l.lines[1:], 0
}

// Tags yields the entity tags that a list-based field contains, such as If-Match. It leaves
// out members that are not entity tags, which never match.
func Tags(lines []string) iter.Seq[ETag] {
	return func(yield func(ETag) bool) {
		l := list{lines: lines}
		for {
			member, _, ok := l.next()
			if !ok {
				return
			}
			if tag, valid := ParseETag(member); valid && !yield(tag) {
				return
			}
		}
	}
}

// IsWildcard reports whether a list-based field is a single "*". The grammar allows the
// wildcard only alone, so neither "*," nor a second line is one.
func IsWildcard(lines []string) bool {
	return len(lines) == 1 && trimOWS(lines[0]) == "*"
}

// ows is optional white space (RFC 9110, section 5.6.3).
const ows = " \t"

func trimOWS(s string) string { return strings.Trim(s, ows) }
