package etagcache

import (
	"context"
	"time"
)

// attendPause is how long Attend waits between attempts to reach the server.
const attendPause = time.Second

// attendant contacts the server without being asked.
type attendant struct{ redis *Redis }

// Attend contacts the server at once, and again whenever the connection to it is new, until
// ctx is done. If data was lost, a grace then begins, and not only with the first
// request. Attend calls heard with what it hears: what is left of a grace, or an error.
func (a *attendant) Attend(ctx context.Context, terms func() Terms, heard func(Grace, error)) {
	w := a.redis.wakeups
	w.subscribe()
	for {
		grace, err := a.contact(ctx, terms())
		if ctx.Err() != nil {
			return
		}
		heard(grace, err)
		var again <-chan time.Time
		if err != nil {
			again = time.After(attendPause)
		}
		select {
		case <-w.reconnected:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// contact begins a generation if the last one has ended, and returns the grace.
func (a *attendant) contact(ctx context.Context, t Terms) (grace Grace, err error) {
	r := a.redis
	marker := r.markers.of(string(r.prefix))
	err = r.runAll(ctx, beginScript, [][]string{{marker}}, r.replies.argv(t, true), func(values any) {
		r.replies.met.Store(true)
		if values, ok := values.([]any); ok {
			began, _ := reply(values).number(1)
			grace = reply(values).graceLeft(2)
			r.spread(began == 1, t)
		}
	})
	return grace, err
}
