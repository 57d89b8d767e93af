package storeshare

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// measured is a store whose operations are measured. Waiting is no operation.
type measured struct {
	etagcache.Store
	meter *telemetry.StoreMeter
}

// note notes that an operation has ended, and returns its error. That others write the same
// resource is no failure.
func (m measured) note(o telemetry.Operation, begun time.Time, err error) error {
	failed := err != nil && !errors.Is(err, etagcache.ErrBusy) && !errors.Is(err, etagcache.ErrStale) &&
		!errors.Is(err, etagcache.ErrLost) && !errors.Is(err, etagcache.ErrSpent) && !errors.Is(err, context.Canceled)
	m.meter.Note(o, begun, failed)
	return err
}

func (m measured) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	begun := time.Now()
	entry, err := m.Store.Read(ctx, key, t)
	return entry, m.note(telemetry.StoreRead, begun, err)
}

func (m measured) Peek(ctx context.Context, key string) (etagcache.Peeked, error) {
	begun := time.Now()
	p, err := m.Store.Peek(ctx, key)
	return p, m.note(telemetry.StorePeek, begun, err)
}

func (m measured) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	begun := time.Now()
	return m.note(telemetry.StoreObserve, begun, m.Store.Observe(ctx, key, before, o, t))
}

func (m measured) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	begun := time.Now()
	grant, entry, err := m.Store.Claim(ctx, key, epoch, t, replaces...)
	return grant, entry, m.note(telemetry.StoreClaim, begun, err)
}

func (m measured) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	begun := time.Now()
	grant, entry, err := m.Store.Pass(ctx, key, t)
	return grant, entry, m.note(telemetry.StorePass, begun, err)
}

func (m measured) Renew(ctx context.Context, grant etagcache.Grant, t etagcache.Terms) error {
	begun := time.Now()
	return m.note(telemetry.StoreRenew, begun, m.Store.Renew(ctx, grant, t))
}

func (m measured) Settle(ctx context.Context, grant etagcache.Grant, s etagcache.Settlement, t etagcache.Terms) error {
	begun := time.Now()
	err := m.note(telemetry.StoreSettle, begun, m.Store.Settle(ctx, grant, s, t))
	if s.Next != nil && s.Next.Token != "" {
		_ = m.note(telemetry.StoreClaim, begun, nil)
	}
	return err
}

func (m measured) Spend(ctx context.Context, grant etagcache.Grant, identities []string, t etagcache.Terms) error {
	begun := time.Now()
	return m.note(telemetry.StoreSpend, begun, m.Store.Spend(ctx, grant, identities, t))
}

func (m measured) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	begun := time.Now()
	return m.note(telemetry.StoreInvalidate, begun, m.Store.Invalidate(ctx, key, t))
}

func (m measured) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t etagcache.Terms) (int, error) {
	begun := time.Now()
	n, err := m.Store.InvalidateMatching(ctx, prefix, matches, t)
	return n, m.note(telemetry.StoreInvalidateAll, begun, err)
}

func (m measured) InvalidateAll(ctx context.Context, t etagcache.Terms) error {
	begun := time.Now()
	return m.note(telemetry.StoreInvalidateAll, begun, m.Store.InvalidateAll(ctx, t))
}
