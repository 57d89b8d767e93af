package resource

import (
	"cmp"
	"net/url"
	"strings"
)

// A tree is a path and everything below it, if a rule of the option affects says
// that this may change as a whole (`/docs/**`). Only the backend knows which
// resources are below. So each path of a tree that can have something below it,
// from the root down, has two entries in the store besides the resource's own:
//
//   - Its lock. A conditional write of anything below shares the lock: it holds a
//     pass. A change of everything below has the lock alone: it holds a claim. So
//     no condition on anything below is found true while such a change is in
//     flight.
//   - Its subtree epoch, an entry that is used only for its epoch. A change of
//     everything below holds a pass on it, which moves the epoch when the change
//     begins, when it ends, and when its node dies. The entry of a resource records
//     the subtree epochs under which the resource was seen, like the epochs of its
//     groups. Its variants count only while these epochs are current.
//
// Writes without a condition take no lock: they may come before or after a change
// of the whole, and nobody was promised either order.

// maxAncestors limits the ancestors of a resource that have entries, counted from
// the root. It limits the store calls that a long path can cause, and leaves room
// for groups among the stored epochs. Everything below the last of these ancestors
// changes as a whole.
const maxAncestors = 32

// ancestorKeys returns the keys of all paths of a tree that are above a path, from
// the root down.
func (n *Namer) ancestorKeys(r *Request, path string) (keys []string) {
	if len(n.Roots) == 0 {
		return nil
	}
	segments := Segments(path)
	depth, ok := n.rootDepth(segments)
	if !ok {
		return nil
	}
	for end := min(len(segments), depth+maxAncestors); depth < end; depth++ {
		keys = append(keys, n.treeKey(r, segments[:depth]))
	}
	return keys
}

// TreeKeys returns the keys of the lock and of the subtree epoch of a path.
func (n *Namer) TreeKeys(r *Request, path string) (lock, subtree string) {
	key := n.treeKey(r, Segments(path))
	return LockKey(key), SubtreeKey(key)
}

// LockKey returns the key of the lock of an ancestor.
func LockKey(ancestor string) string { return shorten(lockPrefix + ancestor) }

// SubtreeKey returns the key of the subtree epoch of an ancestor.
func SubtreeKey(ancestor string) string { return shorten(subtreePrefix + ancestor) }

// treeKey returns the key from which the keys of a path's lock and subtree epoch are
// made. It is the same for all spellings, even if the template contains the query,
// or the path as it was sent.
func (n *Namer) treeKey(r *Request, segments []string) string {
	if root, ok := n.rootDepth(segments); ok {
		segments = segments[:min(len(segments), root+maxAncestors-1)]
	}
	var path strings.Builder
	for _, s := range segments {
		path.WriteString("/" + foldSegment(s))
	}
	target := &url.URL{Path: cmp.Or(path.String(), "/")}
	return n.Key(r, target, target)
}

// rootDepth returns the number of segments of the root of the largest tree that
// contains a path. It reports false if no tree does.
func (n *Namer) rootDepth(segments []string) (depth int, ok bool) {
	depth = len(segments) + 1
	for _, root := range n.Roots {
		if len(root) < depth && len(root) <= len(segments) {
			if _, ok := root.Match(segments[:len(root)]); ok {
				depth = len(root)
			}
		}
	}
	return depth, depth <= len(segments)
}

// InTree reports whether everything below a path may change as a whole.
func (n *Namer) InTree(path string) bool {
	_, ok := n.rootDepth(Segments(path))
	return ok
}
