package resource

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Subject is a resource that a request concerns. It is immutable.
type Subject struct {
	// Key is the name under which the store knows the resource.
	Key string

	// OriginalTarget is the path and query by which the client would ask for
	// the resource, and CurrentTarget is what they are once they reach the
	// handler.
	OriginalTarget, CurrentTarget string

	// AncestorKeys are the keys of the paths of a tree that the resource is
	// below, from the root of the tree down.
	AncestorKeys []string

	// For a resource other than the request's own target:
	original, current *url.URL
}

// Request returns a request for the subject that is otherwise like r. For the
// target of r it is r itself.
func (s Subject) Request(r *http.Request) *http.Request {
	if s.current == nil {
		return r
	}
	first, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	first.URL = withTarget(cmp.Or(first.URL, r.URL), s.original)
	first.RequestURI = first.URL.RequestURI()
	r = r.Clone(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, first))
	r.URL = withTarget(r.URL, s.current)
	r.RequestURI = r.URL.RequestURI()
	return r
}

// Namer turns requests and targets into subjects.
type Namer struct {
	Template Template
	// Roots are the paths below which everything may change as a whole.
	Roots []Pattern
}

// Own returns the target of a request as a subject.
func (n *Namer) Own(r *Request) Subject {
	return Subject{
		Key:            n.Template.Key(r.Replacer),
		OriginalTarget: r.OriginalTarget,
		CurrentTarget:  r.CurrentTarget,
		AncestorKeys:   n.ancestorKeys(r, r.URL.Path),
	}
}

// At returns a subject of the same host as r: the client would ask for it by
// original, and it reaches the handler as current.
func (n *Namer) At(r *Request, original, current *url.URL) Subject {
	return Subject{
		Key:            n.Key(r, original, current),
		OriginalTarget: original.RequestURI(),
		CurrentTarget:  current.RequestURI(),
		AncestorKeys:   n.ancestorKeys(r, current.Path),
		original:       original,
		current:        current,
	}
}

// withTarget returns u with the path and query of target.
func withTarget(u, target *url.URL) *url.URL {
	u = new(*u)
	u.Path, u.RawPath, u.RawQuery = target.Path, target.RawPath, target.RawQuery
	return u
}
