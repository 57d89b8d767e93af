package storeshare

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxJournal is the number of resources that one node can remember.
const maxJournal = 10_000

// allResources is a key that stands for every resource. A write that the journal
// has no room for counts as a write of all of them.
const allResources = ""

// errCatchingUp means that a flush of the journal is under way.
var errCatchingUp = errors.New("the store is being told what was written while it was out of reach")

// journal remembers the resources that were written while the store was out of
// reach. They are invalidated before the store is trusted again.
type journal struct {
	max      int
	flushing sync.Mutex
	size     atomic.Int64  // len(writes), readable without mu
	due      atomic.Int64  // how many of these the store hasn't heard of, likewise
	noted    atomic.Uint64 // how often a write has begun or ended, likewise
	news     chan struct{} // gets a value when one becomes due, unless it has one

	mu     sync.Mutex
	writes map[string]journaled
}

// journaled is what is remembered of one resource.
type journaled struct {
	inFlight int           // writes that have begun and not ended
	ended    uint64        // writes that have ended
	idle     chan struct{} // closed when no write is in flight any more
	told     bool          // the store has heard of it since the last begin or end
}

func newJournal(size int) *journal {
	return &journal{max: size, writes: make(map[string]journaled), news: make(chan struct{}, 1)}
}

// begin remembers that a write of key is in flight. It returns the name to call end
// with.
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
		close(w.idle) // after put: whoever wakes up sees that the store must be told
	}
}

// once remembers a write of key that has already ended.
func (j *journal) once(key string) {
	j.end(j.begin(key))
}

// put remembers w, and that the store hasn't heard of it.
func (j *journal) put(key string, w journaled) {
	before, known := j.writes[key]
	if !known || before.told {
		j.due.Add(1)
	}
	w.told = false
	j.noted.Add(1)
	j.writes[key] = w
	j.size.Store(int64(len(j.writes)))
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// flush calls invalidate for every key of which a write has begun or ended since
// the last call for that key. The key may be allResources. It forgets a key
// afterwards, unless a write of it is in flight. It stops at the first error. While
// another flush is under way it fails at once: nobody waits, and nobody trusts the
// store before all keys are invalidated.
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

// untold returns the keys of which the store hasn't heard.
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

// setTold notes that the store has heard of a key, as it was before.
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

// has reports whether a write of key is in flight, or has ended and the store
// hasn't heard of it. Even right after a flush there may be such a write: it may
// have ended, or begun and ended, in the meantime.
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

// inFlight returns a channel that is closed when no write of key is in flight any
// more, or nil if none is in flight now.
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
