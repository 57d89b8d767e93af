package etagcache

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrUnavailable means that the store could not be asked, or that its
	// answer did not come in time: whether the call had an effect is unknown.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrBusy means that another write is in flight.
	ErrBusy = errors.New("another write is in flight")
	// ErrStale means that the epoch has moved.
	ErrStale = errors.New("the epoch has moved")
	// ErrLost means that a claim or pass is no longer held: its lease ran out,
	// or the store lost it.
	ErrLost = errors.New("the lease is lost")
)

// Terms are the durations that a caller asks for. All are required, and should
// be the same on all gateways.
type Terms struct {
	// Lease is how long a claim or pass lasts unless it is renewed.
	Lease time.Duration
	// Retention is how long an entry is kept without being used, though reads
	// need not count until half of it is over. An entry with a claim or pass is
	// kept at least until its lease runs out.
	Retention time.Duration
	// Grace is how long no claim or pass is given after the store has lost data.
	// A third of the lease lets all holders that renew in time, and can reach
	// the store again, keep what they hold. The lease also covers holders that
	// went away before the store lost what it knew of them. Zero means that what
	// the store has forgotten is given to whoever asks first.
	Grace time.Duration
}

// Store is the shared memory of the gateways.
type Store interface {
	// Read returns the entry of key. Where there is none it creates one, with
	// a new epoch. An entry whose claim or pass ran out starts anew: new
	// epoch, no variants.
	Read(ctx context.Context, key string, t Terms) (Entry, error)

	// Observe stores what a response showed. before is the entry as it was
	// read before the request went to the backend. It fails with ErrStale, and
	// stores nothing, where the epoch is no longer before.Epoch, and with
	// ErrBusy while a write is in flight. If the variant was known and is
	// different now, the resource was changed by somebody else: the epoch
	// moves and the other variants are dropped. If meanwhile another read,
	// under the same epoch, stored something different for the variant, then
	// nobody knows which came first: ErrStale, the epoch moves and all
	// variants are dropped.
	Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error

	// Claim takes the exclusive right to write, if no write is in flight and
	// the epoch is still epoch. The epoch moves, the variants stay. On ErrBusy
	// and ErrStale the entry is returned as it is now.
	Claim(ctx context.Context, key, epoch string, t Terms) (Grant, Entry, error)

	// Pass takes the shared right to write, whatever the epoch, unless there
	// is a claim, or one was refused less than a second ago because of the
	// passes in flight. While these last and somebody waits for a claim, that second
	// begins anew, so that passes can't keep a claim out forever. The epoch moves and
	// the variants are dropped. On ErrBusy the entry is returned as it is now.
	Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error)

	// Renew extends the lease to t.Lease from now, or fails with ErrLost. Whoever
	// hasn't renewed for as long as the lease must not call it: during a grace
	// the store can't tell that it ran out, and would give it anew.
	Renew(ctx context.Context, g Grant, t Terms) error

	// Settle ends a claim or pass, moves the epoch and wakes those who wait.
	// It fails with ErrLost where the grant is no longer held; then it changes
	// nothing. Repeated before the epoch has moved on, it does nothing either
	// and succeeds. Where anything but this grant moved the epoch since it was
	// given, nothing is known, whatever s says. An s.Observation which differs
	// from what is stored for its variant drops the other variants.
	Settle(ctx context.Context, g Grant, s Settlement, t Terms) error

	// Invalidate reports a change that came from elsewhere: the epoch moves and the
	// variants are dropped. A claim or pass goes on.
	Invalidate(ctx context.Context, key string, t Terms) error

	// InvalidateMatching does what Invalidate does for the entries whose key begins with prefix
	// and is one that matches says yes to, and returns how many they are. A store
	// need not keep a long key in full: of such a key, matches gets no more than
	// how it begins, and whole is false. It is called by one goroutine at a time,
	// and must not call the store. This takes a while in a large store. Entries
	// that are created meanwhile may be left out, as they know of nothing that was
	// before. Where it fails, some may have been invalidated.
	InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t Terms) (int, error)

	// InvalidateAll does what Invalidate does for all entries, which takes a while in a
	// large store. Where it fails, some may have been invalidated.
	InvalidateAll(ctx context.Context, t Terms) error

	// Wait returns as soon as the entry may be other than seen: its epoch has
	// moved, the write in flight ended, its lease ran out or a grace is over, or, if
	// seen is what a refused Pass returned, it is no claim's turn any more. It
	// may return early, never late by more than a second, and fails with the
	// context's error, or with ErrUnavailable. Where there is nothing to wait
	// for it returns at once.
	Wait(ctx context.Context, key string, seen Entry) error

	// Close releases the store's resources. No other call may follow.
	Close() error
}

// reservation is how long passes are refused after a claim was refused because
// of passes in flight.
const reservation = time.Second

// recheck is how long Wait sleeps before it looks again: a wake-up may be lost,
// and a reservation has to be prolonged before it is over.
const recheck = 500 * time.Millisecond
