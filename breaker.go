package preconditions

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

const (
	// slowFailure is from when on a failure is one that requests must be spared.
	// One that comes at once, such as a refused connection, harms nobody.
	slowFailure = 50 * time.Millisecond
	// maxSlowFailures in a row mean that the store is out of reach.
	maxSlowFailures = 3
	// breakerRest is how long nobody asks the store then. Afterwards one request
	// does, for all.
	breakerRest = 500 * time.Millisecond
)

// breaker has calls fail at once while the store is known not to answer, so that
// requests don't pile up while each waits for its time-out.
type breaker struct {
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

func newBreaker() *breaker {
	return &breaker{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        "store",
		MaxRequests: 1,
		Timeout:     breakerRest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= maxSlowFailures },
	})}
}

func (b *breaker) do(call func() error) error {
	done, err := b.circuit.Allow()
	if err != nil {
		return fmt.Errorf("%w: it did not answer in time before", etagcache.ErrUnavailable)
	}
	begun := time.Now()
	err = call()
	if errors.Is(err, etagcache.ErrUnavailable) && time.Since(begun) >= slowFailure {
		done(err)
	} else {
		done(nil)
	}
	return err
}
