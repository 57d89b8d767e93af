package storeshare

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// grants is a store that knows the claims and passes that this process holds in it.
type grants struct {
	etagcache.Store

	mu   sync.Mutex
	live map[etagcache.Grant]lease
	// sweepAt is the number of grants at which those whose lease is over are dropped. A
	// write without an answer leaves such grants behind.
	sweepAt int
}

type lease struct {
	taken, until time.Time
	// turns is how often writes of this process have handed the claim on to each other, and since
	// is when the first of them took it.
	turns int
	since time.Time
}

// newLease returns the lease of a claim or pass that wasn't handed on.
func newLease(taken time.Time, t etagcache.Terms) lease {
	return lease{taken: taken, until: taken.Add(t.Lease), since: taken}
}

// leastSweep is the number of grants that are kept without looking at their leases.
const leastSweep = 256

func newGrants(store etagcache.Store) *grants {
	return &grants{Store: store, live: make(map[etagcache.Grant]lease), sweepAt: leastSweep}
}

// Claim implements [etagcache.Store].
func (g *grants) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	taken := time.Now()
	grant, entry, err := g.Store.Claim(ctx, key, epoch, t, replaces...)
	if err == nil {
		g.add(grant, newLease(taken, t))
	}
	return grant, entry, err
}

// Pass implements [etagcache.Store].
func (g *grants) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	taken := time.Now()
	grant, entry, err := g.Store.Pass(ctx, key, t)
	if err == nil {
		g.add(grant, newLease(taken, t))
	}
	return grant, entry, err
}

// Renew implements [etagcache.Store].
func (g *grants) Renew(ctx context.Context, grant etagcache.Grant, t etagcache.Terms) error {
	renewed := time.Now()
	err := g.Store.Renew(ctx, grant, t)
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.live[grant]
	switch {
	case errors.Is(err, etagcache.ErrLost):
		delete(g.live, grant)
	case ok && err == nil:
		l.until = renewed.Add(t.Lease)
		g.live[grant] = l
	}
	return err
}

// Settle implements [etagcache.Store].
func (g *grants) Settle(ctx context.Context, grant etagcache.Grant, s etagcache.Settlement, t etagcache.Terms) error {
	begun := time.Now()
	err := g.Store.Settle(ctx, grant, s, t)
	if s.Next != nil && s.Next.Token != "" {
		turns, took := g.run(grant)
		g.add(*s.Next, lease{begun, begun.Add(t.Lease), turns + 1, time.Now().Add(-took)})
	}
	if err == nil || errors.Is(err, etagcache.ErrLost) {
		g.end(grant)
	}
	return err
}

// end notes that a claim or pass has ended. It is known for a while yet: a claim may just have been
// refused because of it.
func (g *grants) end(grant etagcache.Grant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l, ok := g.live[grant]; ok {
		l.until = time.Now()
		g.live[grant] = l
	}
}

// run returns how often writes of this process have handed on a claim, and for how long that has
// gone on.
func (g *grants) run(grant etagcache.Grant) (turns int, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.live[grant]
	if !ok {
		return 0, 0
	}
	return l.turns, time.Since(l.since)
}

// has reports whether an epoch began with a claim or pass of this process, or with the end of one.
func (g *grants) has(key, epoch string) bool {
	token := strings.TrimRight(epoch, ".")
	g.mu.Lock()
	defer g.mu.Unlock()
	_, claim := g.live[etagcache.Grant{Key: key, Token: token}]
	_, pass := g.live[etagcache.Grant{Key: key, Token: token, Pass: true}]
	return claim || pass
}

func (g *grants) add(grant etagcache.Grant, one lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live[grant] = one
	if len(g.live) < g.sweepAt {
		return
	}
	for grant, l := range g.live {
		if !one.taken.Before(l.until) {
			delete(g.live, grant)
		}
	}
	g.sweepAt = max(leastSweep, 2*len(g.live))
}

// Held is a claim or pass that this process holds.
type Held struct {
	Key  string
	Pass bool
	// Age is how long it has been held, and Left how long it lasts unless it is renewed.
	Age, Left time.Duration
}

// list returns the claims and passes whose lease isn't over, the oldest first.
func (g *grants) list() []Held {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	held := make([]Held, 0, len(g.live))
	for grant, l := range g.live {
		if now.Before(l.until) {
			held = append(held, Held{Key: grant.Key, Pass: grant.Pass, Age: now.Sub(l.taken), Left: l.until.Sub(now)})
		}
	}
	slices.SortFunc(held, func(a, b Held) int { return cmp.Or(cmp.Compare(b.Age, a.Age), cmp.Compare(a.Key, b.Key)) })
	return held
}
