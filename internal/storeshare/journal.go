package storeshare

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxJournal is how many resources one node may write without the store.
const maxJournal = 10_000

// allResources stands for every resource. Writes that the journal has no room
// for count as writes of it.
const allResources = ""

// errCatchingUp means that a flush of the journal is under way.
var errCatchingUp = errors.New("the store is being told what was written while it was out of reach")

// journal remembers the resources that were written while the store was out of
// reach. They are invalidated before the store is trusted again.
type journal struct {
	max      int
	flushing sync.Mutex
	size     atomic.Int64  // len(writes), readable without the lock
	due      atomic.Int64  // how many of them the store hasn't heard of, likewise
	news     chan struct{} // holds one while any is due

	mu     sync.Mutex
	writes map[string]journaled
}

// journaled is what is remembered of one resource.
type journaled struct {
	inFlight int           // writes that have begun and not ended
	ended    uint64        // writes that have ended
	idle     chan struct{} // closed when no write is in flight any more
	told     bool          // the store was told after the last one began or ended
}

func newJournal(size int) *journal {
	return &journal{max: size, writes: make(map[string]journaled), news: make(chan struct{}, 1)}
}

// begin remembers that a write of key is in flight. It returns the name under
// which end must be called.
func (j *journal) begin(key string) (name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.writes[key]; !known && len(j.writes) >= j.max {
		key = allResources
	}
	w := j.writes[key]
	if w.inFlight == 0 {
		w.idle = make(chan struct{})
	}
	w.inFlight++
	j.put(key, w)
	return key
}

// end remembers that a write has ended. The entry stays until it is flushed.
func (j *journal) end(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writes[name]
	w.inFlight--
	w.ended++
	j.put(name, w)
	if w.inFlight == 0 {
		close(w.idle) // after put: whoever wakes finds that the store must be told
	}
}

// once remembers a write of key that has ended.
func (j *journal) once(key string) {
	j.end(j.begin(key))
}

// put stores w, which the store has yet to hear of.
func (j *journal) put(key string, w journaled) {
	before, known := j.writes[key]
	if !known || before.told {
		j.due.Add(1)
	}
	w.told = false
	j.writes[key] = w
	j.size.Store(int64(len(j.writes)))
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// flush calls invalidate for every key (or for allResources) that a write has
// begun or ended on since the last call for it. Then it forgets those keys that
// have no write in flight. It stops at the first error. While another flush is
// under way it fails at once: nobody waits, and nobody trusts the store before
// all keys are invalidated.
func (j *journal) flush(invalidate func(key string) error) error {
	if j.due.Load() == 0 {
		return nil
	}
	if !j.flushing.TryLock() {
		return errCatchingUp
	}
	defer j.flushing.Unlock()
	for key, before := range j.untold() {
		if err := invalidate(key); err != nil {
			return err
		}
		j.setTold(key, before)
	}
	return nil
}

func (j *journal) untold() map[string]journaled {
	j.mu.Lock()
	defer j.mu.Unlock()
	writes := make(map[string]journaled, j.due.Load())
	for key, w := range j.writes {
		if !w.told {
			writes[key] = w
		}
	}
	return writes
}

func (j *journal) setTold(key string, before journaled) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writes[key]
	if w != before {
		return // another write has begun or ended since
	}
	j.due.Add(-1)
	if w.inFlight > 0 {
		w.told = true
		j.writes[key] = w
		return
	}
	delete(j.writes, key)
	j.size.Store(int64(len(j.writes)))
}

// has reports whether a write of key is in flight, or has ended without the
// store having heard of it: a write may end, or begin and end, while others are
// flushed.
func (j *journal) has(key string) bool {
	if j.size.Load() == 0 {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, one := j.writes[key]
	_, all := j.writes[allResources]
	return one || all
}

// inFlight returns a channel that is closed when no write of key is in flight
// any more. It returns nil if none is now.
func (j *journal) inFlight(key string) <-chan struct{} {
	if j.size.Load() == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range [...]string{key, allResources} {
		if w := j.writes[name]; w.inFlight > 0 {
			return w.idle
		}
	}
	return nil
}
