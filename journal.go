package preconditions

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxJournal is how many resources one node may write without the store.
const maxJournal = 10_000

var (
	// errJournalFull means that no more can be written without the store.
	errJournalFull = errors.New("too many resources were written while the store was out of reach")
	// errCatchingUp means that the journal is being worked off.
	errCatchingUp = errors.New("the store is being told what was written while it was out of reach")
)

// journal remembers the resources that were written while the store was out of
// reach, so that they can be marked as changed before it is trusted again.
type journal struct {
	max      int
	flushing sync.Mutex
	size     atomic.Int64 // len(writes), to be read without the lock

	mu     sync.Mutex
	writes map[string]journaled
}

// journaled is what is remembered of one resource.
type journaled struct {
	inFlight int    // writes that have begun and not ended
	ended    uint64 // writes that have ended
}

func newJournal(size int) *journal {
	return &journal{max: size, writes: make(map[string]journaled)}
}

// begin remembers that a write of key is in flight.
func (j *journal) begin(key string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	w, known := j.writes[key]
	if !known && len(j.writes) >= j.max {
		return errJournalFull
	}
	w.inFlight++
	j.writes[key] = w
	j.size.Store(int64(len(j.writes)))
	return nil
}

// end tells that a write of key has ended. The key stays until it was flushed.
func (j *journal) end(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writes[key]
	w.inFlight--
	w.ended++
	j.writes[key] = w
}

// flush calls touch for every key, and forgets those of which no write has been
// in flight since. It stops at the first error, and fails at once while another
// flush is under way, so that nobody waits and nobody trusts the store before
// all are marked.
func (j *journal) flush(touch func(key string) error) error {
	if j.size.Load() == 0 {
		return nil
	}
	if !j.flushing.TryLock() {
		return errCatchingUp
	}
	defer j.flushing.Unlock()
	for key, before := range j.snapshot() {
		if err := touch(key); err != nil {
			return err
		}
		j.forget(key, before)
	}
	return nil
}

func (j *journal) snapshot() map[string]journaled {
	j.mu.Lock()
	defer j.mu.Unlock()
	writes := make(map[string]journaled, len(j.writes))
	for key, w := range j.writes {
		writes[key] = w
	}
	return writes
}

func (j *journal) forget(key string, before journaled) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if before.inFlight == 0 && j.writes[key] == before {
		delete(j.writes, key)
		j.size.Store(int64(len(j.writes)))
	}
}

// once remembers a write of key that has ended.
func (j *journal) once(key string) error {
	if err := j.begin(key); err != nil {
		return err
	}
	j.end(key)
	return nil
}
