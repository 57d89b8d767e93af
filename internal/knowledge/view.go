package knowledge

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// View is what is known about a subject at one moment. It is about the representation
// that the request's own fields select, unless it comes from Selected. It is immutable.
type View struct {
	*Reader
	entry  *etagcache.Entry // nil if nothing was read
	groups memberships      // as they were read with the entry

	// Remembered means that the entry is only what this node saw last. A claim, or
	// another read, tells whether it is current.
	Remembered bool

	// outdated means that a group or subtree has changed since the variants were
	// stored, or couldn't be read.
	outdated bool

	selection // of the representation that the view is about
}

// Entry returns the store's entry, which nobody may change.
func (v View) Entry() *etagcache.Entry {
	if v.entry == nil {
		return new(etagcache.Entry)
	}
	return v.entry
}

// Busy reports whether a write is in flight. The variants then say nothing about
// the present.
func (v View) Busy() bool { return v.Entry().Busy > 0 }

// Counts reports whether the entry's variants still count. They don't once a group
// of the resource has changed.
func (v View) Counts() bool { return !v.outdated }

// variants returns the variants that count.
func (v View) variants() etagcache.Variants {
	if v.outdated {
		return nil
	}
	return v.Entry().Variants
}

// Stored returns what is known of the representation that the view is about.
func (v View) Stored() etagcache.Stored {
	if v.version != "" {
		return v.variants().Of(v.version)
	}
	return v.variants().Of(v.variantKey(v.varyFields(), v.selection))
}

// VariantOf returns the key of the representation that the request of v selects, and VaryOf the
// request fields that responses are known to vary by: sorted, in lower case, with commas.
func VariantOf(v View) string { return v.variantKey(v.varyFields(), v.selection) }

// VaryOf is described at VariantOf.
func VaryOf(v View) string { return v.varyFields() }

// InGroups reports whether v depends on other entries: those of groups or subtrees.
func InGroups(v View) bool { return v.groups != nil }

// Seen reports whether a response has shown the representation that the request of v
// selects, however long ago.
func Seen(v View) bool {
	return v.Entry().Variants.Of(v.variantKey(v.varyFields(), v.selection)).State == validator.Present
}

// Variant returns what is known of the variant with a key.
func (v View) Variant(key string) (etagcache.Stored, bool) {
	return v.variants().Find(key)
}

// Evaluate evaluates the request's conditions against o. Known is what was
// stored of the representation before.
func (v View) Evaluate(o validator.Observed, known etagcache.Stored) validator.Result {
	return v.Request.Evaluate(v.Dated(o, known))
}

// EvaluateStored evaluates the request's conditions against what is stored of the
// representation that they are about (see Selected). It returns the view of that
// representation, what is stored, and the result. While a write is in flight, nothing
// is known of any representation.
func (v View) EvaluateStored() (selected View, stored etagcache.Stored, res validator.Result) {
	if !v.Busy() {
		v = v.Selected()
		stored = v.Stored()
	}
	return v, stored, v.Evaluate(stored.Observed, stored)
}

// EvaluateProbed evaluates the request's conditions against what a probe showed,
// and returns both. Known is what was stored before, and epoch is the one from
// which a version is made, if one is needed (see [View.Versioned]).
func (v View) EvaluateProbed(p proxyhooks.Probed, known etagcache.Stored, epoch string) (current validator.Observed, res validator.Result) {
	current = p.Observed
	if p.Versioned {
		current = v.Versioned(current, p.Header, known.Observed, epoch)
	}
	return current, v.Evaluate(current, known)
}

// Past says how a response that shows o relates to the present.
type Past uint8

const (
	// NotPast means that nothing speaks against o being the present.
	NotPast Past = iota
	// Replaced means that a write has certainly replaced o. The origin still shows it.
	Replaced
	// InDoubt means that nobody can tell whether o is the present.
	InDoubt
)

// Past reports whether a response that shows o may show the past: the origin has
// replicas that lag behind, or a cache answered in its place. What stands in an
// outdated entry may have been replaced when a group or a subtree changed. A doubt of the
// store doesn't extend to what it knows.
func (v View) Past(o validator.Observed) Past {
	if stored := v.Stored(); stored.State != validator.Unknown && stored.SameValidators(o) {
		return NotPast
	}
	e := v.Entry()
	if e.Doubt > 0 {
		return InDoubt
	}
	if e.IsSpent(o) {
		if isReplaced(e, o) {
			return Replaced
		}
		return InDoubt // a write under way may have replaced it, or never have landed
	}
	if v.outdated && v.Terms.Lag > 0 {
		for _, stored := range e.Variants {
			if id := o.Identity(); id != "" && stored.Identity() == id {
				return InDoubt
			}
		}
	}
	return NotPast
}

// replacedMark is what the identity of a state begins with where the store keeps it to
// say that a write has certainly replaced that state.
const replacedMark = "!"

// Replaces returns the identities of what a write has certainly replaced, for its
// settlement: those of the states, and of the states with a mark.
func Replaces(states ...string) (identities []string) {
	identities = make([]string, 0, 2*len(states))
	for _, id := range states {
		identities = append(identities, id, replacedMark+id)
	}
	return identities
}

// isReplaced reports whether a write has certainly replaced o.
func isReplaced(e *etagcache.Entry, o validator.Observed) bool {
	return e.Spent.Left(replacedMark+o.Identity()) > 0
}

// variantKey returns the key of a representation, if responses vary by the given
// request fields.
func (r *Reader) variantKey(vary string, s selection) string {
	// It is forwarded with the codings that the client accepts. Object stores have none.
	if r.Request.Signed && r.Request.Operation == resource.NoOperation {
		vary = proxyhooks.JoinVary(vary, "accept-encoding")
	}
	if s.negotiated != nil {
		return proxyhooks.VariantKey(r.Scheme, r.targets(), vary, s.negotiated)
	}
	own := r.own.Load()
	if own == nil || own.vary != vary {
		own = &ownKey{vary, proxyhooks.VariantKey(r.Scheme, r.targets(), vary, r.Request.Fields)}
		r.own.Store(own)
	}
	return own.key
}

// targets returns the target that is part of variants' keys. The original target is in
// it, too: two backends can share a rewritten path.
func (r *Reader) targets() string { return r.Subject.CurrentTarget + " " + r.Subject.OriginalTarget }

// varyFields returns the request fields that responses are known to vary by.
func (v View) varyFields() string {
	known, _ := splitVary(v.Entry().Vary)
	if v.Vary == "" {
		return known
	}
	return proxyhooks.JoinVary(v.Vary, known)
}

// Observation turns o, which a response with the header h showed, into an
// observation of the variant that the view is about. It reports false if nothing
// can be stored: the response varies by something that the request doesn't tell, or
// belongs to too many groups.
func (v View) Observation(o validator.Observed, h http.Header) (etagcache.Observation, bool) {
	vary, ok := proxyhooks.MergeVary(v.varyFields(), h)
	groups, fit := v.memberships(h)
	return etagcache.Observation{Observed: o, Variant: v.variantKey(vary, v.selection), Vary: vary + groups.String()}, ok && fit
}

// Store stores an observation that was made under the view's epoch.
func (v View) Store(o etagcache.Observation) error {
	ctx := context.WithoutCancel(v.Request.Context())
	return v.Share.Observe(ctx, v.Subject.Key, *v.Entry(), o, v.Terms)
}

// memberships returns the groups of the resource: the known ones and the ones that
// a response names. If these are too many together, only the ones in the response
// count: nothing that is stored of the resource survives the change anyway. It
// reports false if even these are too many, so nothing can be stored.
func (v View) memberships(h http.Header) (memberships, bool) {
	lines := h["Cache-Groups"]
	if lines == nil && v.groups == nil {
		return nil, true
	}
	own := make(memberships)
	for _, name := range v.subtrees() {
		own[name] = v.groups[name]
	}
	for _, name := range proxyhooks.ParseGroups(lines) {
		if len(name) > resource.MaxGroupName {
			return nil, false
		}
		own[name] = v.groups[name]
	}
	all := maps.Clone(v.groups)
	if all == nil {
		return own, own.fit()
	}
	if maps.Copy(all, own); all.fit() {
		return all, true
	}
	return own, own.fit()
}

// TooManyGroups reports whether a response names more groups than can be stored.
func (v View) TooManyGroups(h http.Header) bool {
	_, fit := v.memberships(h)
	return !fit
}

// namesNewGroups reports whether a response names groups that aren't known yet.
func (v View) namesNewGroups(h http.Header) bool {
	m, _ := v.memberships(h)
	return m.unread()
}

// Confirm reads the groups again, under a claim that was taken for this view. In the
// view that it returns, nothing is known if one of them has changed.
//
// This is why no write passes on a stored validator if an invalidation of one of
// its groups was complete before the claim was taken. The claim proves that the
// entry is the one that was evaluated. Confirm finds, after the claim was taken,
// that the group epochs in the entry are current. So they have been current ever
// since they were read for the response that showed the validator. An invalidation
// that was complete before the claim was taken also came before that reading,
// because otherwise it would have moved an epoch. So the backend had made its change
// before it gave that response.
func (v View) Confirm() (View, error) {
	if v.groups == nil {
		return v, nil
	}
	confirmed, err := v.Reader.View(*v.Entry())
	confirmed.selection = v.selection
	return confirmed, err
}

// Unchanged reports, under a claim that was taken for v, whether no group of the resource has
// changed since v was read, so that what the origin has shown since is still the present.
// Header is what it showed. If that names groups that weren't known, or can't be, nobody can
// tell.
func Unchanged(v View, header http.Header) bool {
	if named, fit := v.memberships(header); !fit || named.unread() {
		return false
	}
	if v.groups == nil {
		return true
	}
	now, err := v.Reader.View(*v.Entry())
	return err == nil && !now.groups.unread() && maps.Equal(now.groups, v.groups)
}

// Versioned gives o the tag of the resource's version: the known tag, or else a tag
// made from epoch. It gives no tag if the observation can't be stored, or doesn't
// count yet because the response names new groups.
//
// With the source version, a tag doesn't describe a representation. It says that
// nobody has written the resource since. It is made from the epoch in which the
// representation is first seen, together with the epochs of the groups and
// subtrees, and is then stored with the representation. It disappears when the
// representation is dropped or no longer counts, and it never comes back, because
// no epoch does.
func (v View) Versioned(o validator.Observed, h http.Header, known validator.Observed, epoch string) validator.Observed {
	observation, ok := v.Observation(o, h)
	switch {
	case !ok, v.namesNewGroups(h):
	case known.State == validator.Present && known.ETag.Valid:
		o.ETag = known.ETag
	default:
		_, groups := splitVary(observation.Vary)
		o.ETag = v.Deriver.VersionTag(epoch+groups, observation.Variant)
	}
	return o
}

// Dated gives o a modification date, if it has none from the backend: the end of
// the second in which the store first saw this state. Known is what was stored
// before. If it differs from o, the change may have come at any time up to now.
//
// The date is weak until its second is over. So no two states share a strong date, and no
// state has a strong date at which an earlier one could still be seen. If the clock was set
// back, a state that wasn't known gets a later date than all before it, and one that was known
// before keeps its own. Both dates are weak until the clock reaches them, because a state that
// is replaced within the second of its date shares the date with the next state. One case is
// left: a state whose date was strong before the clock was set back, and that is replaced when
// the clock is in that second again.
func (v View) Dated(o validator.Observed, known etagcache.Stored) validator.Representation {
	r := o.Representation
	now := v.Entry().Now
	if r.State != validator.Present || !r.ETag.Valid || !r.LastModified.IsZero() || now.IsZero() {
		return r
	}
	since := now
	if now.Round(0).Before(v.Entry().Latest) {
		since = v.Entry().Latest.Add(time.Second)
	}
	wasKnown := known.State == validator.Present && known.ETag == r.ETag && known.Own == o.Own && !known.Since.IsZero()
	if wasKnown {
		since = known.Since
	}
	r.LastModified = since.Truncate(time.Second).Add(time.Second).UTC()
	r.WeakDate = !wasKnown || now.Before(r.LastModified)
	return r
}
