package preconditions

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// With the source version, a tag doesn't tell what a representation is like, but
// that nobody has written the resource since. It is made of the epoch in which
// the representation is first seen, and of those of the groups and ages under
// which it is, and then stored with it: it goes when whatever is stored goes or
// counts no more, and never comes back, as no epoch does.

// versioned gives o the tag that the version of the resource has: the one that
// is known, or that of the epoch. There is none where the representation can't be
// told apart from others, or what is stored of it doesn't count yet.
func (x *exchange) versioned(o validator.Observed, h http.Header, known validator.Observed, epoch string) validator.Observed {
	observation, ok := x.observation(o, h)
	switch {
	case !ok, x.newGroups(h):
	case known.State == validator.Present && known.ETag.Valid:
		o.ETag = known.ETag
	default:
		_, groups := splitVary(observation.Vary)
		o.ETag = x.h.deriver.VersionTag(epoch+groups, observation.Variant)
	}
	return o
}

// selected returns what is known of the representation that a write's condition
// is about: the one that the write's own fields select. A version says as much
// about all representations of a resource, so that one that the condition holds
// for will do.
func (x *exchange) selected() etagcache.Stored {
	own := x.stored()
	if !x.h.deriver.Versions() || x.conditions.IfMatch == nil || x.evaluate(own.Representation).Verdict == validator.True {
		return own
	}
	for _, s := range x.known() {
		if x.evaluate(s.Representation).Verdict == validator.True {
			return s
		}
	}
	return own
}
