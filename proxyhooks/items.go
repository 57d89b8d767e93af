package proxyhooks

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Extensible reports whether members may be put into the items of the content of a
// response to GET: JSON that is whole, in no coding, and open to changes (RFC 9111,
// section 5.2.2.6).
func Extensible(status int, h http.Header) bool {
	return status == http.StatusOK && isJSON(h) && h["Content-Encoding"] == nil && h["Content-Range"] == nil &&
		!strings.Contains(strings.ToLower(strings.Join(h["Cache-Control"], ",")), "no-transform")
}

// Item is an object in an array of JSON content.
type Item struct {
	// JSON is the object as it stands there.
	JSON []byte
	end  int // of what is before its closing brace
	bare bool
}

// Items returns the objects in the array that a pointer points at, the first so
// many of them.
func Items(content []byte, array Pointer, most int) (items []Item) {
	at, ok := array.locate(content)
	if !ok || content[at.from] != '[' {
		return nil
	}
	for _, value := range children(content, at) {
		if content[value.from] != '{' {
			continue
		}
		if len(items) == most {
			break
		}
		items = append(items, Item{
			JSON: value.of(content),
			end:  value.to - 1,
			bare: content[skipSpace(content, value.from+1)] == '}',
		})
	}
	return items
}

// Has reports whether the item has a member.
func (i Item) Has(member string) bool {
	for name := range children(i.JSON, trimmed(i.JSON)) {
		if isName(name.of(i.JSON), member) {
			return true
		}
	}
	return false
}

// Insertion is a text to be put into content.
type Insertion struct {
	at   int
	text string
}

// Insertion returns what gives the item a member with a tag.
func (i Item) Insertion(member string, tag validator.ETag) Insertion {
	name, _ := json.Marshal(member) // a string can't fail
	value, _ := json.Marshal(tag.String())
	text := string(name) + ":" + string(value)
	if !i.bare {
		text = "," + text
	}
	return Insertion{i.end, text}
}

// Insert returns the content with the insertions in it and, as the digits of
// base32hex, a digest of them.
func Insert(content []byte, insertions []Insertion) (extended []byte, digest string) {
	slices.SortFunc(insertions, func(a, b Insertion) int { return cmp.Compare(a.at, b.at) })
	hash := tagHash{sha256.New()}
	done := 0
	for _, i := range insertions {
		extended = append(append(extended, content[done:i.at]...), i.text...)
		done = i.at
		hash.number(i.at)
		hash.text(i.text)
	}
	return append(extended, content[done:]...), tagEncoding.EncodeToString(hash.Sum(nil)[:10])
}

// ItemTags returns the tags that a GET of an item may show if its representation
// is what stands in the list, of which h is the header: the one tag that it does
// show, if certain. There are none where they can't be made of what a list shows.
//
// A tag is certain if the first source is JSON, and what it points at is in the
// item. A source that comes before may yield where the item is by itself; and
// whether the item is all of the representation is for nobody to see in the list.
func (d Deriver) ItemTags(h http.Header, item []byte) (tags []validator.ETag, certain bool) {
	for i, s := range d.Sources {
		switch s.Kind {
		case JSON:
			if tag, ok := (jsonTag{d.newContentHash(s, h), s.Pointers}).tag(item); ok {
				return []validator.ETag{tag}, i == 0 && !slices.ContainsFunc(s.Pointers, Pointer.whole)
			}
		case Body:
			for _, end := range [...]string{"", "\n"} { // which many encoders write at the end of a document
				c := d.newContentHash(s, h)
				c.Write(item)
				c.Write([]byte(end))
				tags = append(tags, c.tag())
			}
			return tags, false
		}
	}
	return nil, false
}

// TagsItems reports whether there may be such tags at all.
func (d Deriver) TagsItems() bool {
	return slices.ContainsFunc(d.Sources, func(s Source) bool { return s.Kind == JSON || s.Kind == Body })
}

// ItemPath tells the path of an item: by a template, or by where in the item it
// stands.
type ItemPath struct {
	pointer   Pointer
	literals  []string // of a template, before, between and after its variables
	variables []Pointer
}

// ParseItemPath parses a template if there is a brace in it (RFC 6570, level 1),
// which begins with a slash and whose variables name members of the item; else a
// JSON pointer.
func ParseItemPath(text string) (p ItemPath, err error) {
	if !strings.Contains(text, "{") {
		if p.pointer, err = ParsePointer(text); err == nil && text == "" {
			err = errors.New("must point at a member of the item")
		}
		return p, err
	}
	for rest := text; ; {
		literal, after, more := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return p, errors.New("has a } without a {")
		}
		p.literals = append(p.literals, literal)
		if !more {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			return p, errors.New("has a { without a }")
		case name == "" || strings.ContainsFunc(name, notInVariables):
			return p, fmt.Errorf("has the variable {%s}: the name of a member, of letters, digits, _ and -, is needed "+
				"(a Caddyfile takes {path}, {host}, {file} and some others for something else)", name)
		}
		p.variables = append(p.variables, Pointer{text: "/" + name, tokens: []string{name}})
		rest = after
	}
	literal := strings.Join(p.literals, "")
	if _, err := url.ParseRequestURI(literal); err != nil || !strings.HasPrefix(text, "/") || strings.ContainsAny(literal, "?#") {
		return p, errors.New("must be a path that begins with a slash, without a query")
	}
	return p, nil
}

func notInVariables(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
}

// Template reports whether the path comes from a template: then it is the one that
// requests have when they come here.
func (p ItemPath) Template() bool { return len(p.variables) > 0 }

// Of returns the path of an item, or a reference to it if the path is none of a
// template. It reports false where that doesn't follow from the item.
func (p ItemPath) Of(item []byte) (reference string, ok bool) {
	if !p.Template() {
		value, ok := p.pointer.find(item)
		if !ok || value[0] != '"' {
			return "", false
		}
		err := json.Unmarshal(value, &reference)
		return reference, err == nil && reference != ""
	}
	var b strings.Builder
	for i, variable := range p.variables {
		value, found := variable.find(item)
		text, ok := segment(value)
		if !found || !ok {
			return "", false
		}
		b.WriteString(p.literals[i] + text)
	}
	return b.String() + p.literals[len(p.variables)], true
}

// segment returns what becomes of a value in a path (RFC 6570, section 3.2.2): a
// string, or an integer as it is written.
func segment(value []byte) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil && value[0] == '"' {
		return strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), text != ""
	}
	digits := strings.TrimPrefix(string(value), "-")
	return string(value), digits != "" && strings.Trim(digits, "0123456789") == ""
}
