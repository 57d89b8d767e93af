package knowledge

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Resources may change together, as groups (RFC 9875): a response says in
// Cache-Groups which groups it belongs to, and the answer to a write says in
// Cache-Group-Invalidation which groups the write has changed.
//
// A group is an entry of the store that is used only for its epoch: to invalidate
// the group is to invalidate that entry. The entry of a resource records, in its
// Vary, the epochs of its groups that were read before the request went to the
// backend. Its variants count only while these epochs are current. No epoch ever
// comes back, so this proves two things: no invalidation has come since the epochs
// were read, and the response shows the result of every invalidation that came
// before.
//
// If a response names a group that wasn't known before, its epoch wasn't read. The
// resource is then stored with an empty epoch for the group, which is never the
// current one. So its variants don't count, but the next read knows the group.
//
// Subtree epochs (package resource) work the same way, under names that no group
// can have.

const (
	// maxGroups is the number of groups and subtrees that a resource may belong to.
	maxGroups = 64
	// maxMemberships is the number of bytes in which they must fit.
	maxMemberships = 8192
)

// memberships are the epochs of groups and subtrees by name, as they were read. The
// epoch of one that wasn't read is empty.
type memberships map[string]string

// subtreeMark is the beginning of the names of subtree epochs. The name of a group
// has only printable characters (RFC 9651, section 3.3.3). The rest of the name of
// a subtree epoch is the index of the ancestor.
const subtreeMark = "\x7f"

func subtreeName(ancestor int) string { return subtreeMark + strconv.Itoa(ancestor) }

// ancestorOf returns the index of the ancestor that a name stands for, and reports
// whether it stands for one.
func ancestorOf(name string) (ancestor int, ok bool) {
	digits, ok := strings.CutPrefix(name, subtreeMark)
	if !ok {
		return 0, false
	}
	ancestor, _ = strconv.Atoi(digits)
	return ancestor, true
}

// splitVary splits the Vary of an entry into the request fields that select
// among the variants and, after a semicolon, the memberships.
func splitVary(vary string) (fields, groups string) {
	fields, groups, _ = strings.Cut(vary, ";")
	return fields, groups
}

// parseMemberships parses what String returns, without the semicolon at the
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

// String returns the memberships as they stand in a Vary:
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

// unread reports whether any epoch wasn't read.
func (m memberships) unread() bool {
	for _, epoch := range m {
		if epoch == "" {
			return true
		}
	}
	return false
}

// fit reports whether the memberships can be stored.
func (m memberships) fit() bool {
	return len(m) <= maxGroups && len(m.String()) <= maxMemberships
}
