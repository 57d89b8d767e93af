package proxyhooks

import (
	"encoding/json"
	"iter"
	"strings"
)

// The functions in this file find values in JSON text by position, so that everything
// around an insertion keeps its exact bytes. They assume that the text is valid. In other
// text they find values that mean nothing, but never read beyond its end.
//
// They replace encoding/json.Decoder, which reports offsets too, but takes ten times as
// long for a list of 1 MiB.

// span is the position of something in a text.
type span struct{ from, to int }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

// trimmed returns the position of the value of a text, without surrounding white space.
func trimmed(text []byte) span {
	from := skipSpace(text, 0)
	if from == len(text) {
		return span{from, from}
	}
	return span{from, skipValue(text, from)}
}

// children yields the names, with their quotes, and the values of the members of an
// object, or the elements of an array with an empty span for the name. It yields nothing
// for other values.
func children(text []byte, parent span) iter.Seq2[span, span] {
	return func(yield func(name, value span) bool) {
		if parent.from == parent.to || !strings.ContainsRune("{[", rune(text[parent.from])) {
			return
		}
		object := text[parent.from] == '{'
		for i := skipSpace(text, parent.from+1); i < parent.to-1; i = skipSpace(text, i) {
			var name span
			if object {
				name = span{i, skipString(text, i)}
				i = skipSpace(text, name.to)    // to the colon
				i = skipSpace(text, i+len(":")) // to the value
			}
			if i >= parent.to {
				return // invalid JSON
			}
			value := span{i, skipValue(text, i)}
			if value.from == value.to || !yield(name, value) {
				return
			}
			if i = skipSpace(text, value.to); i < parent.to && text[i] == ',' {
				i++
			}
		}
	}
}

// isName reports whether a quoted name of a member stands for name.
func isName(quoted []byte, name string) bool {
	if !strings.Contains(string(quoted), `\`) {
		return string(quoted[1:len(quoted)-1]) == name
	}
	var decoded string
	return json.Unmarshal(quoted, &decoded) == nil && decoded == name
}

// skipSpace returns the position of the first byte at or after i that isn't white space.
func skipSpace(text []byte, i int) int {
	for i < len(text) && strings.IndexByte(" \t\r\n", text[i]) >= 0 {
		i++
	}
	return i
}

// skipValue returns the position after the value that begins at i.
func skipValue(text []byte, i int) int {
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '{', '[':
		return skipNested(text, i)
	}
	for i < len(text) && strings.IndexByte(",]} \t\r\n", text[i]) < 0 {
		i++
	}
	return i
}

// skipNested returns the position after the object or array that begins at i.
func skipNested(text []byte, i int) int {
	for depth := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = skipString(text, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if i++; depth == 0 {
			return i
		}
	}
	return len(text)
}

// skipString returns the position after the string that begins at i.
func skipString(text []byte, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(text))
}
