package proxyhooks

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// canonical returns the same text for all JSON values that differ only in white space,
// escapes and the order of members. Numbers stay as they are written: 1 and 1.0 may be
// two versions. (The JSON Canonicalization Scheme, RFC 8785, would make them equal.)
func canonical(value json.RawMessage) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(decoded)
	if err != nil || !bytes.ContainsRune(encoded, utf8.RuneError) {
		return encoded, err
	}
	// Decoding turns each unpaired surrogate into the replacement character, so different
	// values would become equal.
	var compact bytes.Buffer
	err = json.Compact(&compact, value)
	return compact.Bytes(), err
}
