package storeshare

import (
	"cmp"
	"slices"
	"time"
)

// Status is what this process knows of a store, without asking it.
type Status struct {
	// Reach is "up", "out of reach", or "unusable" if a different version keeps its data there.
	Reach string
	// Grace is how much longer no write passes because data was lost, and Loss what happened.
	Grace time.Duration
	Loss  string
	// Evicts says whether the store may evict claims. It is nil if the store doesn't tell.
	Evicts *bool
	// Recent is the number of entries that this process remembers.
	Recent int
	// Journal tells of the resources that were written without the store.
	Journal JournalStatus
}

// JournalStatus tells of the resources that were written without the store.
type JournalStatus struct {
	Resources int // that are remembered
	Untold    int // of which the store hasn't heard
	InFlight  int // to which a write is in flight
	// Keys are some of the resources, in order. An empty one stands for all resources.
	Keys []string
}

// maxListed is the number of resources of a journal that are listed.
const maxListed = 100

// Status returns what this process knows of the store.
func (o OpenShare) Status() Status {
	s := Status{Reach: o.reach.String(), Journal: o.journal.status()}
	if g, running := o.Losses.Grace(); running {
		s.Grace, s.Loss = g.Left, g.Loss.String()
	}
	if e, ok := o.opened.(interface{ Evicts() (evicts, known bool) }); ok {
		if evicts, known := e.Evicts(); known {
			s.Evicts = &evicts
		}
	}
	if o.recent != nil {
		s.Recent = o.recent.entries.Len()
	}
	return s
}

// String names what the last call found.
func (r *reach) String() string {
	switch r.last.Load() {
	case outOfReach:
		return "out of reach"
	case unusable:
		return "unusable"
	default:
		return "up"
	}
}

func (j *journal) status() (s JournalStatus) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Resources, s.Untold = len(j.writes), int(j.due.Load())
	keys := make([]string, 0, len(j.writes))
	for key, w := range j.writes {
		s.InFlight += min(w.inFlight, 1)
		keys = append(keys, key)
	}
	slices.Sort(keys)
	s.Keys = keys[:min(len(keys), maxListed)]
	return s
}

// Held returns the claims and passes that this process holds, the oldest first.
func (o OpenShare) Held() []Held { return o.grants.list() }

// Waiting is a number of writes of one resource that wait in this process.
type Waiting struct {
	Key    string
	Writes int
}

// Waiting returns how many writes wait for others in this process, the longest lines first.
// Whoever has the turn and asks the store for a claim counts, too.
func (o OpenShare) Waiting() []Waiting {
	count := make(map[string]int)
	o.Queues.mu.Lock()
	for key, waiting := range o.Queues.byKey {
		count[key] += 1 + waiting.waiting
	}
	o.Queues.mu.Unlock()
	o.Lobby.mu.Lock()
	for key, room := range o.Lobby.byKey {
		count[key] += room.waiting.waiting
	}
	o.Lobby.mu.Unlock()
	all := make([]Waiting, 0, len(count))
	for key, n := range count {
		all = append(all, Waiting{key, n})
	}
	slices.SortFunc(all, func(a, b Waiting) int { return cmp.Or(cmp.Compare(b.Writes, a.Writes), cmp.Compare(a.Key, b.Key)) })
	return all
}
