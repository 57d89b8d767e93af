package etagcache

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrUnavailable means that the store could not be reached, or that its
	// answer did not arrive in time. Whether the call had an effect is unknown.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrBusy means that another write is in flight, or that a grace is not yet
	// over (Entry.Grace).
	ErrBusy = errors.New("another write is in flight")
	// ErrStale means that the epoch has moved.
	ErrStale = errors.New("the epoch has moved")
	// ErrLost means that a claim or pass is no longer held: its lease expired, or
	// the store lost it.
	ErrLost = errors.New("the lease is lost")
	// ErrIncompatible means that a version of this package with a different [Format] uses
	// the store. Its claims are unknown here, so nothing may be written.
	ErrIncompatible = errors.New("a different version uses the store")
	// ErrSpent means that what the response showed is the past, or can't be told
	// from it.
	ErrSpent = errors.New("the state was replaced by a write")
)

// Format is the number of the format in which stores that outlive a process keep
// everything: entries, markers, and the keys that gateways make of requests. Gateways can
// share a store only if they have the same Format. It must be raised with every change
// that lets two versions misunderstand each other.
const Format = 2

// Terms are the durations that a caller asks for. All but Brief and Lag are required, and
// all but Retention are at most an hour. Gateways that
// write the same resources should have the same Lag.
type Terms struct {
	// Lease is how long a claim or pass lasts unless its holder renews it.
	Lease time.Duration
	// Retention is how long the store keeps an entry that is not used. During
	// the first half of it, a read need not count as use. An entry with a claim
	// or pass is kept at least until the lease expires.
	Retention time.Duration
	// Brief takes the place of Retention, if it is shorter, for an entry that knows no
	// validator: nobody has stored a tag or a date, or only that the resource is absent.
	// Reading what doesn't exist then doesn't fill the store. An entry is never kept for
	// less than an earlier call has asked for, and always until its leases and spent states
	// have ended. Zero means that all entries are kept for Retention.
	Brief time.Duration
	// Grace is how long the store grants no claim or pass after it has lost
	// data. With a third of the lease, every holder that renews in time and can
	// reach the store again keeps what it holds. The whole lease also covers
	// holders that disappeared before the store lost their leases. With zero,
	// the store grants what it has forgotten to whoever asks first. If callers
	// differ, the longest Grace counts that the caller has had from this store
	// before, or that others ask for during the grace.
	Grace time.Duration
	// Lag is how long after a write the origin may still show what the write
	// replaced. With zero, the origin shows the present only, and no state is
	// ever spent.
	Lag time.Duration
}

// WithoutBrief returns the terms for an entry whose epoch is worth the whole Retention.
func (t Terms) WithoutBrief() Terms {
	t.Brief = 0
	return t
}

// Store is the shared memory of the gateways.
type Store interface {
	// Read returns the entry of key, and creates one with a new epoch if there
	// was none. An entry whose claim or pass has expired starts again with a new
	// epoch and no variants.
	Read(ctx context.Context, key string, t Terms) (Entry, error)

	// Peek returns the entry of key, if there is one, and leaves it as it is: it neither
	// creates an entry nor counts as use.
	Peek(ctx context.Context, key string) (Peeked, error)

	// Observe stores what a response showed. The argument before is the entry as
	// it was read before the request went to the backend. Observe stores nothing
	// and fails with ErrStale if the epoch is no longer before.Epoch, and with
	// ErrBusy while a write is in flight.
	//
	// If the variant was known and is different now, somebody else changed the
	// resource: the epoch moves and the other variants are dropped. If another
	// read under the same epoch has stored something different for the variant
	// in the meantime, nobody knows which of the two came first: Observe fails
	// with ErrStale, the epoch moves and all variants are dropped.
	//
	// If the state was spent when before was read, or still is, Observe fails
	// with ErrSpent, stores nothing and moves nothing. What before says about it
	// counts however long the response took.
	Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error

	// Claim takes the exclusive right to write, if no write is in flight and the
	// epoch is still the given one. The epoch moves, and the variants stay. On
	// ErrBusy and ErrStale, Claim returns the entry as it is now.
	//
	// A claim that is granted announces what the write may replace, as Spend does.
	Claim(ctx context.Context, key, epoch string, t Terms, replaces ...string) (Grant, Entry, error)

	// Pass takes the shared right to write, whatever the epoch. It is refused
	// while there is a claim, and for one second after a claim was refused
	// because of the passes in flight. That second begins anew while these
	// passes last and somebody waits for a claim, so passes can't keep a claim
	// out forever. The epoch moves. Until all passes have ended, the variants are
	// hidden and spent, and for Lag afterwards they stay spent. Only if all of these passes
	// end as Unchanged, and nothing else has moved the epoch, do the variants return, as
	// if nothing had happened. On ErrBusy, Pass returns the
	// entry as it is now.
	Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error)

	// Renew extends the lease to t.Lease from now, or fails with ErrLost. A
	// holder must not call it if its last renewal is a lease or more ago: during
	// a grace, the store can't tell that the lease expired, and would restore it.
	Renew(ctx context.Context, g Grant, t Terms) error

	// Settle ends a claim or pass, moves the epoch and wakes everyone who waits. If
	// nothing else has moved the epoch since the claim was granted, it is SettledEpoch
	// of the token afterwards. Otherwise it is a different one. If the grant is no
	// longer held, Settle changes nothing and fails with ErrLost. If it is repeated
	// before the epoch has moved on, it succeeds
	// without doing anything. If anything but this grant moved the epoch since it
	// was given, nothing is known afterwards, whatever s says. An s.Observation
	// that differs from what is stored for its variant drops the other variants.
	//
	// Unless s is Unchanged, the variants that are dropped are spent, and so is
	// what Pass and Spend have announced. With s.Unchanged these announcements
	// are taken back, unless anything but this grant moved the epoch. Passes beside this
	// one that are Unchanged, too, don't count as moving it.
	Settle(ctx context.Context, g Grant, s Settlement, t Terms) error

	// Spend announces that the write may replace the states with these
	// identities. They are spent as long as the claim or pass is held, and for
	// Lag after it has ended in any way. This is for a write whose end nobody
	// will report. The epoch stays. If the grant is no longer held, Spend changes
	// nothing and fails with ErrLost.
	Spend(ctx context.Context, g Grant, identities []string, t Terms) error

	// Invalidate reports that the resource was changed elsewhere: the epoch moves
	// and the variants are dropped and spent. A claim or pass continues.
	Invalidate(ctx context.Context, key string, t Terms) error

	// InvalidateMatching invalidates the entries whose keys begin with prefix and
	// satisfy matches, and returns their number. A store need not keep a long key
	// in full: for such a key, matches receives only the beginning, and whole is
	// false. Only one goroutine at a time calls matches, which must not call the
	// store.
	//
	// This takes a while in a large store. It may leave out entries that are
	// created in the meantime, because they hold nothing from before. If it
	// fails, some entries may have been invalidated.
	InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t Terms) (int, error)

	// InvalidateAll invalidates all entries, which takes a while in a large
	// store. If it fails, some entries may have been invalidated.
	InvalidateAll(ctx context.Context, t Terms) error

	// Wait returns as soon as the entry may differ from seen: its epoch has
	// moved, the write in flight has ended, its lease has expired, or a grace is
	// over. If seen is what a refused Pass returned, Wait also returns when
	// passes no longer have to let a claim go first. It may return early, and is
	// never more than a second late. If there is nothing to wait for, it returns
	// at once. It fails with the context's error, or with ErrUnavailable.
	Wait(ctx context.Context, key string, seen Entry) error

	// Close releases the store's resources. No other call may follow.
	Close() error
}

// reservation is how long passes are refused after a claim was refused because
// of passes in flight.
const reservation = time.Second

// recheck is how long Wait sleeps before it looks again: a wake-up may be lost,
// and a reservation must be extended before it is over.
const recheck = 500 * time.Millisecond
