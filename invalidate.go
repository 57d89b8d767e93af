package preconditions

import (
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// maxTargets is how many resources beside its own target an answer to a write
// may mark as changed.
const maxTargets = 64

// invalidate marks as changed what the answer to a write says that it has
// changed beside its target, if it is no error (RFC 9111, section 4.4): before
// the write is settled, so before anybody can see the answer.
func (wr *writing) invalidate(a proxyhooks.Answer) {
	if a.Status/100 != 2 && a.Status/100 != 3 {
		return
	}
	wr.markChanged(slices.Concat(wr.changedKeys(a.Header), wr.invalidatedGroups(a.Header)))
}

// changedKeys returns the keys of the resources that an answer says were changed,
// but for that of the target.
//
// What an answer names beyond maxTargets stays as it is: to mark all there is in
// the store instead would have one answer cost every resource of every site what
// is known about it.
func (wr *writing) changedKeys(h http.Header) (keys []string) {
	for _, reference := range changedReferences(h) {
		target, ok := wr.sameOrigin(reference)
		if !ok {
			continue
		}
		for _, key := range wr.keysAt(target) {
			switch {
			case key == wr.key || slices.Contains(keys, key):
			case len(keys) == maxTargets:
				wr.h.logger.Warn("the answer to a write names more changed resources than are marked",
					zap.Int("marked", maxTargets), zap.String("resource", wr.key))
				return keys
			default:
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// changedReferences returns the references to what an answer says was changed:
// those that RFC 9111, section 4.4, names, and links of the type "invalidates".
func changedReferences(h http.Header) []string {
	location, content, link := h["Location"], h["Content-Location"], h["Link"]
	if location == nil && content == nil && link == nil {
		return nil
	}
	return slices.Concat(location, content, proxyhooks.Links(link, "invalidates"))
}

// maxInvalidations is how many resources are marked at once.
const maxInvalidations = 8

// markChanged marks resources as changed.
func (x *exchange) markChanged(keys []string) {
	concurrently(maxInvalidations, keys, func(key string) {
		if err := x.invalidateKey(key); err != nil {
			x.h.logger.Warn("a change could not be stored", zap.String("resource", key), zap.Error(err))
		}
	})
}
