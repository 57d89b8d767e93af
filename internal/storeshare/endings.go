package storeshare

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// endings keeps track of the writes that wait for a claim to end. If the claim is one of this node,
// the write hears of its end before the store does, and gets the next claim with it.
type endings struct {
	mu      sync.Mutex
	byToken map[string]*Ending
}

func newEndings() *endings { return &endings{byToken: make(map[string]*Ending)} }

// Ending is the end of a claim of this node that a different write has waited for.
type Ending struct {
	terms  etagcache.Terms                   // of whoever waits
	wanted func(*etagcache.Observation) bool // whether to take over, given what is known then
	over   context.CancelFunc                // called when the store is about to hear of it

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

// watch waits for the end of the claim with a token, unless somebody else does so already. When
// the caller stops waiting, it calls leave, which returns the ending if over was called.
func (e *endings) watch(token string, own *Ending) (leave func() *Ending) {
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
// returns nil if nobody waits, or if whoever waits has other terms than the next claim will have,
// or doesn't want it.
func (e *endings) begin(token string, o *etagcache.Observation, t etagcache.Terms) *Ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	one := e.byToken[token]
	if one == nil || one.terms != t || !one.wanted(o) {
		return nil
	}
	delete(e.byToken, token)
	one.over()
	return one
}

// WaitForEnd is like Wait. But if the write in flight is the claim of a different write on this
// node with these terms, and wanted accepts what that has led to, WaitForEnd returns its ending as
// soon as that write is over, before the store hears of it. The caller must call Next then: it may
// have got a claim.
func WaitForEnd(ctx context.Context, s *Share, key string, seen etagcache.Entry, t etagcache.Terms, wanted func(*etagcache.Observation) bool) (*Ending, error) {
	waiting, over := context.WithCancel(ctx)
	defer over()
	leave := s.endings.watch(seen.Epoch, &Ending{terms: t, wanted: wanted, over: over, heard: make(chan struct{})})
	err := s.Wait(waiting, key, seen)
	if end := leave(); end != nil {
		return end, nil
	}
	return nil, err
}

// These limits give other nodes their chance.
const (
	// longestRun is for how long the writes of a node hand a claim on to each other.
	longestRun = 100 * time.Millisecond
	// mostTurns is how often they do so if other nodes write, too.
	mostTurns = 2
)

// hearsOf returns the ending of a claim if somebody on this node waits for it, and may go on with
// the next one. Yields means that it is the turn of other nodes.
func hearsOf(s *Share, g etagcache.Grant, o *etagcache.Observation, t etagcache.Terms) (end *Ending, yields bool) {
	if g.Pass || !undisturbed(s, g.Key) {
		return nil, false
	}
	turns, took := s.grants.run(g)
	if took > longestRun || turns >= mostTurns && !s.recent.alone() {
		return nil, turns > 0
	}
	return s.endings.begin(g.Token, o, t), false
}

// handOn settles a claim and takes the next one for whoever waits.
func handOn(ctx context.Context, s *Share, end *Ending, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	defer close(end.heard)
	next := Next{Taken: time.Now()}
	settlement.After, settlement.Next = &next.Entry, &next.Grant
	err := s.reach.note(s.Store.Settle(ctx, g, settlement, t))
	switch {
	case next.Grant.Token == "":
	case next.Entry.Epoch != etagcache.SettledEpoch(g.Token), // the entry that it was taken for is unknown
		!undisturbed(s, g.Key): // as for any other claim
		if err := s.reach.note(s.Store.Settle(ctx, next.Grant, etagcache.Settlement{Unchanged: true}, t)); err != nil {
			s.reach.logger.Load().Warn("a claim could not be given back", zap.String("resource", g.Key), zap.Error(err))
		}
	default:
		end.next = next
	}
	s.recent.remove(g.Key)
	return err
}
