package preconditions

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Other targets than that of a request: those that clients and backends name, and
// those that rules lead to.

// sameOrigin resolves a reference in an answer against the target as the client
// asked for it. It reports false if that leads to another origin (RFC 9110,
// section 4.3.1), or nowhere.
func (x *exchange) sameOrigin(reference string) (*url.URL, bool) {
	target, ok := x.resolved(reference)
	if !ok {
		return nil, false
	}
	scheme, host := x.origin()
	return target, target.Scheme == scheme && foldHostPort(scheme, target.Host) == foldHostPort(scheme, host)
}

// resolved resolves a reference against the target as the client asked for it. It
// reports false if that leads nowhere.
func (x *exchange) resolved(reference string) (*url.URL, bool) {
	base, err := url.ParseRequestURI(x.original())
	if err != nil {
		return nil, false
	}
	base.Scheme, base.Host = x.origin()
	target, err := base.Parse(reference)
	return target, err == nil && target.Opaque == ""
}

// origin returns the scheme and the authority by which the client knows the
// target. What a proxy in front says about that counts if Caddy trusts it.
func (x *exchange) origin() (scheme, host string) {
	scheme, host = "http", x.r.Host
	if x.r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(x.r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		scheme = cmp.Or(strings.ToLower(first(x.header["X-Forwarded-Proto"])), scheme)
		host = cmp.Or(first(x.header["X-Forwarded-Host"]), host)
	}
	return scheme, host
}

// first returns the first member of a list, which is that of the proxy next to
// the client.
func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	member, _, _ := strings.Cut(lines[0], ",")
	return strings.TrimSpace(member)
}

// keysAt returns the keys of the resources that a target may be.
func (x *exchange) keysAt(target *url.URL) (keys []string) {
	for _, t := range x.targetsAt(target) {
		keys = append(keys, x.keyAt(t))
	}
	return keys
}

// targetsAt returns what a target may be here. Where that of this request was
// rewritten on its way, that of the other one would be, too: the same beginning of
// the path is replaced.
func (x *exchange) targetsAt(target *url.URL) []*url.URL {
	targets := []*url.URL{target}
	if rewritten, ok := x.rewritten(target.Path); ok {
		u := *target
		u.Path, u.RawPath = rewritten, ""
		targets = append(targets, &u)
	}
	return targets
}

// rewritten returns what becomes of a path that is rewritten as that of this
// request was.
func (x *exchange) rewritten(path string) (string, bool) {
	from, to := x.replaced()
	rest, ok := strings.CutPrefix(path, from)
	return to + rest, ok && from != to
}

// replaced returns the beginning of the path that was replaced on the way here, and
// what by. Both are empty where nothing was.
func (x *exchange) replaced() (from, to string) {
	original, failed := url.ParseRequestURI(x.original())
	current, err := url.ParseRequestURI(x.here)
	if failed != nil || err != nil {
		return "", ""
	}
	from, to = original.Path, current.Path
	for from != "" && to != "" && from[len(from)-1] == to[len(to)-1] {
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	return from, to
}

// askedAs returns a target, as it comes here, in the form in which the client would
// ask for it. It reports false where that can't be told.
func (x *exchange) askedAs(target *url.URL) (*url.URL, bool) {
	from, to := x.replaced()
	return moved(target, to, from)
}

// askedFor does the same, but returns the target itself where it can't be told.
func (x *exchange) askedFor(target *url.URL) *url.URL {
	if asked, ok := x.askedAs(target); ok {
		return asked
	}
	return target
}

// moved returns a target with another beginning of its path.
func moved(target *url.URL, from, to string) (*url.URL, bool) {
	rest, ok := strings.CutPrefix(target.EscapedPath(), (&url.URL{Path: from}).EscapedPath())
	if !ok {
		return nil, false
	}
	u, err := url.ParseRequestURI((&url.URL{Path: to}).EscapedPath() + rest)
	if err != nil {
		return nil, false
	}
	u.RawQuery = target.RawQuery
	return u, true
}

// requestFor returns a request like r for another target.
func requestFor(r *http.Request, original, current *url.URL) *http.Request {
	first, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	first.URL = at(cmp.Or(first.URL, r.URL), original)
	first.RequestURI = first.URL.RequestURI()
	r = r.Clone(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, first))
	r.URL = at(r.URL, current)
	r.RequestURI = r.URL.RequestURI()
	return r
}

// at returns u with another path and query.
func at(u, target *url.URL) *url.URL {
	u = new(*u)
	u.Path, u.RawPath, u.RawQuery = target.Path, target.RawPath, target.RawQuery
	return u
}
