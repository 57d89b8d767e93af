package preconditions

import (
	"sync"

	"go.uber.org/zap"
)

// unstable finds the resources of which every read shows another content though
// nobody writes them: no condition on such a tag can ever hold.
type unstable struct {
	mu    sync.Mutex
	runs  map[string]int // by resource and variant: how many reads in a row showed a change
	named map[string]bool
}

const (
	// unstableRun is how many changes in a row, without a write, are too many.
	unstableRun = 5
	// maxUnstable bounds what is remembered.
	maxUnstable = 1024
)

func newUnstable() *unstable {
	return &unstable{runs: make(map[string]int), named: make(map[string]bool)}
}

// note takes in that a read of what was known has, or hasn't, shown another
// content. It reports whether the resource is to be named now, which happens
// once.
func (u *unstable) note(resource, variant string, changed bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	run := resource + " " + variant
	if !changed {
		delete(u.runs, run)
		return false
	}
	if len(u.runs) >= maxUnstable {
		clear(u.runs)
	}
	u.runs[run]++
	if u.runs[run] < unstableRun || u.named[resource] {
		return false
	}
	if len(u.named) >= maxUnstable {
		clear(u.named)
	}
	u.named[resource] = true
	return true
}

// noteChange tells of a resource that is never the same.
func (rd *reading) noteChange(variant string, changed bool) {
	if rd.h.store.unstable.note(rd.key, variant, changed) {
		countUnstable()
		rd.h.logger.Warn("every read of this resource shows another content, so that no condition on its entity tag can hold; "+
			"make the tag of what identifies its state (etag json, etag header) or of the writes (etag version)",
			zap.String("resource", rd.key))
	}
}
