package relation

import (
	"net/http"
	"slices"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

const (
	// MaxTargets is the number of resources that the answer to a write may
	// invalidate. Any further ones stay as they are: if the whole store were
	// invalidated instead, one answer could drop what is known of every resource of
	// every site.
	MaxTargets = 64
	// MaxGroups is the number of groups that the answer to a write may invalidate.
	MaxGroups = 1024
)

// Change is what else a write has changed, according to its answer.
type Change struct {
	Keys []string // of resources and groups, up to the limits
	// MoreTargets and MoreGroups mean that the answer names more.
	MoreTargets, MoreGroups bool
}

// ChangedBy returns what an answer says was changed besides the subject: the
// resources in Location, Content-Location and Link (RFC 9111, section 4.4), and the
// groups in Cache-Group-Invalidation (RFC 9875).
func (rules *Rules) ChangedBy(r *resource.Request, subject resource.Subject, h http.Header) (c Change) {
	for _, reference := range changedReferences(h) {
		target, ok := r.SameOrigin(reference)
		if !ok {
			continue
		}
		for _, candidate := range r.Candidates(target) {
			key := rules.Namer.Key(r, candidate, candidate)
			switch {
			case key == subject.Key || slices.Contains(c.Keys, key):
			case len(c.Keys) == MaxTargets:
				c.MoreTargets = true
			default:
				c.Keys = append(c.Keys, key)
			}
		}
		if c.MoreTargets {
			break
		}
	}
	var groups []string
	for _, name := range proxyhooks.ParseGroups(h["Cache-Group-Invalidation"]) {
		if len(groups) == MaxGroups {
			c.MoreGroups = true
			break
		}
		if len(name) <= resource.MaxGroupName {
			groups = append(groups, rules.Namer.Template.GroupKey(r.Replacer, name))
		}
	}
	c.Keys = append(c.Keys, groups...)
	return c
}

// changedReferences returns the references to resources that an answer says were
// changed: the fields of RFC 9111, section 4.4, and links of the type
// "invalidates".
func changedReferences(h http.Header) []string {
	location, content, link := h["Location"], h["Content-Location"], h["Link"]
	if location == nil && content == nil && link == nil {
		return nil
	}
	return slices.Concat(location, content, proxyhooks.Links(link, "invalidates"))
}
