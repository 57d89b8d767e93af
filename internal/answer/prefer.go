package answer

import (
	"iter"
	"net/http"
	"strings"
)

// PrefersRepresentation reports whether a Prefer field asks for the representation
// in the answer (RFC 7240, section 4.2). If it also asks for the opposite, neither
// counts.
func PrefersRepresentation(h http.Header) bool {
	return returned(h["Prefer"]) == "representation"
}

// AppliedMinimal reports whether an answer says that it leaves out the representation,
// because the client asked for that.
func AppliedMinimal(h http.Header) bool {
	return returned(h["Preference-Applied"]) == "minimal"
}

// returned returns the value of the preference return in the lines of a field. It is empty
// if there are two.
func returned(lines []string) (wanted string) {
	for _, line := range lines {
		for preference := range unquoted(line, ',') {
			word := preference
			for part := range unquoted(preference, ';') {
				word = part
				break
			}
			name, value, _ := strings.Cut(word, "=")
			if !strings.EqualFold(strings.Trim(name, " \t"), "return") {
				continue
			}
			value = strings.Trim(strings.Trim(value, " \t"), `"`)
			if wanted != "" && wanted != value {
				return ""
			}
			wanted = value
		}
	}
	return wanted
}

// unquoted yields the parts of s between separators. A separator in quotes doesn't
// count.
func unquoted(s string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case quoted && s[i] == '\\':
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == separator && !quoted:
				if !yield(s[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(s[begin:])
	}
}
