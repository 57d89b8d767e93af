package answer

import (
	"encoding/json"
	"strconv"
	"strings"
)

// appendProblem appends problem details in JSON, as encoding/json writes them.
func appendProblem(to []byte, p problem) []byte {
	to = appendText(append(to, `{"type":`...), p.Type)
	to = appendText(append(to, `,"title":`...), p.Title)
	to = strconv.AppendInt(append(to, `,"status":`...), int64(p.Status), 10)
	to = appendText(append(to, `,"detail":`...), p.Detail)
	for _, member := range [...]struct{ name, value string }{
		{`,"condition":`, p.Condition},
		{`,"provided":`, p.Provided},
		{`,"current_etag":`, p.CurrentETag},
		{`,"last_modified":`, p.LastModified},
	} {
		if member.value != "" {
			to = appendText(append(to, member.name...), member.value)
		}
	}
	return append(to, '}')
}

// appendText appends a text as a JSON string. Most texts need nothing but marks before their
// quotes; encoding/json writes the others.
func appendText(to []byte, text string) []byte {
	start, copied := len(to), 0
	to = append(to, '"')
	for i := range len(text) {
		switch {
		case plain[text[i]]:
		case text[i] == '"', text[i] == '\\':
			to = append(append(to, text[copied:i]...), '\\')
			copied = i
		default:
			quoted, _ := json.Marshal(text) // a text can't fail
			return append(to[:start], quoted...)
		}
	}
	return append(append(to, text[copied:]...), '"')
}

// plain are the characters that stand for themselves in JSON as encoding/json writes it.
var plain = func() (is [256]bool) {
	for c := ' '; c <= '~'; c++ {
		is[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return is
}()
