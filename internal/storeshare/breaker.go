package storeshare

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

const (
	// slowFailure is how long a call must take for its failure to count. A failure
	// that comes at once, such as a refused connection, costs requests nothing.
	slowFailure = 50 * time.Millisecond
	// maxSlowFailures is the number of slow failures in a row that open the
	// breaker.
	maxSlowFailures = 3
	// breakerRest is how long the breaker stays open. Afterwards one request tries
	// the store on behalf of all.
	breakerRest = 500 * time.Millisecond
)

// breaker makes calls fail at once while the store is known not to answer.
// Otherwise requests would pile up, each waiting for its own time-out.
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

// do makes a call, unless the breaker is open.
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
