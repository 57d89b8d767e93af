package preconditions

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// A tree is all that is below a path, where a rule of the option affects says that
// it may change as a whole (`/docs/**`). Which resources are below isn't known to
// anybody but the backend. So each path of a tree that others may be below, from
// its root on, has two entries of the store beside that of the resource:
//
//   - its lock: a conditional write of anything below shares it, by a pass, and a
//     change of all that is below has it alone, by a claim. So no condition on
//     anything below is found true while such a change is in flight.
//   - its age, of which nothing but the epoch is used: a change of all that is
//     below holds a pass on it, which moves the epoch when the change begins, when
//     it ends, and when its node dies. What is stored of a resource says under
//     which epochs of those that it is below it was seen, as with groups, and
//     counts only as long as these are the current ones.
//
// Writes without a condition share no lock: whatever order they take with a change
// of the whole, nobody was promised another one.

// ageMark is what the names of ages begin with among those of groups, which have
// printable characters only (RFC 9651, section 3.3.3). The rest tells which of
// those it is that the resource is below.
const ageMark = "\x7f"

// maxAbove is how many paths of a tree a resource is known to be below, so that
// nobody has the store called any number of times by a long path, and there are
// enough groups left (maxGroups). All below the last of them changes as a whole.
const maxAbove = 32

// ancestors returns the keys of all that a path is below within a tree, from the
// root on.
func (x *exchange) ancestors(path string) (keys []string) {
	if len(x.h.trees) == 0 {
		return nil
	}
	given := segments(path)
	depth, ok := x.h.rootOf(given)
	if !ok {
		return nil
	}
	for end := min(len(given), depth+maxAbove); depth < end; depth++ {
		keys = append(keys, x.keyOfTree(given[:depth]))
	}
	return keys
}

// keyOfTree returns the key by which the lock and the age of a path are known. It
// is the same for all spellings, also where that of the resource isn't: with the
// query in it, or with the path as it was sent.
func (x *exchange) keyOfTree(given []string) string {
	if root, ok := x.h.rootOf(given); ok {
		given = given[:min(len(given), root+maxAbove-1)]
	}
	var path strings.Builder
	for _, s := range given {
		path.WriteString("/" + folded(s))
	}
	return x.keyAt(&url.URL{Path: cmp.Or(path.String(), "/")})
}

// rootOf returns how many segments the root of the largest tree has that a path is
// in, or is the root of.
func (h *Handler) rootOf(given []string) (depth int, ok bool) {
	depth = len(given) + 1
	for _, root := range h.trees {
		if len(root) < depth && len(root) <= len(given) {
			if _, ok := root.match(given[:len(root)]); ok {
				depth = len(root)
			}
		}
	}
	return depth, depth <= len(given)
}

// inTree reports whether all that is below a path may change as a whole.
func (x *exchange) inTree(path string) bool {
	_, ok := x.h.rootOf(segments(path))
	return ok
}

// treeRoots returns the paths that rules say may change with all that is below.
func treeRoots(rules []pathRule) (roots []pathPattern) {
	for _, r := range rules {
		for _, d := range r.to {
			if d.tree {
				roots = append(roots, d.pathPattern)
			}
		}
	}
	return roots
}

// shareLocks notes that a conditional write is below paths of a tree.
func (x *exchange) shareLocks() {
	for _, key := range x.above {
		x.others = append(x.others, other{bounded(lockPrefix + key), shared})
	}
}

// ageNames returns the names of the ages that count for the resource.
func (x *exchange) ageNames() (names []string) {
	for i := range x.above {
		names = append(names, ageMark+strconv.Itoa(i))
	}
	return names
}

// ageKey returns the key of an age by its name.
func (x *exchange) ageKey(name string) (key string, ok bool) {
	digits, ok := strings.CutPrefix(name, ageMark)
	if !ok {
		return "", false
	}
	i, _ := strconv.Atoi(digits)
	return bounded(agePrefix + x.above[i]), true
}

// share takes a pass on a lock as soon as nobody has it alone. There is no queue:
// whoever shares a lock is in nobody's way but of those who want it alone, and
// the store sees to it that they have their turn.
func (x *exchange) share(waiting context.Context, key string) (grant etagcache.Grant, taken time.Time, err error) {
	for {
		// The store may not have heard of what this node does.
		if idle := x.h.store.journal.inFlight(key); idle != nil {
			err = x.h.store.Wait(waiting, key, etagcache.Entry{})
		}
		if err != nil {
			return grant, taken, err
		}
		var entry etagcache.Entry
		taken = time.Now()
		grant, entry, err = x.h.store.Pass(x.detached(), key, x.h.terms)
		if !errors.Is(err, etagcache.ErrBusy) {
			return grant, taken, err
		}
		err = x.h.store.Wait(waiting, key, entry)
	}
}

// exclude takes a claim on a lock as soon as nobody shares it.
func (x *exchange) exclude(waiting context.Context, key string) (grant etagcache.Grant, taken time.Time, err error) {
	leave, _, err := x.h.store.queues.enter(waiting, key)
	if err != nil {
		return grant, taken, err
	}
	defer leave()
	entry, err := x.h.store.Read(waiting, key, x.h.terms)
	for tries := 0; err == nil; tries++ {
		if tries == maxTries {
			return grant, taken, errTooLively
		}
		taken = time.Now()
		grant, entry, err = x.h.store.Claim(x.detached(), key, entry.Epoch, x.h.terms)
		switch {
		case errors.Is(err, etagcache.ErrStale):
			err = nil
		case errors.Is(err, etagcache.ErrBusy):
			err = x.h.store.Wait(waiting, key, entry)
		default:
			return grant, taken, err
		}
	}
	return grant, taken, err
}
