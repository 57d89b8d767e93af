package gateway

import (
	"maps"
	"net/http"
	"slices"
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
// handlers further in. It has the outermost first.
const announcedVar = "preconditions.protections"

// protection is what a handler announces about a request. What becomes of the request is
// added when it is known.
type protection struct {
	share    *storeshare.Share // the same key in a different store is nobody's business
	keys     []string          // of the target and the subject
	changes  []string          // the keys of what the handler knows a write to change
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

// protectionBy returns what this handler announces about a request.
func (g *Gateway) protectionBy(share *storeshare.Share, r *resource.Request, target resource.Subject, plan relation.Plan) *protection {
	p := &protection{
		share: share, keys: []string{target.Key}, enforces: g.enforces(), evaluated: r.Conditional,
		premises: r.Premises != nil,
	}
	if r.Class == resource.Write {
		p.changes = plan.ChangedKeys()
	}
	if plan.Guarded {
		p.keys = append(p.keys, plan.Subject.Key)
	}
	return p
}

// announced returns what handlers have announced about a request so far.
func announced(r *http.Request) []*protection {
	all, _ := caddyhttp.GetVar(r.Context(), announcedVar).([]*protection)
	return slices.DeleteFunc(slices.Clone(all), func(p *protection) bool { return p.ended.Load() })
}

// putBack puts the conditions back that handlers withhold which only report, unless one that
// enforces them comes after these.
func putBack(r *http.Request, outside []*protection) (restore func()) {
	if len(outside) == 0 {
		return func() {}
	}
	conditions := make(map[string][]string)
	for _, p := range slices.Backward(outside) {
		if p.enforces {
			break
		}
		maps.Copy(conditions, p.withheld)
	}
	return proxyhooks.EditHeader(r.Header, conditions)
}

// announce adds this handler to those outside. The announcement is taken back when the
// handler has ended: error routes come after it.
func (x inner) announce(outside []*protection) (takeBack func()) {
	caddyhttp.SetVar(x.r.Context(), announcedVar, append(slices.Clip(outside), x.announces))
	return func() { x.announces.ended.Store(true) } // a transport may still read the variables
}

// inner is a request to a handler that may not be the outermost.
type inner struct{ *exchange }

// protectedOutside returns the protection by a handler further out in the chain that
// enforces conditions on the target, with the same store, or nil.
func (x inner) protectedOutside(outside []*protection) *protection {
	for _, p := range slices.Backward(outside) {
		if p.enforces && p.share == x.share && slices.Contains(p.keys, x.target) {
			return p
		}
	}
	return nil
}

// takeOver gives back what handlers that only report hold for this write, if this handler
// enforces conditions: it would wait for them.
func (x inner) takeOver(outside []*protection) {
	if x.request.Class != resource.Write || !x.enforces() {
		return
	}
	for _, p := range outside {
		if p.release != nil && p.share == x.share {
			p.release()
		}
	}
}
