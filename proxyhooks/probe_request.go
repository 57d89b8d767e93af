package proxyhooks

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// probeRequest makes the GET or HEAD that stands for r.
func probeRequest(ctx context.Context, w *probeWriter, r *http.Request) *http.Request {
	bare := *r
	bare.Header = nil // it has a copy of its own
	probe := bare.Clone(untracedContext{ctx})
	probe.Method = http.MethodGet
	if w.isHead {
		probe.Method = http.MethodHead
	}
	probe.Header = probeHeader(r.Header)
	if !w.deriver.AnyCoding {
		probe.Header["Accept-Encoding"] = []string{"identity"}
	}
	probe.Body, probe.GetBody, probe.ContentLength = http.NoBody, nil, 0
	probe.TransferEncoding, probe.Trailer = nil, nil
	return isolate(probe, originalOf(r), w)
}

// untracedContext hides the trace of a write that an outer handler forwards: the probe of an
// inner one is no attempt at it.
type untracedContext struct {
	context.Context //nolint:containedctx // it is one
}

func (c untracedContext) Value(key any) any {
	value := c.Context.Value(key)
	if _, ok := value.(*httptrace.ClientTrace); ok {
		return nil
	}
	return value
}

// originalOf returns r as the client sent it, or the zero value if that isn't known.
func originalOf(r *http.Request) http.Request {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return original
}

// Isolate returns a copy of r that has its own copy of everything that handlers keep on a
// request: replacer, variables, route groups and log fields. What handles it leaves r as it
// is, so r can be handled again. The copy reads the same content as r.
func Isolate(r *http.Request, w http.ResponseWriter) *http.Request {
	return isolate(r.Clone(r.Context()), originalOf(r), w)
}

// isolate does the same without copying the fields of r.
func isolate(r *http.Request, original http.Request, w http.ResponseWriter) *http.Request {
	ctx := r.Context()
	outer, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)

	// PrepareRequest takes the placeholders of the original target (http.request.orig_*)
	// from the request, so it must see the original target. It makes its own copy.
	current, requestURI := r.URL, r.RequestURI
	if original.URL != nil {
		r.URL, r.RequestURI = original.URL, original.RequestURI
	}
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, server)
	r.URL, r.RequestURI = current, requestURI
	maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	if outer != nil {
		// What outer handlers found out holds here too: the user, say, or what a matcher
		// captured. What belongs to the client's request doesn't.
		repl.Map(func(key string) (any, bool) {
			for _, prefix := range [...]string{"http.request.", "http.reverse_proxy.", "http.intercept.", "http.preconditions."} {
				if strings.HasPrefix(key, prefix) {
					return nil, false
				}
			}
			return outer.Get(key)
		})
	}
	return r
}

// probeHeader returns the fields of h that select a representation or authorize the
// client to see it. It asks caches on the way to ask the origin: with Pragma those that
// only know HTTP/1.0 (RFC 9111, sections 5.2.1.4 and 5.4).
func probeHeader(h http.Header) http.Header {
	out := h.Clone()
	for name := range out {
		if strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "If-") || IsMethodOverride(name) || IsPathOverride(name) {
			delete(out, name)
		}
	}
	for _, name := range [...]string{
		"Transfer-Encoding", "Trailer", "Expect", "Range", "Upgrade", "Connection",
		"Http2-Settings", "Te", "If", "Prefer", "Idempotency-Key", "Want-Content-Digest", "Want-Repr-Digest",
	} {
		delete(out, name)
	}
	out["Cache-Control"] = []string{"no-cache"}
	out["Pragma"] = []string{"no-cache"}
	return out
}
