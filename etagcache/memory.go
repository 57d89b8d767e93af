package etagcache

import (
	"context"
	"sync"
	"time"
)

// Memory is the Store of a single gateway. It forgets everything when the
// process ends. That is safe without a grace, because the holders of all claims
// and passes end with it.
type Memory struct {
	neverEvicts

	mu      sync.Mutex
	entries *entries
}

var _ Store = (*Memory)(nil)

// NewMemory returns a store that keeps at most maxEntries entries, or any number
// of them if maxEntries is less than one. To make room it forgets the least
// recently used entry, but never one with a write in flight, with a waiter or with
// a spent state. [Memory.SetMaxSize] limits their size.
func NewMemory(maxEntries int) *Memory {
	return &Memory{entries: newEntries(maxEntries)}
}

// SetMaxEntries changes the maximum number of entries, as given to NewMemory.
func (m *Memory) SetMaxEntries(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.most = n
	m.entries.evict(time.Now(), 0, m.entries.len(), 0)
}

// SetMaxSize limits the memory that the entries may take to about n bytes. Less than one
// means no limit, as for a new store. To make room, entries are forgotten as for NewMemory.
// Go's garbage collector may let the process grow by more than the entries take.
func (m *Memory) SetMaxSize(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.mostBytes = n
	m.entries.evict(time.Now(), 0, m.entries.len(), 0)
}

// Size returns about how much memory the entries take, in bytes.
func (m *Memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries.bytes
}

// Len returns the number of entries. It may include some whose retention is over.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries.len()
}

// Read implements Store.
func (m *Memory) Read(ctx context.Context, key string, t Terms) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.findOrCreate(key, now)
	defer m.entries.keepRead(e, now, t)
	return e.snapshot(now), nil
}

// Peek implements Store.
func (m *Memory) Peek(ctx context.Context, key string) (Peeked, error) {
	if err := ctx.Err(); err != nil {
		return Peeked{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(key, now)
	if e == nil {
		return Peeked{}, nil
	}
	p := Peeked{Entry: e.snapshot(now), Known: true, Claimed: e.claimed, Kept: max(0, e.until.Sub(now))}
	if !e.claimed {
		p.Passes = len(e.leases)
	}
	return p, nil
}

// Observe implements Store.
func (m *Memory) Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if before.IsSpent(o.Observed) {
		return ErrSpent
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(key, now)
	if e == nil || e.epoch != before.Epoch {
		return ErrStale
	}
	if e.busy(now) > 0 {
		return ErrBusy
	}
	if e.isSpent(o.Observed, now) {
		return ErrSpent
	}
	defer m.entries.keep(e, now, t)
	return e.observe(before, o, now)
}

// Claim implements Store.
func (m *Memory) Claim(ctx context.Context, key, epoch string, t Terms, replaces ...string) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.findOrCreate(key, now)
	defer m.entries.keep(e, now, t)
	if e.busy(now) > 0 {
		if !e.claimed {
			e.reserved = now.Add(reservation)
		}
		return Grant{}, e.snapshot(now), ErrBusy
	}
	if e.epoch != epoch {
		return Grant{}, e.snapshot(now), ErrStale
	}
	grant := beginClaim(e, now, t, replaces...)
	return grant, e.snapshot(now), nil
}

// Pass implements Store.
func (m *Memory) Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.findOrCreate(key, now)
	defer m.entries.keep(e, now, t)
	if e.claimed || e.reserved.After(now) {
		refused := e.snapshot(now)
		refused.Busy, refused.passing = e.wait(now), true
		return Grant{}, refused, ErrBusy
	}
	token := NewToken()
	beginPass(e, token, now.Add(t.Lease), t.Lag)
	e.spent.tidy(now)
	return Grant{Key: key, Token: token, Pass: true}, e.snapshot(now), nil
}

// Renew implements Store.
func (m *Memory) Renew(ctx context.Context, g Grant, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(g.Key, now)
	if e == nil || !e.holds(g) {
		return ErrLost
	}
	e.hold(g.Token, now.Add(t.Lease), t.Lag)
	m.entries.keep(e, now, t)
	return nil
}

// Settle implements Store.
func (m *Memory) Settle(ctx context.Context, g Grant, s Settlement, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(g.Key, now)
	switch {
	case e == nil:
		return ErrLost
	case e.holds(g):
		e.settle(g, s, now, t)
		m.entries.keep(e, now, t)
	case e.epoch == g.settled(), e.epoch == g.settledAfterMove(): // repeated
	default:
		return ErrLost
	}
	if s.After != nil {
		*s.After = e.snapshot(now)
	}
	if s.Next != nil && e.epoch == g.settled() && len(e.leases) == 0 {
		*s.Next = beginClaim(e, now, t)
		m.entries.keep(e, now, t)
	}
	return nil
}

// Spend implements Store.
func (m *Memory) Spend(ctx context.Context, g Grant, identities []string, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(g.Key, now)
	if e == nil || !e.holds(g) {
		return ErrLost
	}
	e.spend(identities, time.Time{}, t.Lag)
	m.entries.keep(e, now, t)
	return nil
}

// Invalidate implements Store.
func (m *Memory) Invalidate(ctx context.Context, key string, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if e := m.entries.find(key, now); e != nil {
		e.invalidate(now, t)
		m.entries.keep(e, now, t)
	}
	return nil
}

// InvalidateMatching implements Store.
func (m *Memory) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t Terms) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	invalidated := 0
	for number := range m.entries.beginningWith(prefix) {
		if matches(string(packedKey(m.entries.content(number))), true) {
			m.entries.invalidate(number, now, t)
			invalidated++
		}
	}
	return invalidated, nil
}

// InvalidateAll implements Store.
func (m *Memory) InvalidateAll(ctx context.Context, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for number := range m.entries.beginningWith("") {
		m.entries.invalidate(number, now, t)
	}
	return nil
}

// Wait implements Store.
func (m *Memory) Wait(ctx context.Context, key string, seen Entry) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, moved, left := m.join(key, seen)
		if w == nil {
			return nil
		}
		timer := time.NewTimer(min(left, recheck))
		select {
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		m.leave(w)
	}
}

// join registers the caller as waiting for the entry to move. It returns nil if
// the entry differs from seen or there is nothing to wait for.
func (m *Memory) join(key string, seen Entry) (w *waiters, moved <-chan struct{}, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.entries.find(key, now)
	if e == nil || e.epoch != seen.Epoch {
		return nil, nil, 0
	}
	if seen.passing && !e.claimed {
		left = e.reserved.Sub(now)
	} else {
		if e.reserve(now) {
			m.entries.save(e)
		}
		left = e.wait(now)
	}
	if left <= 0 {
		return nil, nil, 0
	}
	w = m.entries.join(e)
	return w, w.moved, left
}

func (m *Memory) leave(w *waiters) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.leave(w)
}

// Close implements Store.
func (m *Memory) Close() error { return nil }

// neverEvicts says that no claim is evicted: entries that are in use don't give way.
type neverEvicts struct{}

// Evicts reports whether claims may be evicted, which is always known here.
func (neverEvicts) Evicts() (evicts, known bool) { return false, true }
