package preconditions

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// maxTargets is how many resources beside its own target an answer to a write
// may mark as changed.
const maxTargets = 64

// invalidate marks as changed what the answer to a write says that it has
// changed beside its target, if it is no error (RFC 9111, section 4.4): before
// the write is settled, so before anybody can see the answer.
func (wr *writing) invalidate(a proxyhooks.Answer) {
	if a.Status/100 != 2 && a.Status/100 != 3 {
		return
	}
	wr.markChanged(slices.Concat(wr.changedKeys(a.Header), wr.invalidatedGroups(a.Header)))
}

// changedKeys returns the keys of the resources that an answer says were changed,
// but for that of the target.
//
// What an answer names beyond maxTargets stays as it is: to mark all there is in
// the store instead would have one answer cost every resource of every site what
// is known about it.
func (wr *writing) changedKeys(h http.Header) (keys []string) {
	for _, reference := range changedReferences(h) {
		target, ok := wr.sameOrigin(reference)
		if !ok {
			continue
		}
		for _, key := range wr.keysAt(target) {
			switch {
			case key == wr.key || slices.Contains(keys, key):
			case len(keys) == maxTargets:
				wr.h.logger.Warn("the answer to a write names more changed resources than are marked",
					zap.Int("marked", maxTargets), zap.String("resource", wr.key))
				return keys
			default:
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// changedReferences returns the references to what an answer says was changed:
// those that RFC 9111, section 4.4, names, and links of the type "invalidates".
func changedReferences(h http.Header) []string {
	location, content, link := h["Location"], h["Content-Location"], h["Link"]
	if location == nil && content == nil && link == nil {
		return nil
	}
	return slices.Concat(location, content, proxyhooks.Links(link, "invalidates"))
}

// sameOrigin resolves a reference in an answer against the target as the client
// asked for it. It reports false if that leads to another origin (RFC 9110,
// section 4.3.1), or nowhere.
func (x *exchange) sameOrigin(reference string) (*url.URL, bool) {
	base, err := url.ParseRequestURI(x.original())
	if err != nil {
		return nil, false
	}
	base.Scheme, base.Host = x.origin()
	target, err := base.Parse(reference)
	if err != nil || target.Opaque != "" {
		return nil, false
	}
	return target, target.Scheme == base.Scheme && authority(target) == authority(base)
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

// authority returns host and port in the one way to write them.
func authority(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return host + ":" + port
}

// keysAt returns the keys of the resources that a target may be. Where the target
// of this request was rewritten on its way here, that of the other one would be,
// too: the same beginning of the path is replaced.
func (x *exchange) keysAt(target *url.URL) []string {
	keys := []string{x.keyAt(target)}
	if rewritten, ok := x.rewritten(target.Path); ok {
		u := *target
		u.Path, u.RawPath = rewritten, ""
		keys = append(keys, x.keyAt(&u))
	}
	return keys
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
	current, err := url.ParseRequestURI(x.target)
	if failed != nil || err != nil {
		return "", ""
	}
	from, to = original.Path, current.Path
	for from != "" && to != "" && from[len(from)-1] == to[len(to)-1] {
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	return from, to
}

// touches is how many resources are marked at once.
const touches = 8

// markChanged tells the store that resources have changed. Where it can't be
// told, the node remembers to do so before it trusts the store again.
func (x *exchange) markChanged(keys []string) {
	ctx, store := x.detached(), x.h.store
	concurrently(touches, keys, func(key string) {
		if err := store.Touch(ctx, key, x.h.terms); err != nil {
			store.journal.once(key)
			x.h.logger.Warn("a change could not be stored", zap.String("resource", key), zap.Error(err))
		}
	})
}
