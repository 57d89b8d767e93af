package validator

// A list walks over the members of a list-based field (RFC 9110, section
// 5.6.1) without joining its lines.
//
// A member ends at the next comma outside of quotes, or with its line: a quote
// that is left open makes the rest of the line one malformed member, and so
// neither hides what the next line says nor borrows from it. Every quote opens
// or closes, wherever it stands, as in `x"y, z"`. Thus what one reader takes
// for the inside of a tag never becomes a member of its own here. Empty
// elements are skipped.
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
		for l.pos < len(line) && (isOWS(line[l.pos]) || line[l.pos] == ',') {
			l.pos++
		}
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

// isWildcard reports whether the field's value is "*". The grammar has it alone
// or not at all, so that neither "*," nor a second line goes with it.
func isWildcard(lines []string) bool {
	return len(lines) == 1 && trimOWS(lines[0]) == "*"
}

func trimOWS(s string) string {
	for len(s) > 0 && isOWS(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isOWS(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// isOWS reports whether c is optional white space (RFC 9110, section 5.6.3).
func isOWS(c byte) bool {
	return c == ' ' || c == '\t'
}
