package proxyhooks

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// ErrLeaseLost is the cause with which the context of a [Lease] ends when the lease can
// no longer be relied on.
var ErrLeaseLost = errors.New("the lease was lost while the backend worked")

// Lease keeps a lock in a shared store alive while the backend works. It renews the
// lock every sixth of the lease's length.
type Lease struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	length time.Duration
	renew  func(context.Context) error
	lost   func(error) bool

	now     func() time.Time
	stopped atomic.Bool
	renewed atomic.Pointer[time.Time] // when the last successful renewal began

	mu          lock // held during a renewal
	renewTimer  *time.Timer
	expiryTimer *time.Timer // ends the lease even while a renewal waits for the store; nil before the first
}

// KeepLease renews a lease until Stop or Expire is called. taken is a time no later than
// the moment at which the store granted the lease, and length is how long the store keeps
// it without a renewal.
//
// The context of the lease ends at once if renew returns an error for which lost reports
// true. After any other error, the renewal is soon tried again, until two thirds of the
// length have passed without a success. Even if renew doesn't return, the context ends
// a sixth of the length before the store considers the lease expired.
//
// Only one renewal runs at a time, with the context of the lease. A renewal must not call
// Stop or Expire, because these wait for it.
func KeepLease(taken time.Time, length time.Duration, renew func(context.Context) error, lost func(error) bool) *Lease {
	return keepLease(time.Now, taken, length, renew, lost)
}

func keepLease(now func() time.Time, taken time.Time, length time.Duration, renew func(context.Context) error, lost func(error) bool) *Lease {
	l := &Lease{mu: newLock(), length: length, renew: renew, lost: lost, now: now}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.mu.Lock() // the first renewal may be due already
	defer l.mu.Unlock()
	l.renewed.Store(&taken)
	l.renewTimer = time.AfterFunc(time.Until(taken.Add(length/renewalsPerLease)), l.tick)
	return l
}

// Context returns a context that ends when the lease is lost, but not when it is stopped.
// It isn't derived from the context of any request.
func (l *Lease) Context() context.Context { return l.ctx }

// Lost reports whether the lease was lost before it was stopped. It goes by the clock: a
// process that stood still may run on before its timers do.
func (l *Lease) Lost() bool {
	if l.ctx.Err() != nil {
		return true
	}
	if l.stopped.Load() || !l.overdue() {
		return false
	}
	l.cancel(ErrLeaseLost)
	return true
}

// overdue reports whether the lease can no longer be relied on. The monotonic clock stands
// still while the whole machine is suspended, and the wall clock doesn't (it may be set,
// which at worst ends the lease too early).
func (l *Lease) overdue() bool {
	now, expiry := l.now(), l.expiry()
	return !now.Before(expiry) || !now.Round(0).Before(expiry.Round(0))
}

// Stop ends the renewals, and waits for one that is under way. It doesn't release the
// lock. Calling it again has no effect.
func (l *Lease) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped.Store(true)
	l.renewTimer.Stop()
	if l.expiryTimer != nil {
		l.expiryTimer.Stop()
	}
}

// Expire stops the lease, and makes it expire one length from now. It returns at once.
// Until then it calls renew every sixth of the length with the time that is left, so that
// a store that loses its data in the meantime doesn't end the lease early. It stops if
// the lease is lost.
func (l *Lease) Expire(renew func(left time.Duration) error) {
	l.Stop()
	expiry := time.Now().Add(l.length)
	var renewRest func()
	renewRest = func() {
		left := time.Until(expiry)
		if left <= 0 {
			return
		}
		if err := renew(left); !l.lost(err) {
			time.AfterFunc(l.interval(err), renewRest)
		}
	}
	time.AfterFunc(l.interval(nil), renewRest)
}

// expiry returns when the lease can no longer be relied on, unless it is renewed.
func (l *Lease) expiry() time.Time { return l.renewed.Load().Add(l.length * 5 / 6) }

// RenewedWithin returns the time in which a lease of this length is renewed if the store
// begins to answer, within timeout. A renewal may be due only then, or one may have begun
// a moment before that fails first.
func RenewedWithin(length, timeout time.Duration) time.Duration {
	return max(length/renewalsPerLease, length/triesPerLease+timeout) + timeout
}

// A lease is renewed so many times per length, and tried again so many times after a
// failure.
const (
	renewalsPerLease = 6
	triesPerLease    = 30
)

func (l *Lease) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped.Load() || l.Lost() {
		return
	}
	if l.expiryTimer == nil {
		l.expiryTimer = time.AfterFunc(time.Until(l.expiry()), func() { l.cancel(ErrLeaseLost) })
	}
	begun := l.now()
	err := l.renew(l.ctx)
	switch {
	case err == nil:
		l.renewed.Store(&begun)
		l.expiryTimer.Reset(time.Until(l.expiry()))
	case l.lost(err), l.now().Sub(*l.renewed.Load()) >= l.length*2/3:
		l.cancel(ErrLeaseLost)
		return
	}
	l.renewTimer.Reset(l.interval(err))
}

// interval returns how long to wait after a renewal that ended with err. After a failure
// it is short: a store that has lost its data must hear of the lease before its grace
// period ends, which may be a third of the length.
func (l *Lease) interval(err error) time.Duration {
	if err != nil {
		return l.length / triesPerLease
	}
	return l.length / renewalsPerLease
}

// lock is a mutex that is held while a store answers. Whoever waits for it counts as blocked
// in the simulated time of testing/synctest, as with a channel and not with a [sync.Mutex].
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }
