package etagcache

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// together sends commands to a server. What several goroutines have to send while others'
// commands are on their way goes out in one write and comes back in one read. That costs both
// sides less than one write and one read for each. Nobody waits for company if there is a
// place under way.
//
// Each caller keeps its own deadline.
type together struct {
	client redis.UniversalClient

	mu       sync.Mutex // protects everything below
	underway int        // batches
	queue    []*joined  // in the order in which they came
}

// maxUnderway is how many batches may be under way at once. With more, batches are smaller.
// With one, a reply that is slow to come would hold up everybody.
const maxUnderway = 2

// joined is the commands of one caller.
type joined struct {
	cmds []redis.Cmder

	// turn ends the waiting: with the batch that the caller must send, in which its own
	// commands come last, or with nil once they have their replies. It has room for one.
	turn chan []*joined
}

// do sends commands and waits for their replies. Each has an error of its own. If ctx is done
// before, do returns its error. Then the commands may still be sent, and must not be looked
// at any more. All contexts must end the same time after they were made.
func (t *together) do(ctx context.Context, cmds ...redis.Cmder) error {
	own := &joined{cmds, make(chan []*joined, 1)}
	t.mu.Lock()
	if t.underway < maxUnderway {
		t.underway++
		t.mu.Unlock()
		t.send(ctx, []*joined{own})
		return nil
	}
	t.queue = append(t.queue, own)
	t.mu.Unlock()

	select {
	case batch := <-own.turn:
		if batch != nil {
			t.send(ctx, batch)
		}
		return nil
	case <-ctx.Done():
		t.leave(own)
		return ctx.Err()
	}
}

// send sends a batch, and then lets those go on who have come meanwhile. It goes by the
// deadline of the sender. The sender came last, so its deadline is the latest.
func (t *together) send(ctx context.Context, batch []*joined) {
	pipe := t.client.Pipeline()
	for _, one := range batch {
		for _, cmd := range one.cmds {
			_ = pipe.Process(ctx, cmd)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, one := range batch[:len(batch)-1] {
		one.turn <- nil
	}
	t.goOn()
}

// goOn ends what a sender has had under way.
func (t *together) goOn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.queue) - 1
	if last < 0 {
		t.underway--
		return
	}
	t.queue[last].turn <- t.queue
	t.queue = nil
}

// leave takes out a caller whose time is over. If it had to send a batch, the time of the
// others in it is over as well.
func (t *together) leave(own *joined) {
	t.mu.Lock()
	t.queue = slices.DeleteFunc(t.queue, func(other *joined) bool { return other == own })
	t.mu.Unlock()
	select {
	case batch := <-own.turn:
		if batch != nil {
			t.goOn()
		}
	default:
	}
}
