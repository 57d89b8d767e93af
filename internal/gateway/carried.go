package gateway

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Clients may send the version that a write depends on in other places than If-Match. Such a
// version is taken off the request before anything else looks at that: the resource has the
// same name, the origin is asked for the same representation, and the backend sees nothing
// that the handler has made. Where the backend has made it, the request gets it back for the
// backend only.

// carried is a request, with what it says in other places than the fields of RFC 9110.
type carried struct {
	*Gateway
	request *resource.Request
	course  telemetry.Course // of the request
	refusal answer.Refusal   // of a request that can't be understood; its status is 0 otherwise

	query  *string             // to put back for the backend; nil for none
	fields map[string][]string // likewise
	undo   []func()

	wanted wanted
	memory *proxyhooks.Memory
	values relation.Values
	whole  bool // whether all of the content was read
	edited bool // whether the backend gets other content than the client sent
}

// carry describes a request, and takes the versions off its target and its header.
func (g *Gateway) carry(r *http.Request) *carried {
	c := &carried{Gateway: g, request: describe(g, r)}
	if c.request.Class != resource.Write || len(g.Places) == 0 {
		return c
	}
	type version struct {
		place resource.Place
		sent  string
	}
	var versions []version
	for _, p := range g.Places {
		sent, found, clear := p.Of(r)
		switch {
		case !found:
			continue
		case !clear:
			c.refuse(http.StatusBadRequest, p.Text()+" must be there only once, and in this spelling")
			continue
		case c.request.Signed && !c.keeps(p):
			c.refuse(http.StatusBadRequest, p.Text()+" must not reach the backend, and a signed request can't be changed")
			continue
		}
		c.takeOff(r, p)
		versions = append(versions, version{p, sent})
	}
	if len(versions) > 0 {
		c.request = describe(g, r)
	}
	for _, v := range versions {
		c.match(v.place, v.sent)
	}
	return c
}

// objection returns the refusal of a request that is refused whatever is known about its
// subject, if there is one.
func (c *carried) objection() answer.Refusal {
	switch {
	case c.request.TooManyConditions():
		// More conditions than any honest client sends aren't even evaluated.
		return answer.TooLarge()
	case c.request.Unclear != "":
		return answer.Unclear(c.request.Unclear)
	case c.request.Unsupported != "":
		return answer.NotUnderstood(http.StatusNotImplemented, c.request.Unsupported)
	default:
		return c.refusal
	}
}

// keeps reports whether the backend gets a version. A handler that only reports changes
// nothing.
func (c *carried) keeps(p resource.Place) bool { return p.Keep || !c.enforces() }

// takeOff takes a parameter or a field off the request.
func (c *carried) takeOff(r *http.Request, p resource.Place) {
	if p.Kind == resource.HeaderPlace {
		if c.keeps(p) {
			c.fields = proxyhooks.With(c.fields, p.Name, r.Header[p.Name])
		}
		c.undo = append(c.undo, proxyhooks.EditHeader(r.Header, map[string][]string{p.Name: nil}))
		return
	}
	before := r.URL.RawQuery
	if c.keeps(p) && c.query == nil {
		c.query = &before
	}
	if !c.keeps(p) && c.query != nil {
		c.query = new(resource.WithoutParameter(*c.query, p.Name))
	}
	c.undo = append(c.undo, setQuery(r, resource.WithoutParameter(before, p.Name)))
	first, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if original := first.URL; original != nil {
		whole := original.RawQuery
		original.RawQuery = resource.WithoutParameter(whole, p.Name)
		c.undo = append(c.undo, func() { original.RawQuery = whole })
	}
}

// setQuery changes the query of a request as a rewrite does.
func setQuery(r *http.Request, query string) (restore func()) {
	target, uri := r.URL, r.RequestURI
	r.URL = new(url.URL)
	*r.URL = *target
	r.URL.RawQuery = query
	r.RequestURI = r.URL.RequestURI()
	return func() { r.URL, r.RequestURI = target, uri }
}

// putBack gives a request that goes to the backend what the backend itself has made.
func (c *carried) putBack(r *http.Request) (takeOff func()) {
	restore := proxyhooks.EditHeader(r.Header, c.fields)
	if c.query == nil {
		return restore
	}
	back := setQuery(r, *c.query)
	return func() { back(); restore() }
}

// end gives the request back as the client sent it, but for its content.
func (c *carried) end() {
	for _, f := range slices.Backward(c.undo) {
		f()
	}
	c.memory.Close()
}

// match makes a version a condition. An empty one wasn't provided.
func (c *carried) match(p resource.Place, sent string) {
	if sent == "" {
		return
	}
	version, ok := resource.Version(sent)
	if !ok {
		c.request.Place, c.request.Sent = p, sent
		c.deny(answer.NoVersion(p))
		return
	}
	if !resource.Match(c.request, p, sent, version) {
		c.request.Place, c.request.Sent = p, sent
		c.deny(answer.Contradiction(p))
	}
}

// refuse notes that the request can't be understood, and why.
func (c *carried) refuse(status int, why string) { c.deny(answer.NotUnderstood(status, why)) }

// deny notes the first refusal.
func (c *carried) deny(refusal answer.Refusal) {
	if c.refusal.Status == 0 {
		c.refusal = refusal
	}
	c.request.Conditional = c.request.Conditional || refusal.Condition != validator.None
}
