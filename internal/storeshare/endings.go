package storeshare

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// endings knows who waits for the end of which claim. If that is a claim of this node, whoever
// waits hears of its end before the store does, and gets the next claim with it.
type endings struct {
	mu      sync.Mutex
	byToken map[string]*Ending
}

func newEndings() *endings { return &endings{byToken: make(map[string]*Ending)} }

// Ending is the end of a claim of this node that a different write has waited for.
type Ending struct {
	terms etagcache.Terms    // of whoever waits
	over  context.CancelFunc // called when the store is about to hear of it

	heard chan struct{} // closed when the store has answered; then what follows stays as it is
	next  Next
}

// Next is a claim that a write has taken over from a different one.
type Next struct {
	Grant etagcache.Grant
	// Entry is the entry as it was between the two claims.
	Entry etagcache.Entry
	// Taken is when the claim was taken, or earlier.
	Taken time.Time
}

// Next waits until the store has heard of the ending. It returns the next claim, or false if the
// caller has to ask for it.
func (e *Ending) Next() (Next, bool) {
	<-e.heard
	return e.next, e.next.Grant.Token != ""
}

// watch calls over when the claim with a token is about to end on this node with these terms,
// unless somebody else waits for that already. When the caller stops waiting, it calls leave,
// which returns the ending if over was called.
func (e *endings) watch(token string, t etagcache.Terms, over context.CancelFunc) (leave func() *Ending) {
	own := &Ending{terms: t, over: over, heard: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byToken[token] != nil {
		return func() *Ending { return nil }
	}
	e.byToken[token] = own
	return func() *Ending {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.byToken[token] != own {
			return own
		}
		delete(e.byToken, token)
		return nil
	}
}

// begin tells whoever waits for the end of a claim that the store is about to hear of it. It
// returns nil if nobody does who has these terms: the next claim will have the same.
func (e *endings) begin(token string, t etagcache.Terms) *Ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	one := e.byToken[token]
	if one == nil || one.terms != t {
		return nil
	}
	delete(e.byToken, token)
	one.over()
	return one
}

// WaitForEnd is like Wait. But if the write in flight is the claim of a different write on this
// node with these terms, it returns its ending as soon as only the store has yet to hear of that.
// The caller must call Next then: it may have got a claim.
func WaitForEnd(ctx context.Context, s *Share, key string, seen etagcache.Entry, t etagcache.Terms) (*Ending, error) {
	waiting, over := context.WithCancel(ctx)
	defer over()
	leave := s.endings.watch(seen.Epoch, t, over)
	err := s.Wait(waiting, key, seen)
	if end := leave(); end != nil {
		return end, nil
	}
	return nil, err
}

// longestRun is for how long the writes of a node hand a claim on to each other. Then other nodes
// get their chance.
const longestRun = 100 * time.Millisecond

// hearsOf returns the ending of a claim if somebody on this node waits for it, and may go on with
// the next one. Yields means that they have gone on for long enough.
func hearsOf(s *Share, g etagcache.Grant, t etagcache.Terms) (end *Ending, yields bool) {
	if g.Pass || s.journal.due.Load() > 0 || s.journal.has(g.Key) || s.reach.last.Load() != noTrouble {
		return nil, false
	}
	if now, before := s.grants.run(g); now > longestRun {
		return nil, before > 0
	}
	return s.endings.begin(g.Token, t), false
}

// handOn settles a claim and takes the next one for whoever waits.
func handOn(ctx context.Context, s *Share, end *Ending, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	defer close(end.heard)
	next := Next{Taken: time.Now()}
	settlement.After, settlement.Next = &next.Entry, &next.Grant
	err := s.reach.note(s.Store.Settle(ctx, g, settlement, t))
	switch {
	case next.Grant.Token == "":
		remember(s, g.Key, next.Entry, err)
	case next.Entry.Epoch != etagcache.SettledEpoch(g.Token): // nobody knows what it was taken for
		_ = s.Store.Settle(ctx, next.Grant, etagcache.Settlement{Unchanged: true}, t)
		s.recent.remove(g.Key)
	default:
		s.recent.remove(g.Key)
		end.next = next
	}
	return err
}
