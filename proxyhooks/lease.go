package proxyhooks

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrLeaseLost is the cause with which a lease's context ends when the lease
// can no longer be relied on.
var ErrLeaseLost = errors.New("the lease was lost while the backend worked")

// Lease keeps a claim or pass alive while the backend works, by renewing it
// every sixth of its length.
type Lease struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	length time.Duration
	renew  func(context.Context) error
	lost   func(error) bool

	mu      sync.Mutex // held during a renewal
	timer   *time.Timer
	end     *time.Timer // ends the lease, whatever a renewal waits for
	stopped bool
	renewed time.Time // when the last renewal that succeeded was begun
}

// KeepLease renews a lease of the given length, which was taken no earlier than
// at taken, until Stop. A renewal that fails with an error for which lost
// reports true ends the lease's context; one that fails otherwise is tried
// again, until two thirds of the lease have passed without a renewal. One that
// takes longer than that doesn't keep the context from ending a sixth of the lease
// before the store takes the lease to be over.
func KeepLease(taken time.Time, length time.Duration, renew func(context.Context) error, lost func(error) bool) *Lease {
	l := &Lease{length: length, renew: renew, lost: lost, renewed: taken}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.mu.Lock() // the first tick may be due already
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(time.Until(taken.Add(length/6)), l.tick)
	l.end = time.AfterFunc(time.Until(l.ends()), func() { l.cancel(ErrLeaseLost) })
	return l
}

// Context ends when the lease is lost, and not when it is stopped. It is not
// derived from any request's.
func (l *Lease) Context() context.Context { return l.ctx }

// Lost reports whether the lease was lost before it was stopped.
func (l *Lease) Lost() bool { return l.ctx.Err() != nil }

// Stop ends the renewals. No renewal is under way when it returns.
func (l *Lease) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.timer.Stop()
	l.end.Stop()
}

// RunOut stops the lease, and has it be over a length from now. Until then renew
// makes it what is left, every sixth of its length, so that a store that loses
// its data meanwhile doesn't end it early.
func (l *Lease) RunOut(renew func(left time.Duration) error) {
	l.Stop()
	ends := time.Now().Add(l.length)
	var again func()
	again = func() {
		left := time.Until(ends)
		if left <= 0 {
			return
		}
		if err := renew(left); !l.lost(err) {
			time.AfterFunc(l.pause(err), again)
		}
	}
	time.AfterFunc(l.pause(nil), again)
}

// ends returns when the lease can no longer be relied on, unless it is renewed.
func (l *Lease) ends() time.Time { return l.renewed.Add(l.length * 5 / 6) }

func (l *Lease) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	begun := time.Now()
	if begun.Sub(l.renewed) >= l.length {
		l.cancel(ErrLeaseLost) // it ran out while this process was suspended
		return
	}
	err := l.renew(l.ctx)
	switch {
	case err == nil:
		l.renewed = begun
		l.end.Reset(time.Until(l.ends()))
	case l.lost(err), time.Since(l.renewed) >= l.length*2/3:
		l.cancel(ErrLeaseLost)
		return
	}
	l.timer.Reset(l.pause(err))
}

// pause returns how long the next renewal waits after one that ended with err. One
// that failed is soon tried again: a store that has lost its data has to hear of the
// lease before its grace is over, which may be a third of the length.
func (l *Lease) pause(err error) time.Duration {
	if err != nil {
		return l.length / 30
	}
	return l.length / 6
}
