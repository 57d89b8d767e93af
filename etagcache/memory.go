package etagcache

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Memory is the Store of a single gateway. It forgets everything when the
// process ends. That is safe without a grace, because the holders of all claims
// and passes end with it.
type Memory struct {
	neverEvicts

	mu  sync.Mutex
	max int
	// entries has no limit of its own: evict decides which entries may go.
	entries *simplelru.LRU[string, *entry]
}

var _ Store = (*Memory)(nil)

// NewMemory returns a store that keeps at most maxEntries entries, or any number
// of them if maxEntries is less than one. To make room it forgets the least
// recently used entry, but never one with a write in flight, with a waiter or with
// a spent state.
func NewMemory(maxEntries int) *Memory {
	entries, _ := simplelru.NewLRU[string, *entry](math.MaxInt, nil) // only a size below one is an error
	return &Memory{max: maxEntries, entries: entries}
}

// SetMaxEntries changes the maximum number of entries, as given to NewMemory.
func (m *Memory) SetMaxEntries(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.max = n
	m.evict(time.Now(), 0, m.entries.Len())
}

// Len returns the number of entries. It may include some whose retention is over.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries.Len()
}

// Read implements Store.
func (m *Memory) Read(ctx context.Context, key string, t Terms) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	return m.findOrCreate(key, now, t).snapshot(now), nil
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
	e := m.find(key, now)
	if e == nil || e.epoch != before.Epoch {
		return ErrStale
	}
	if e.busy(now) > 0 {
		return ErrBusy
	}
	if e.isSpent(o.Observed, now) {
		return ErrSpent
	}
	m.keep(e, now, t)
	return e.observe(before, o, now)
}

// Claim implements Store.
func (m *Memory) Claim(ctx context.Context, key, epoch string, t Terms) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.findOrCreate(key, now, t)
	if e.busy(now) > 0 {
		if !e.claimed {
			e.reserved = now.Add(reservation)
		}
		return Grant{}, e.snapshot(now), ErrBusy
	}
	if e.epoch != epoch {
		return Grant{}, e.snapshot(now), ErrStale
	}
	token := NewToken()
	e.hold(token, now.Add(t.Lease), t.Lag)
	e.claimed = true
	e.reserved = time.Time{}
	e.move(token)
	return Grant{Key: key, Token: token}, e.snapshot(now), nil
}

// Pass implements Store.
func (m *Memory) Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.findOrCreate(key, now, t)
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
	e := m.find(g.Key, now)
	if e == nil || !e.holds(g) {
		return ErrLost
	}
	e.hold(g.Token, now.Add(t.Lease), t.Lag)
	m.keep(e, now, t)
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
	e := m.find(g.Key, now)
	switch {
	case e == nil:
		return ErrLost
	case e.holds(g):
		e.settle(g, s, now, t)
		m.keep(e, now, t)
		return nil
	case e.epoch == g.settled():
		return nil // repeated
	default:
		return ErrLost
	}
}

// Spend implements Store.
func (m *Memory) Spend(ctx context.Context, g Grant, identities []string, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.find(g.Key, now)
	if e == nil || !e.holds(g) {
		return ErrLost
	}
	e.spend(identities, time.Time{}, t.Lag)
	m.keep(e, now, t)
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
	if e := m.find(key, now); e != nil {
		e.invalidate(now, t)
		m.keep(e, now, t)
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
	for _, e := range m.entries.Values() {
		if strings.HasPrefix(e.key, prefix) && matches(e.key, true) {
			e.lapse(now)
			e.invalidate(now, t)
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
	for _, e := range m.entries.Values() {
		e.lapse(now)
		e.invalidate(now, t)
	}
	return nil
}

// Wait implements Store.
func (m *Memory) Wait(ctx context.Context, key string, seen Entry) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, moved, left := m.join(key, seen)
		if e == nil {
			return nil
		}
		timer := time.NewTimer(min(left, recheck))
		select {
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		m.leave(e)
	}
}

// join registers the caller as waiting for the entry to move. It returns nil if
// the entry differs from seen or there is nothing to wait for.
func (m *Memory) join(key string, seen Entry) (e *entry, moved <-chan struct{}, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e = m.find(key, now)
	if e == nil || e.epoch != seen.Epoch {
		return nil, nil, 0
	}
	if seen.passing && !e.claimed {
		left = e.reserved.Sub(now)
	} else {
		e.reserve(now)
		left = e.wait(now)
	}
	if left <= 0 {
		return nil, nil, 0
	}
	e.waiting++
	if e.moved == nil {
		e.moved = make(chan struct{})
	}
	return e, e.moved, left
}

func (m *Memory) leave(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.waiting--
}

// Close implements Store.
func (m *Memory) Close() error { return nil }

// find returns the entry of key as it is now, or nil if there is none.
func (m *Memory) find(key string, now time.Time) *entry {
	e, ok := m.entries.Peek(key)
	if !ok {
		return nil
	}
	e.lapse(now)
	if e.expired(now) {
		m.entries.Remove(key)
		return nil
	}
	return e
}

func (m *Memory) findOrCreate(key string, now time.Time, t Terms) *entry {
	e := m.find(key, now)
	if e == nil {
		// Entries in use can't make room. To keep this call short, it looks at
		// only a few entries; the next call continues.
		m.evict(now, 1, 8)
		e = &entry{key: key, epoch: NewToken()}
		m.entries.Add(key, e)
	}
	m.keep(e, now, t)
	return e
}

// keep marks the entry as used.
func (m *Memory) keep(e *entry, now time.Time, t Terms) {
	e.spent.tidy(now)
	e.until = now.Add(t.Retention)
	m.entries.Get(e.key)
}

// evict makes room for more entries. It looks at the n least recently used ones
// and removes those that are too many or too old.
func (m *Memory) evict(now time.Time, room, n int) {
	for ; n > 0; n-- {
		key, e, ok := m.entries.GetOldest()
		if !ok {
			return
		}
		e.lapse(now)
		tooMany := m.max > 0 && m.entries.Len()+room > m.max
		switch {
		case e.expired(now) || tooMany && e.idle(now):
			m.entries.Remove(key)
		case tooMany:
			m.entries.Get(key) // in use: it becomes the most recently used one
		default:
			return
		}
	}
}

// neverEvicts says that no claim is evicted: entries that are in use don't give way.
type neverEvicts struct{}

// Evicts is like that of [Redis].
func (neverEvicts) Evicts() (evicts, known bool) { return false, true }
