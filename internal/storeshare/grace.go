package storeshare

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// graceful is a store that gets the longest grace of all handlers with every call. When
// the store has lost its data, any call may begin the grace, and the claims of all
// handlers must be taken again before it is over.
type graceful struct {
	etagcache.Store
	longest *atomic.Int64
}

// terms returns t with the longest grace.
func (g graceful) terms(t etagcache.Terms) etagcache.Terms {
	t.Grace = max(t.Grace, time.Duration(g.longest.Load()))
	return t
}

func (g graceful) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	return g.Store.Read(ctx, key, g.terms(t))
}

func (g graceful) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	return g.Store.Observe(ctx, key, before, o, g.terms(t))
}

func (g graceful) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	return g.Store.Claim(ctx, key, epoch, g.terms(t), replaces...)
}

func (g graceful) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	return g.Store.Pass(ctx, key, g.terms(t))
}

func (g graceful) Renew(ctx context.Context, grant etagcache.Grant, t etagcache.Terms) error {
	return g.Store.Renew(ctx, grant, g.terms(t))
}

func (g graceful) Settle(ctx context.Context, grant etagcache.Grant, s etagcache.Settlement, t etagcache.Terms) error {
	return g.Store.Settle(ctx, grant, s, g.terms(t))
}

func (g graceful) Spend(ctx context.Context, grant etagcache.Grant, identities []string, t etagcache.Terms) error {
	return g.Store.Spend(ctx, grant, identities, g.terms(t))
}

func (g graceful) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	return g.Store.Invalidate(ctx, key, g.terms(t))
}

func (g graceful) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t etagcache.Terms) (int, error) {
	return g.Store.InvalidateMatching(ctx, prefix, matches, g.terms(t))
}

func (g graceful) InvalidateAll(ctx context.Context, t etagcache.Terms) error {
	return g.Store.InvalidateAll(ctx, g.terms(t))
}
