package proxyhooks

import (
	"encoding/json"
	"iter"
	"strings"
)

// The following find their way in JSON that is well-formed, by position: what is
// to be left as it is mustn't be decoded and encoded again.

// span is where something stands.
type span struct{ from, to int }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

// trimmed returns where the value stands that the text consists of.
func trimmed(text []byte) span {
	from := skipSpace(text, 0)
	if from == len(text) {
		return span{from, from}
	}
	return span{from, skipValue(text, from)}
}

// children yields what is directly in an object or array: the names, with quotes,
// and the values; the names are empty in an array. There is nothing in other
// values.
func children(text []byte, value span) iter.Seq2[span, span] {
	return func(yield func(name, value span) bool) {
		if value.from == value.to || !strings.ContainsRune("{[", rune(text[value.from])) {
			return
		}
		object := text[value.from] == '{'
		for i := skipSpace(text, value.from+1); i < value.to-1; i = skipSpace(text, i) {
			var name span
			if object {
				name = span{i, skipString(text, i)}
				i = skipSpace(text, name.to)    // to the colon
				i = skipSpace(text, i+len(":")) // to the value
			}
			child := span{i, skipValue(text, i)}
			if !yield(name, child) {
				return
			}
			if i = skipSpace(text, child.to); text[i] == ',' {
				i++
			}
		}
	}
}

// isName reports whether a name, as it stands in an object, is that one.
func isName(quoted []byte, name string) bool {
	if !strings.Contains(string(quoted), `\`) {
		return string(quoted[1:len(quoted)-1]) == name
	}
	var decoded string
	return json.Unmarshal(quoted, &decoded) == nil && decoded == name
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && strings.IndexByte(" \t\r\n", text[i]) >= 0 {
		i++
	}
	return i
}

// skipValue returns where the value ends that begins at i.
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

func skipNested(text []byte, i int) int {
	for depth := 0; ; {
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
}

func skipString(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}
