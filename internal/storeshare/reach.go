package storeshare

import (
	"context"
	"errors"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// reach knows whether the store can be reached. It spares requests calls that
// would time out, and logs when the store goes out of reach and when it is back.
type reach struct {
	breaker *breaker
	logger  atomic.Pointer[zap.Logger]
	away    atomic.Bool // the last call found the store out of reach
}

func newReach(logger *zap.Logger) *reach {
	r := &reach{breaker: newBreaker()}
	r.logger.Store(logger)
	return r
}

// call calls the store, unless the breaker knows that it is out of reach.
func (r *reach) call(f func() error) error {
	return r.note(r.breaker.do(f))
}

// note notes how a call of the store ended. It returns err.
func (r *reach) note(err error) error {
	switch {
	case errors.Is(err, etagcache.ErrUnavailable):
		if r.away.CompareAndSwap(false, true) {
			r.logger.Load().Error("the store is out of reach", zap.Error(err))
		}
	case errors.Is(err, etagcache.ErrIncompatible):
		if r.away.CompareAndSwap(false, true) {
			r.logger.Load().Error("the store can't be used", zap.Error(err))
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// says nothing about the store
	case r.away.CompareAndSwap(true, false):
		r.logger.Load().Info("the store is back")
	}
	return err
}
