package history

import (
	"slices"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// The bounds of what is known about who has seen what.
const (
	maxResources = 4096
	maxReaders   = 32 // of one resource
)

// resources holds who has seen which state of a resource, by the handler and the key. It knows
// only of the changes that were made through a handler.
var resources = func() *lru.Cache[seenKey, *Seen] {
	cache, err := lru.New[seenKey, *Seen](maxResources)
	if err != nil {
		panic(err) // only a size below one is refused
	}
	return cache
}()

type seenKey struct{ handler, resource string }

// states numbers the states of all resources. No number is used twice: what was forgotten and
// is seen again has a new one.
var states atomic.Uint64

// Seen is what is known about who has seen which state of a resource. A nil Seen knows
// nothing.
type Seen struct {
	mu      sync.Mutex
	state   uint64 // the present one
	writing int    // writes in flight
	readers []reader
	next    int // which reader gives way, once there are maxReaders
}

// reader is a client, and the state that it has seen last.
type reader struct{ client, state uint64 }

// Seen returns what is known about a resource.
func (h *Handler) Seen(resource string) *Seen {
	if h == nil {
		return nil
	}
	key := seenKey{h.name, resource}
	if s, ok := resources.Get(key); ok {
		return s
	}
	s := &Seen{state: states.Add(1)}
	if earlier, ok, _ := resources.PeekOrAdd(key, s); ok {
		return earlier
	}
	return s
}

// BeginRead returns the state that a read shows if it ends before a write begins, or 0 if a
// write is in flight.
func (s *Seen) BeginRead() (state uint64) {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing > 0 {
		return 0
	}
	return s.state
}

// EndRead notes that a client has seen a state. If a write has begun in the meantime, nobody can
// tell which state it has seen, and so nothing is known of that client.
func (s *Seen) EndRead(state, client uint64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing > 0 || s.state != state {
		s.readers = slices.DeleteFunc(s.readers, func(r reader) bool { return r.client == client })
		return
	}
	s.set(client, state)
}

// BeginWrite begins a write. The handler counts a lost update if the write replaces a state that
// its client hadn't seen. End must be called, and counts once.
func (h *Handler) BeginWrite(resource string, client uint64) *Write {
	s := h.Seen(resource)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	return &Write{handler: h, seen: s, client: client}
}

// Write is a write in flight. A nil Write is no write.
type Write struct {
	handler *Handler
	seen    *Seen
	client  uint64
	ended   bool
}

// Proof is what the condition of a write says about what its client has seen.
type Proof uint8

// The proofs.
const (
	Unproven Proof = iota // there is no condition that says anything
	Saw                   // the condition is true, so the client has seen the state
	SawOther              // the condition is false for a state that is there
)

// End ends the write. Replaced says whether it has replaced the state of the resource.
func (w *Write) End(replaced bool, proof Proof) {
	if w == nil || w.ended {
		return
	}
	w.ended = true
	unseen := w.seen.replace(w.client, replaced)
	if replaced && (proof == SawOther || proof == Unproven && unseen) {
		w.handler.lostOne()
	}
}

// replace ends a write of a client. It reports whether the client is known not to have seen
// the state before.
func (s *Seen) replace(client uint64, replaced bool) (unseen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing--
	if !replaced {
		return false
	}
	for _, r := range s.readers {
		if r.client == client {
			unseen = r.state != s.state
		}
	}
	s.state = states.Add(1)
	s.set(client, s.state)
	return unseen
}

// set sets the state that a client has seen.
func (s *Seen) set(client, state uint64) {
	for i := range s.readers {
		if s.readers[i].client == client {
			s.readers[i].state = state
			return
		}
	}
	if len(s.readers) < maxReaders {
		s.readers = append(s.readers, reader{client, state})
		return
	}
	s.next = (s.next + 1) % maxReaders
	s.readers[s.next] = reader{client, state}
}
