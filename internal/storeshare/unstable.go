package storeshare

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Unstable finds the resources whose content differs on every read although
// nobody writes them. No condition on a tag of such content can ever hold.
type Unstable struct {
	mu    sync.Mutex
	runs  *simplelru.LRU[string, int]      // reads in a row that showed a change, by resource and variant
	named *simplelru.LRU[string, struct{}] // resources that Note has reported
}

const (
	// unstableRun is how many changes in a row, without a write, make a resource
	// unstable.
	unstableRun = 5
	// maxUnstable limits what is remembered.
	maxUnstable = 1024
)

func newUnstable() *Unstable {
	runs, err := simplelru.NewLRU[string, int](maxUnstable, nil)
	if err != nil {
		panic(err) // only a size below one is refused
	}
	named, err := simplelru.NewLRU[string, struct{}](maxUnstable, nil)
	if err != nil {
		panic(err)
	}
	return &Unstable{runs: runs, named: named}
}

// Note notes whether a read of a known variant showed different content. It reports
// true once for each resource that turns out to be unstable.
func (u *Unstable) Note(resource, variant string, changed bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !changed && u.runs.Len() == 0 {
		return false // the usual case
	}
	name := resource + " " + variant
	if !changed {
		u.runs.Remove(name)
		return false
	}
	run, _ := u.runs.Get(name)
	run++
	u.runs.Add(name, run)
	if run < unstableRun || u.named.Contains(resource) {
		return false
	}
	u.named.Add(resource, struct{}{})
	return true
}
