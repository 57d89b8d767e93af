package proxyhooks

import (
	"net/http"
	"slices"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TagsItems reports whether ItemTags can return any tags at all.
func (d Deriver) TagsItems() bool {
	return slices.ContainsFunc(d.Sources, func(s Source) bool { return s.Kind == SourceJSON || s.Kind == SourceBody })
}

// ItemTags returns the tags that a GET of an item may show, if the item's representation
// is what the list shows of it. h is the header of the list. The result is empty if the
// tag can't be made from what the list shows.
//
// If certain, the item has exactly the one tag that is returned. That is so if the first
// source is of kind JSON and the item has all the values that it uses. Otherwise, an
// earlier source may yield when the item is asked for by itself, or the list may show only
// a part of the item's representation.
func (d Deriver) ItemTags(h http.Header, item []byte) (tags []validator.ETag, certain bool) {
	for i, s := range d.Sources {
		switch s.Kind {
		case SourceJSON:
			if tag, ok := (jsonTag{d.newContentHash(s, h), s}).tag(item); ok {
				return []validator.ETag{tag}, i == 0 && !slices.ContainsFunc(s.Pointers, Pointer.isWhole)
			}
		case SourceBody:
			for _, end := range [...]string{"", "\n"} { // many encoders end a document with a newline
				hash := d.newContentHash(s, h)
				hash.Write(item)
				hash.Write([]byte(end))
				tags = append(tags, hash.tag())
			}
			return tags, false
		}
	}
	return nil, false
}
