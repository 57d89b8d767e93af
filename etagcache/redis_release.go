package etagcache

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

const (
	// maxReleases is the number of grants that are being given back at any time.
	// Further ones are left to expire.
	maxReleases = 256
	// releaseTries is how often the store tries to give back each of them. The
	// last attempt comes shortly before the lease expires.
	releaseTries = 6
)

// release gives back a grant that nobody will use.
func (r *Redis) release(g Grant, t Terms) error {
	return r.Settle(context.Background(), g, Settlement{Unchanged: true}, t)
}

// unsent reports whether a call failed before anything was sent.
func unsent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout)
}

// releases gives back grants in the background. Because a reply was lost, Redis
// may have given such a grant without anybody knowing.
type releases struct {
	release func(Grant, Terms) error

	pending chan struct{} // has an element for each grant in the background
	calling chan struct{} // has one during a call: there is one call at a time
	closing context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

func newReleases(release func(Grant, Terms) error) *releases {
	l := &releases{
		release: release,
		pending: make(chan struct{}, maxReleases),
		calling: make(chan struct{}, 1),
	}
	l.closing, l.cancel = context.WithCancel(context.Background())
	return l
}

// add gives g back in the background, unless too many grants are pending.
func (l *releases) add(g Grant, t Terms) {
	select {
	case l.pending <- struct{}{}:
	default:
		return
	}
	l.workers.Go(func() {
		defer func() { <-l.pending }()
		// A grant that isn't there may still arrive: its call may be on its way
		// on a different connection. So every error is a reason to try again.
		_, _ = backoff.Retry(l.closing,
			func() (struct{}, error) { return struct{}{}, l.call(g, t) },
			backoff.WithMaxTries(releaseTries),
			backoff.WithMaxElapsedTime(t.Lease),
			backoff.WithBackOff(&backoff.ExponentialBackOff{
				InitialInterval: t.Lease >> (releaseTries - 1),
				Multiplier:      2,
				MaxInterval:     t.Lease,
			}))
	})
}

// call gives g back when it is its turn.
func (l *releases) call(g Grant, t Terms) error {
	select {
	case l.calling <- struct{}{}:
		defer func() { <-l.calling }()
	case <-l.closing.Done():
	}
	if err := l.closing.Err(); err != nil {
		return err
	}
	return l.release(g, t)
}

// close gives up on the grants that are pending.
func (l *releases) close() {
	l.cancel()
	l.workers.Wait()
}
