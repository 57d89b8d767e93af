package relation

import (
	"net/http"
	"slices"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

const (
	// MaxTargets is how many resources besides its subject an answer to a write
	// may invalidate. Whatever it names beyond that stays as it is: invalidating
	// the whole store instead would let one answer drop what is known of every
	// resource of every site.
	MaxTargets = 64
	// MaxGroups is how many groups an answer may invalidate.
	MaxGroups = 1024
)

// Change is what the answer to a write says that the write has also changed.
type Change struct {
	Keys []string
	// MoreTargets and MoreGroups tell that the answer names more than are
	// invalidated.
	MoreTargets, MoreGroups bool
}

// ChangedBy returns what an answer says was changed besides the subject: what
// Location, Content-Location and Link name (RFC 9111, section 4.4), and the
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

// changedReferences returns the references to what an answer says was changed:
// the fields that RFC 9111 names in section 4.4, and links of the type
// "invalidates".
func changedReferences(h http.Header) []string {
	location, content, link := h["Location"], h["Content-Location"], h["Link"]
	if location == nil && content == nil && link == nil {
		return nil
	}
	return slices.Concat(location, content, proxyhooks.Links(link, "invalidates"))
}
