package preconditions

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Groups of resources that change together (RFC 9875): a response says in
// Cache-Groups to which it belongs, and the answer to a write says in
// Cache-Group-Invalidation which of them it has changed.
//
// A group is an entry of the store, of which nothing but the epoch is used: to
// invalidate the group is to invalidate the entry. What is stored of a resource says
// in its Vary under which epochs of its groups it was seen, as they were read
// before the request went to the backend, and counts only as long as these are
// the current ones. As no epoch ever comes back, that tells two things: no
// invalidation has come since they were read, and of each that came before, the
// response shows the result.
//
// A response that names a group which wasn't known before has been seen under no
// epoch of it. So it is stored under none, which is never the current one: it
// counts for nothing, but the next read knows the group.

const (
	// maxGroups is how many groups a resource may be in.
	maxGroups = 64
	// maxGroupName is how many bytes the name of a group may have.
	maxGroupName = 256
	// maxMemberships is how many bytes are stored of the groups of a resource.
	maxMemberships = 8192
	// maxInvalidated is how many groups the answer to a write may invalidate.
	maxInvalidated = 1024
	// groupReads is how many groups are read at once.
	groupReads = 16
)

// memberships is the epochs of groups, by name, as they were read; "" where one
// wasn't.
type memberships map[string]string

// splitVary splits the Vary of an entry into the request fields that select
// among the variants and, after a semicolon, the groups.
func splitVary(vary string) (fields, groups string) {
	fields, groups, _ = strings.Cut(vary, ";")
	return fields, groups
}

// parseMemberships is the inverse of String, without the semicolon at its
// beginning.
func parseMemberships(s string) memberships {
	m := make(memberships)
	for text := range strings.SplitSeq(s, ";") {
		name, epoch, _ := strings.Cut(text, "=")
		if name, err := url.QueryUnescape(name); err == nil && text != "" {
			m[name] = epoch
		}
	}
	return m
}

// String returns the groups as they stand in a Vary:
//
//	;cars=dGhpcyBpcyBub3Qu;vans=UmVhbGx5IGl0IGlz
func (m memberships) String() string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b.WriteString(";" + url.QueryEscape(name) + "=" + m[name])
	}
	return b.String()
}

// unread reports whether the epoch of a group isn't known.
func (m memberships) unread() bool {
	for _, epoch := range m {
		if epoch == "" {
			return true
		}
	}
	return false
}

// readGroups reads the groups that the entry names, in one round trip for all of
// them, and none where it names none. Where it fails, nothing in the entry counts.
func (x *exchange) readGroups() error {
	x.groups, x.outdated = nil, false
	_, text := splitVary(x.entry.Vary)
	if text == "" && x.above == nil {
		return nil
	}
	stored := parseMemberships(text)
	current, err := x.epochs(x.groupNames(stored))
	x.groups, x.outdated = current, err != nil || current.unread() || !maps.Equal(stored, current)
	return err
}

// groupNames returns the names of the groups to be read: those that are stored,
// and the ages that count for the resource, whatever is stored.
func (x *exchange) groupNames(stored memberships) []string {
	names := x.ageNames()
	for name := range stored {
		if !strings.HasPrefix(name, ageMark) {
			names = append(names, name)
		}
	}
	return names
}

// epochs returns the current epochs of groups, and "" for what is changing.
func (x *exchange) epochs(names []string) (memberships, error) {
	ctx, cancel := context.WithCancelCause(x.detached())
	defer cancel(nil)
	var mu sync.Mutex
	epochs := make(memberships, len(names))
	concurrently(groupReads, names, func(name string) {
		key, ok := x.ageKey(name)
		if !ok {
			key = x.groupKey(name)
		}
		group, err := x.h.store.Read(ctx, key, x.h.terms)
		switch {
		case err != nil:
			cancel(err) // one that is missing makes the rest worthless
		case group.Busy > 0:
			group.Epoch = ""
		}
		mu.Lock()
		defer mu.Unlock()
		epochs[name] = group.Epoch
	})
	return epochs, context.Cause(ctx)
}

// concurrently calls f for each one, at most so many at once. A panic of f is one of
// the caller: a handler that is asked may panic, and in a goroutine of its own
// nobody would recover.
func concurrently[T any](most int, each []T, f func(T)) {
	var all sync.WaitGroup
	free := make(chan struct{}, most)
	panics := make(chan any, len(each))
	for _, one := range each {
		free <- struct{}{}
		all.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics <- v
				}
				<-free
			}()
			f(one)
		})
	}
	all.Wait()
	select {
	case v := <-panics:
		panic(v)
	default:
	}
}

// known returns the variants of the entry, unless one of their groups was
// invalidated since they were stored.
func (x *exchange) known() map[string]etagcache.Stored {
	if x.outdated {
		return nil
	}
	return x.entry.Variants
}

// memberships returns the groups of the resource, those known and those that a
// response names. Where these are too many together, only the response's count,
// as nothing that is stored of the resource survives the change. It reports
// false where those alone are too many: then nothing can be stored.
func (x *exchange) memberships(h http.Header) (memberships, bool) {
	lines := h["Cache-Groups"]
	if lines == nil && x.groups == nil {
		return nil, true
	}
	own := make(memberships)
	for _, name := range x.ageNames() {
		own[name] = x.groups[name]
	}
	for _, name := range proxyhooks.ParseGroups(lines) {
		if len(name) > maxGroupName {
			return nil, false
		}
		own[name] = x.groups[name]
	}
	all := maps.Clone(x.groups)
	if all == nil {
		return own, own.fit()
	}
	if maps.Copy(all, own); all.fit() {
		return all, true
	}
	return own, own.fit()
}

// newGroups reports whether a response names groups that weren't known before.
func (x *exchange) newGroups(h http.Header) bool {
	m, _ := x.memberships(h)
	return m.unread()
}

// forget drops what is stored of a resource that is in too many groups now for
// that to be told of what it shows: an invalidation of one of them would pass by.
func (rd *reading) forget(h http.Header) {
	if _, few := rd.memberships(h); !few && len(rd.entry.Variants) > 0 {
		rd.markChanged([]string{rd.key})
	}
}

// fit reports whether the groups can be stored.
func (m memberships) fit() bool {
	return len(m) <= maxGroups && len(m.String()) <= maxMemberships
}

// confirmGroups looks, under a claim, whether groups of the resource were
// invalidated since they were read, where a write would pass for what is stored.
// If so, nothing is known, and the origin is to be asked.
//
// This is why a stored validator lets no write pass if an invalidation of one of
// its groups was complete before the claim was taken. The claim says that the
// entry is the one that was evaluated. Its epochs of the groups are found to be
// current here, after the claim was taken, so that they have been all along since
// they were read for the response that showed the validator. An invalidation that
// was complete before the claim was taken came earlier than that reading, for it
// would have moved the epoch; so the backend had made its change before it gave
// that response.
func (x *exchange) confirmGroups(c *claimed) error {
	if x.groups == nil || c.res.Verdict != validator.True || !x.signed && x.h.verify.needed(c.known.Age) {
		return nil // there are none, or the origin is asked in any case
	}
	err := x.readGroups()
	if x.outdated {
		c.known = etagcache.Stored{}
		c.res = x.evaluate(validator.Representation{})
	}
	return err
}

// invalidatedGroups returns the keys of the groups that the answer to a write
// says were changed. A name that is too long is that of no group of anything
// that is stored.
func (wr *writing) invalidatedGroups(h http.Header) (keys []string) {
	for _, name := range proxyhooks.ParseGroups(h["Cache-Group-Invalidation"]) {
		if len(keys) == maxInvalidated {
			wr.h.logger.Warn("the answer to a write names more groups than are invalidated",
				zap.Int("invalidated", maxInvalidated), zap.String("resource", wr.key))
			break
		}
		if len(name) <= maxGroupName {
			keys = append(keys, wr.groupKey(name))
		}
	}
	return keys
}

// groupKey returns the key of the entry of a group of the request's origin.
func (x *exchange) groupKey(name string) string { return groupKey(x.h.Key, x.repl, name) }

// groupKey returns the key of the entry of a group. Of scheme, host and port it
// has what the keys of resources have, of which this is the template: where these
// don't tell two origins apart, what is stored is about both.
func groupKey(template string, repl *caddy.Replacer, name string) string {
	var origin strings.Builder
	_, _ = repl.ReplaceFunc(template, func(placeholder string, value any) (any, error) {
		switch placeholder {
		case "http.request.scheme", "http.request.host":
			origin.WriteString(foldHost(caddy.ToString(value)) + " ")
		case "http.request.port":
			scheme, _ := repl.GetString("http.request.scheme")
			origin.WriteString(foldPort(scheme, caddy.ToString(value)) + " ")
		case "http.request.hostport":
			scheme, _ := repl.GetString("http.request.scheme")
			origin.WriteString(foldHostPort(scheme, caddy.ToString(value)) + " ")
		}
		return "", nil
	})
	return bounded(groupPrefix + origin.String() + name)
}
