package gateway

import (
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A backend may answer a write with a redirection because it has performed the write, or
// because it sends a stranger to a page for logging in. It has refused the write if others
// can see the resource, and if it redirected a GET of this client in the very same way just
// before. A GET after the write proves nothing: what a write has deleted may be redirected
// like that, too. Nor does it if nobody sees the resource: it may be one that only takes
// writes.

// gate is how the origin has redirected a GET of a client from a resource that others can
// see. The zero value redirects nobody.
type gate struct {
	status   int
	location string
}

// redirecting remembers the resources whose writes were answered with a redirection, and
// whether others could see them when that was last looked up. The zero value is empty.
type redirecting struct {
	mu    sync.Mutex
	byKey *simplelru.LRU[string, bool]
}

// maxRedirecting limits what is remembered.
const maxRedirecting = 4096

// add adds a resource that was answered with a redirection.
func (r *redirecting) add(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey, _ = simplelru.NewLRU[string, bool](maxRedirecting, nil) // only a size below one is refused
	}
	r.byKey.Add(key, false)
}

// note notes whether others can see a resource, if it is remembered.
func (r *redirecting) note(key string, seen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey != nil && r.byKey.Contains(key) {
		r.byKey.Add(key, seen)
	}
}

// find reports whether a resource is remembered, and what was noted.
func (r *redirecting) find(key string) (seen, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		return false, false
	}
	return r.byKey.Get(key)
}

// redirection is what redirections have to do with a write.
type redirection struct{ *writing }

// expected reports whether the answer to a write may be a redirection: there was one before,
// to somebody's write. A probe must also show what the client itself would get.
func (w redirection) expected() bool {
	if w.Learned == nil || w.plan.Guarded || w.request.Signed || w.request.OneTime != nil {
		return false
	}
	_, ok := w.Learned.redirecting.find(w.target)
	return ok
}

// look finds out how the origin redirects this client, if it may do so, and if others
// can see the resource.
func (w redirection) look(view knowledge.View) {
	if !w.expected() || !w.seenByOthers(view) {
		return
	}
	p := w.origin.probe(w.r.Context(), view)
	if location := p.Header["Location"]; p.Err == nil && !p.Cached && len(location) == 1 {
		w.gate = gate{p.Status, location[0]}
	}
}

// seenByOthers reports whether others can see the resource. While writes without a condition
// are in flight, the store doesn't say, so what it said before counts.
func (w redirection) seenByOthers(view knowledge.View) bool {
	known := &w.Learned.redirecting
	if now := seen(view); now || !view.Busy() {
		known.note(w.target, now)
		return now
	}
	before, _ := known.find(w.target)
	return before
}

// seen reports whether somebody has seen the resource, or had seen it before a write whose
// lag isn't over.
func seen(view knowledge.View) bool {
	e := view.Entry()
	if slices.ContainsFunc(e.Variants, func(v etagcache.Variant) bool { return v.State == validator.Present }) {
		return true
	}
	var absent validator.Observed
	absent.State = validator.Absent
	for state := range e.Spent.All() {
		if state.Identity != absent.Identity() {
			return true
		}
	}
	return false
}

// forgetSeen forgets that others can see what a write has changed.
func (w redirection) forgetSeen() {
	if w.Learned == nil {
		return
	}
	for _, key := range w.plan.ChangedKeys() {
		w.Learned.redirecting.note(key, false)
	}
}

// fate returns the fate of a write that was answered with a redirection.
func (w redirection) fate(a proxyhooks.Answer) proxyhooks.Fate {
	location := a.Header.Get("Location")
	if w.request.IsOwnTarget(location) {
		return proxyhooks.Applied
	}
	if (w.gate == gate{a.Status, location}) {
		return proxyhooks.Refused
	}
	if w.Learned != nil {
		w.Learned.redirecting.add(w.target)
	}
	return proxyhooks.Applied
}
