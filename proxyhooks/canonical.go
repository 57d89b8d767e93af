package proxyhooks

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// canonical returns the same bytes for all JSON values that differ only in white space,
// escapes and the order of members with different names, and different bytes for all others.
// Members with the same name all count, in their order: nobody knows which of them a reader
// takes. Numbers stay as they are written: 1 and 1.0 may be two versions. (The JSON
// Canonicalization Scheme, RFC 8785, would make them equal.) The value must be valid.
//
// It takes one pass, and memory in proportion to the value, however that is made: an object
// is replaced by a digest as soon as it ends, so nothing is sorted or copied twice.
func canonical(value json.RawMessage) []byte {
	at := trimmed(value)
	if at.from == at.to {
		return nil
	}
	c := canonicalizer{text: value, out: make([]byte, 0, at.to-at.from), digest: sha256.New()}
	c.value(at.from)
	return c.out
}

// canonicalizer writes the canonical form of text to out.
type canonicalizer struct {
	text, out []byte
	members   []member // of the objects that haven't ended
	digest    hash.Hash
}

// member is the position in out of a member of an object. Its name begins with it.
type member struct{ from, nameTo, to int }

// objectDigest is how many bytes of a digest stand for an object. A tag has as many.
const objectDigest = 16

// value writes the value that begins at i, and returns the position after it. So do the
// following methods.
func (c *canonicalizer) value(i int) int {
	switch c.text[i] {
	case '{':
		return c.object(i)
	case '[':
		return c.array(i)
	case '"':
		return c.string(i)
	}
	to := skipValue(c.text, i)
	c.out = append(c.out, c.text[i:to]...)
	return to
}

func (c *canonicalizer) array(i int) int {
	c.out = append(c.out, '[')
	first := true
	for i = skipSpace(c.text, i+1); c.text[i] != ']'; i = c.next(i) {
		if !first {
			c.out = append(c.out, ',')
		}
		first = false
		i = c.value(i)
	}
	c.out = append(c.out, ']')
	return i + 1
}

// object writes a digest of the members, in the order of their names. No other value begins
// with the zero byte before the digest, so nothing else can be written as the same bytes.
func (c *canonicalizer) object(i int) int {
	from, first := len(c.out), len(c.members)
	for i = skipSpace(c.text, i+1); c.text[i] != '}'; i = c.next(i) {
		m := member{from: len(c.out)}
		i = skipSpace(c.text, c.string(i)) // to the colon
		m.nameTo = len(c.out)
		c.out = append(c.out, ':')
		i = c.value(skipSpace(c.text, i+1))
		c.out = append(c.out, ',')
		m.to = len(c.out)
		c.members = append(c.members, m)
	}
	own := c.members[first:]
	if len(own) == 0 {
		c.out = append(c.out, "{}"...)
		return i + 1
	}
	slices.SortFunc(own, func(a, b member) int {
		return cmp.Or(bytes.Compare(c.out[a.from:a.nameTo], c.out[b.from:b.nameTo]), cmp.Compare(a.from, b.from))
	})
	c.digest.Reset()
	for _, m := range own {
		c.digest.Write(c.out[m.from:m.to])
	}
	c.out = append(c.out[:from], 0)
	c.out = c.digest.Sum(c.out)[:from+1+objectDigest]
	c.members = c.members[:first]
	return i + 1
}

// next returns the position after the comma that follows a value, or of the end of what the
// value is in.
func (c *canonicalizer) next(i int) int {
	if i = skipSpace(c.text, i); c.text[i] == ',' {
		i = skipSpace(c.text, i+1)
	}
	return i
}

// escaped are the characters that encoding/json escapes in valid UTF-8, and the backslash
// of what is escaped already.
const escaped = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f" +
	`\<>&` + "\u2028\u2029"

// string writes a string with its quotes, as encoding/json does, except that unpaired
// surrogates stay what they are.
func (c *canonicalizer) string(i int) int {
	to := skipString(c.text, i)
	if quoted := c.text[i:to]; !bytes.ContainsAny(quoted, escaped) {
		c.out = append(c.out, quoted...)
		return to
	}
	c.out = append(c.out, '"')
	for i++; i < to-1; {
		r, size := character(c.text[i : to-1])
		c.character(r)
		i += size
	}
	c.out = append(c.out, '"')
	return to
}

// character writes a character of a string, escaped if encoding/json does so.
func (c *canonicalizer) character(r rune) {
	switch {
	case r == '"' || r == '\\':
		c.out = append(c.out, '\\', byte(r))
	case strings.ContainsRune("\b\f\n\r\t", r):
		c.out = append(c.out, '\\', "btnfr"[strings.IndexRune("\b\t\n\f\r", r)])
	case utf16.IsSurrogate(r) || strings.ContainsRune(escaped, r):
		const zeros = "0000"
		hex := strconv.FormatInt(int64(r), 16)
		c.out = append(c.out, `\u`+zeros[len(hex):]+hex...)
	default:
		c.out = utf8.AppendRune(c.out, r)
	}
}

// character returns the first character of the content of a string, and how many bytes
// stand for it. Of an unpaired surrogate it returns the code point.
func character(text []byte) (r rune, size int) {
	if text[0] != '\\' {
		return utf8.DecodeRune(text)
	}
	if text[1] != 'u' {
		if i := strings.IndexByte("btnfr", text[1]); i >= 0 {
			return rune("\b\t\n\f\r"[i]), 2
		}
		return rune(text[1]), 2
	}
	r = unit(text)
	if len(text) >= 12 && text[6] == '\\' && text[7] == 'u' {
		if pair := utf16.DecodeRune(r, unit(text[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

// unit returns the code unit that a text begins with, as in \u002f.
func unit(text []byte) rune {
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n)
}
