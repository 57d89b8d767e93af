package resource

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Subject is a resource that a request concerns. It is immutable.
type Subject struct {
	// Key is the name under which the store knows the resource.
	Key string

	// OriginalTarget is the path and query of a client's request for the resource.
	// CurrentTarget is what they are when the request reaches the handler.
	OriginalTarget, CurrentTarget string

	// AncestorKeys are the keys of the paths above the resource in its tree, from
	// the root of the tree down. There are none outside of trees.
	AncestorKeys []string

	// The same targets as URLs. They are nil if the subject is the target of the
	// request.
	original, current *url.URL
}

// Request returns a request for the subject that is otherwise like r. If the subject
// is the target of r, it returns r itself.
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
	// Roots are the roots of the trees: the paths below which everything may change
	// as a whole (tree.go).
	Roots []Pattern
	// TrustPaths means that the backend reads paths as keys do, so no path is unclear.
	TrustPaths bool
	// WebDAV means that requests may have the If field of RFC 4918 (statelists.go).
	WebDAV bool
	// S3 means that the backend is an object store that speaks S3. Hosts are those of the
	// store itself, as clients call it, as far as they are known.
	S3    bool
	Hosts []string
}

// Request describes a request that Caddy has prepared, as NewRequest does. It finds out
// whether the path is clear.
func (n *Namer) Request(r *http.Request, expected ...Scheme) *Request {
	req := NewRequest(r, expected...)
	if n.WebDAV {
		n.readStateLists(req)
	}
	if n.S3 {
		objectStore{req, n.Hosts}.read()
		readConditions(req)
		n.readSource(req)
	}
	if n.TrustPaths {
		return req
	}
	why := unclearPath(r.URL.EscapedPath())
	if why == "" && n.Template.dependsOnOriginal() {
		original, _, _ := strings.Cut(req.OriginalTarget, "?")
		why = unclearPath(original)
	}
	if why != "" {
		req.PathUnclear = true
		if req.Class == Write {
			req.Unclear = cmp.Or(req.Unclear, why)
		}
	}
	return req
}

// Own returns the request's own target as a subject.
func (n *Namer) Own(r *Request) Subject {
	return Subject{
		Key:            n.Template.ownKey(r),
		OriginalTarget: r.OriginalTarget,
		CurrentTarget:  r.CurrentTarget,
		AncestorKeys:   n.ancestorKeys(r, r.URL.Path),
	}
}

// At returns a subject on the host of r. A client would send the target original,
// which would reach the handler as current.
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

// Key returns the key of a resource on the host of r. A client would send the target
// original, which would reach the handler as current. Everything else that the key
// depends on is taken from r.
func (n *Namer) Key(r *Request, original, current *url.URL) string {
	clone := r.Clone(r.Context())
	clone.URL = withTarget(r.URL, original)
	clone.RequestURI = clone.URL.RequestURI()
	server, _ := clone.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := clone.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	repl := caddy.NewReplacer()
	clone = caddyhttp.PrepareRequest(clone, repl, nil, server)
	clone.URL = withTarget(clone.URL, current)
	clone.RequestURI = clone.URL.RequestURI()
	maps.Copy(clone.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	repl.Map(func(name string) (any, bool) {
		if strings.HasPrefix(name, "http.request.uri") || strings.HasPrefix(name, "http.request.orig_uri") {
			return nil, false
		}
		return r.Replacer.Get(name)
	})
	return n.Template.Key(repl)
}

// withTarget returns u with the path and query of target.
func withTarget(u, target *url.URL) *url.URL {
	u = new(*u)
	u.Path, u.RawPath, u.RawQuery = target.Path, target.RawPath, target.RawQuery
	return u
}
