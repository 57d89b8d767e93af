package proxyhooks

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// AcceptsInsertions reports whether members may be inserted into the content of a response to
// GET. The content must be complete JSON without a content coding, and Cache-Control must
// not contain no-transform (RFC 9111, section 5.2.2.6).
func AcceptsInsertions(status int, h http.Header) bool {
	return status == http.StatusOK && isJSON(h) && h["Content-Encoding"] == nil && h["Content-Range"] == nil &&
		!strings.Contains(strings.ToLower(strings.Join(h["Cache-Control"], ",")), "no-transform")
}

// Item is an object in an array of JSON content.
type Item struct {
	// JSON is the object as it is written in the content.
	JSON []byte

	closing int // position of the closing brace in the content
	empty   bool
}

// Items returns the objects in the array that a pointer points at, but at most the first
// most of them. Other elements are skipped. The result is empty if there is no such array.
// The content must be valid JSON in UTF-8; otherwise the result is unspecified.
func Items(content []byte, array Pointer, most int) (items []Item) {
	at, _ := array.locate(content)
	if at.from == at.to || content[at.from] != '[' {
		return nil
	}
	for _, value := range children(content, at) {
		if content[value.from] != '{' || content[value.to-1] != '}' {
			continue
		}
		if len(items) == most {
			break
		}
		items = append(items, Item{
			JSON:    value.of(content),
			closing: value.to - 1,
			empty:   content[skipSpace(content, value.from+1)] == '}',
		})
	}
	return items
}

// Has reports whether the item has a member with this name.
func (i Item) Has(member string) bool {
	for name := range children(i.JSON, trimmed(i.JSON)) {
		if name != (span{}) && isName(name.of(i.JSON), member) {
			return true
		}
	}
	return false
}

// Insertion is a text to insert into content.
type Insertion struct {
	at   int
	text string
}

// Insertion returns the insertion that adds a member with an entity tag at the end of the
// item.
func (i Item) Insertion(member string, tag validator.ETag) Insertion {
	name, _ := json.Marshal(member) // encoding a string can't fail
	value, _ := json.Marshal(tag.String())
	text := string(name) + ":" + string(value)
	if !i.empty {
		text = "," + text
	}
	return Insertion{i.closing, text}
}

// Insert returns content with the insertions made. The order of insertions doesn't
// matter; Insert sorts the slice. It also returns a digest of the insertions, as 16 digits
// of base32hex in lower case, to tell the tag of the result apart from the tag of content.
func Insert(content []byte, insertions []Insertion) (extended []byte, digest string) {
	slices.SortFunc(insertions, func(a, b Insertion) int { return cmp.Compare(a.at, b.at) })
	hash := tagHash{Hash: sha256.New()}
	copied := 0
	for _, i := range insertions {
		extended = append(append(extended, content[copied:i.at]...), i.text...)
		copied = i.at
		hash.number(i.at)
		hash.text(i.text)
	}
	return append(extended, content[copied:]...), tagEncoding.EncodeToString(hash.Sum(nil)[:10])
}
