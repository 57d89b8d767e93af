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

	// changed is called when the store can't be used any more, and when it can be again.
	changed func(up bool, err error)
}

// trouble is what is wrong with the store. It is logged when it changes.
type trouble = uint32

const (
	noTrouble trouble = iota
	outOfReach
	unusable
)

func newReach(logger *zap.Logger) *reach {
	r := &reach{breaker: newBreaker(), changed: func(bool, error) {}}
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
		r.trouble(outOfReach, func(l *zap.Logger) { l.Warn("the store is out of reach", zap.Error(err)) }, err)
	case errors.Is(err, etagcache.ErrIncompatible):
		r.trouble(unusable, func(l *zap.Logger) { l.Error("the store can't be used", zap.Error(err)) }, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// says nothing about the store
	case r.last.Swap(noTrouble) != noTrouble:
		r.logger.Load().Warn("the store is back")
		r.changed(true, nil)
	}
	return err
}

// trouble notes what is wrong with the store, and logs it if it is news.
func (r *reach) trouble(now trouble, log func(*zap.Logger), err error) {
	before := r.last.Swap(now)
	if before != now {
		log(r.logger.Load())
	}
	if before == noTrouble {
		r.changed(false, err)
	}
}
