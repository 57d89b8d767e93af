package storeshare

import (
	"context"
	"errors"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// reach knows whether the store can be reached. It spares requests calls that
// would time out, and logs when the store goes out of reach, when it can't be used, and
// when it is back.
type reach struct {
	breaker *breaker
	logger  atomic.Pointer[zap.Logger]
	last    atomic.Uint32 // what the last call found: a trouble
}

// trouble is what is wrong with the store. It is logged when it changes.
type trouble = uint32

const (
	noTrouble trouble = iota
	outOfReach
	unusable
)

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
		if r.last.Swap(outOfReach) != outOfReach {
			r.logger.Load().Warn("the store is out of reach", zap.Error(err))
		}
	case errors.Is(err, etagcache.ErrIncompatible):
		if r.last.Swap(unusable) != unusable {
			r.logger.Load().Error("the store can't be used", zap.Error(err))
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// says nothing about the store
	case r.last.Swap(noTrouble) != noTrouble:
		r.logger.Load().Warn("the store is back")
	}
	return err
}
