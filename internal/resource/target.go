package resource

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// SameOrigin resolves a reference in an answer against the original target. It
// reports false if the reference leads to a different origin (RFC 9110, section
// 4.3.1), or is invalid.
func (r *Request) SameOrigin(reference string) (*url.URL, bool) {
	target, ok := r.Resolve(reference)
	if !ok {
		return nil, false
	}
	scheme, host := r.Origin()
	return target, target.Scheme == scheme && foldHostPort(scheme, target.Host) == foldHostPort(scheme, host)
}

// Resolve resolves a reference against the original target. It reports false if the
// reference is invalid.
func (r *Request) Resolve(reference string) (*url.URL, bool) {
	base, err := url.ParseRequestURI(r.OriginalTarget)
	if err != nil {
		return nil, false
	}
	base.Scheme, base.Host = r.Origin()
	target, err := base.Parse(reference)
	return target, err == nil && target.Opaque == ""
}

// IsOwnTarget reports whether a reference in an answer leads to the target of the
// request. The scheme doesn't count: a backend behind a proxy that terminates TLS
// often names http.
func (r *Request) IsOwnTarget(reference string) bool {
	target, ok := r.Resolve(reference)
	if !ok || target.RequestURI() != r.OriginalTarget {
		return false
	}
	_, known := r.Origin()
	return strings.EqualFold(target.Host, r.Host) || strings.EqualFold(target.Host, known)
}

// HostName returns the host of the request, without its port. All spellings of a host
// have one.
func (r *Request) HostName() string { return foldHost((&url.URL{Host: r.Host}).Hostname()) }

// Origin returns the scheme and the authority by which the client knows the target.
// If Caddy trusts the proxy in front, they are what that proxy says.
func (r *Request) Origin() (scheme, host string) {
	scheme, host = "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		scheme = cmp.Or(strings.ToLower(firstMember(r.Fields["X-Forwarded-Proto"])), scheme)
		host = cmp.Or(firstMember(r.Fields["X-Forwarded-Host"]), host)
	}
	return scheme, host
}

// firstMember returns the first member of a list. The proxy next to the client added
// it.
func firstMember(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	member, _, _ := strings.Cut(lines[0], ",")
	return strings.TrimSpace(member)
}

// Candidates returns the possible forms of a referenced target when it reaches the
// handler. If the request's own path was rewritten on its way, the same rewrite may
// apply to the target, and nobody knows whether it does.
func (r *Request) Candidates(target *url.URL) []*url.URL {
	targets := []*url.URL{target}
	from, to := r.rewrite()
	if n := len(from); from != to && len(target.Path) >= n && strings.EqualFold(target.Path[:n], from) {
		u := *target
		u.Path, u.RawPath = to+target.Path[n:], ""
		targets = append(targets, &u)
	}
	return targets
}

// Original returns the target that a client would send to reach the handler as
// current. It reports false if that can't be told.
func (r *Request) Original(current *url.URL) (*url.URL, bool) {
	from, to := r.rewrite()
	return replacePrefix(current, to, from)
}

// OriginalOr does the same, but returns current if the original can't be told.
func (r *Request) OriginalOr(current *url.URL) *url.URL {
	if original, ok := r.Original(current); ok {
		return original
	}
	return current
}

// Current returns what the target original of a client would be when it reaches the
// handler. It reports false if that can't be told.
func (r *Request) Current(original *url.URL) (*url.URL, bool) {
	from, to := r.rewrite()
	return replacePrefix(original, from, to)
}

// rewrite returns the beginning of the path that earlier handlers have replaced, and
// its replacement. Both are empty if the path is unchanged.
func (r *Request) rewrite() (from, to string) {
	original, failed := url.ParseRequestURI(r.OriginalTarget)
	current, err := url.ParseRequestURI(r.CurrentTarget)
	if failed != nil || err != nil {
		return "", ""
	}
	from, to = original.Path, current.Path
	for from != "" && to != "" && from[len(from)-1] == to[len(to)-1] {
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	return from, to
}

// replacePrefix replaces the beginning of a target's path. It reports false if the
// path doesn't begin with from.
func replacePrefix(target *url.URL, from, to string) (*url.URL, bool) {
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
