package gateway

import (
	"maps"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// A handler may protect what a handler further out already protects. If that one waited for
// the claim of the outer one, it would wait forever. Within one chain of handlers the outer
// one announces what it does. Across a proxy the write says what it holds (holder.go).

// announcedVar is the variable in which handlers announce what they do with a request, for
// handlers further in. It has the innermost, which leads to the others.
const announcedVar = "preconditions.protections"

// protection is what a handler announces about a request. What becomes of the request is
// added when it is known.
type protection struct {
	outside  *protection       // by the next handler further out, or nil
	share    *storeshare.Share // the same key in a different store is nobody's business
	target   string            // its key
	plan     *relation.Plan
	writes   bool
	enforces bool
	ended    atomic.Bool

	evaluated bool // conditions
	premises  bool // those on other resources
	passed    bool // because a condition was found true

	// withheld are the fields of conditions that a handler which only reports keeps from the
	// backend. They are still for handlers further in that enforce them.
	withheld map[string][]string

	// release gives back the pass of a handler that only reports. Nil if it has none.
	release func()
}

// covers reports whether the protection is one of the resource with a key: of the target or
// the subject.
func (p *protection) covers(key string) bool { return key == p.target || key == p.plan.Subject.Key }

// changes returns the keys of what the handler knows a write to change.
func (p *protection) changes() []string {
	if !p.writes {
		return nil
	}
	return p.plan.ChangedKeys()
}

// lasting returns p, or else the next protection further out by a handler that hasn't ended.
func (p *protection) lasting() *protection {
	for p != nil && p.ended.Load() {
		p = p.outside
	}
	return p
}

// next returns the next protection further out.
func (p *protection) next() *protection { return p.outside.lasting() }

// announced returns what the innermost handler has announced about a request so far, or nil.
func announced(r *http.Request) *protection {
	p, _ := caddyhttp.GetVar(r.Context(), announcedVar).(*protection)
	return p.lasting()
}

// putBack puts the conditions back that handlers withhold which only report, unless one that
// enforces them comes after these.
func putBack(r *http.Request, outside *protection) (restore func()) {
	if outside == nil {
		return func() {}
	}
	conditions := make(map[string][]string)
	for p := outside; p != nil && !p.enforces; p = p.next() {
		maps.Copy(conditions, p.withheld)
	}
	return proxyhooks.EditHeader(r.Header, conditions)
}

// announce adds this handler to those outside. It must take back the announcement when it has
// ended: error routes come after it.
func (x inner) announce(outside *protection) {
	x.announces.outside = outside
	caddyhttp.SetVar(x.r.Context(), announcedVar, x.announces)
}

// takeBack takes back what the handler has announced. A transport may still read the variables.
func (p *protection) takeBack() { p.ended.Store(true) }

// inner is a request to a handler that may not be the outermost.
type inner struct{ *exchange }

// protectedOutside returns the protection by a handler further out in the chain that
// enforces conditions on the target, with the same store, or nil.
func (x inner) protectedOutside(outside *protection) *protection {
	for p := outside; p != nil; p = p.next() {
		if p.enforces && p.share == x.share && p.covers(x.target) {
			return p
		}
	}
	return nil
}

// takeOver gives back what handlers that only report hold for this write, if this handler
// enforces conditions: it would wait for them.
func (x inner) takeOver(outside *protection) {
	if x.request.Class != resource.Write || !x.enforces() {
		return
	}
	for p := outside; p != nil; p = p.next() {
		if p.release != nil && p.share == x.share {
			p.release()
		}
	}
}
