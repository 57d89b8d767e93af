package preconditions

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxJournal is how many resources one node may write without the store.
const maxJournal = 10_000

// allResources stands for every resource: it takes in the writes for which there is
// no room.
const allResources = ""

// errCatchingUp means that the journal is being worked off.
var errCatchingUp = errors.New("the store is being told what was written while it was out of reach")

// journal remembers the resources that were written while the store was out of
// reach, so that they can be marked as changed before it is trusted again.
type journal struct {
	max      int
	flushing sync.Mutex
	size     atomic.Int64  // len(writes), to be read without the lock
	due      atomic.Int64  // how many of them are to be marked, likewise
	news     chan struct{} // has something in it when any is

	mu     sync.Mutex
	writes map[string]journaled
}

// journaled is what is remembered of one resource.
type journaled struct {
	inFlight int           // writes that have begun and not ended
	ended    uint64        // writes that have ended
	idle     chan struct{} // closed when none is in flight any more
	marked   bool          // in the store, since the last one began or ended
}

func newJournal(size int) *journal {
	return &journal{max: size, writes: make(map[string]journaled), news: make(chan struct{}, 1)}
}

// begin remembers that a write of key is in flight, and returns what it is
// remembered under.
func (j *journal) begin(key string) (under string) {
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

// end tells that a write that is remembered under key has ended. The key stays
// until it was flushed.
func (j *journal) end(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writes[key]
	w.inFlight--
	w.ended++
	j.put(key, w)
	if w.inFlight == 0 {
		close(w.idle) // after put: who wakes finds it to be marked
	}
}

// put stores w, which the store has yet to hear of.
func (j *journal) put(key string, w journaled) {
	before, known := j.writes[key]
	if !known || before.marked {
		j.due.Add(1)
	}
	w.marked = false
	j.writes[key] = w
	j.size.Store(int64(len(j.writes)))
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// flush calls invalidate for every key, or for allResources, of which a write has
// begun or ended since it was last called for it, and forgets those of which none
// is in flight. It stops at the first error, and fails at once while another
// flush is under way, so that nobody waits and nobody trusts the store before all
// are marked.
func (j *journal) flush(invalidate func(key string) error) error {
	if j.due.Load() == 0 {
		return nil
	}
	if !j.flushing.TryLock() {
		return errCatchingUp
	}
	defer j.flushing.Unlock()
	for key, before := range j.unmarked() {
		if err := invalidate(key); err != nil {
			return err
		}
		j.mark(key, before)
	}
	return nil
}

func (j *journal) unmarked() map[string]journaled {
	j.mu.Lock()
	defer j.mu.Unlock()
	writes := make(map[string]journaled, j.due.Load())
	for key, w := range j.writes {
		if !w.marked {
			writes[key] = w
		}
	}
	return writes
}

func (j *journal) mark(key string, before journaled) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writes[key]
	if w != before {
		return // another write has begun or ended since
	}
	j.due.Add(-1)
	if w.inFlight > 0 {
		w.marked = true
		j.writes[key] = w
		return
	}
	delete(j.writes, key)
	j.size.Store(int64(len(j.writes)))
}

// has reports whether a write of key is in flight, or has ended and the store has
// yet to hear of it: one may end, or begin and end, while others are flushed.
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
// any more, or nil if none is.
func (j *journal) inFlight(key string) <-chan struct{} {
	if j.size.Load() == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, under := range [...]string{key, allResources} {
		if w := j.writes[under]; w.inFlight > 0 {
			return w.idle
		}
	}
	return nil
}

// once remembers a write of key that has ended.
func (j *journal) once(key string) {
	j.end(j.begin(key))
}
