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
	marker string // the one beside all entries that are read

	mu       sync.Mutex // protects everything below
	underway int        // batches
	queue    []*joined  // in the order in which they came
}

// maxUnderway is how many batches may be under way at once. With more, batches are smaller.
// With one, a reply that is slow to come would hold up everybody.
const maxUnderway = 2

// joined is the commands of one caller.
type joined struct {
	ctx  context.Context
	cmds []redis.Cmder

	inspects  bool        // whether the caller needs an inspection
	inspected *inspection // the one of the batch, which all share who need it

	// turn ends the waiting: with the batch that the caller must send, in which its own
	// commands come last, or with nil once they have their replies. It has room for one.
	turn chan []*joined
}

// do sends commands and waits for their replies. Each has an error of its own. If ctx is done
// before, do returns its error. Then the commands may still be sent, and must not be looked
// at any more. All contexts must end the same time after they were made.
func (t *together) do(ctx context.Context, cmds ...redis.Cmder) error {
	return t.join(&joined{ctx: ctx, cmds: cmds, turn: make(chan []*joined, 1)})
}

// inspect is like do, and also inspects the server.
func (t *together) inspect(ctx context.Context, cmds ...redis.Cmder) (*inspection, error) {
	own := &joined{ctx: ctx, cmds: cmds, inspects: true, turn: make(chan []*joined, 1)}
	if err := t.join(own); err != nil {
		return nil, err
	}
	return own.inspected, nil
}

func (t *together) join(own *joined) error {
	t.mu.Lock()
	if t.underway < maxUnderway {
		t.underway++
		t.mu.Unlock()
		t.send([]*joined{own})
		return nil
	}
	t.queue = append(t.queue, own)
	t.mu.Unlock()

	select {
	case batch := <-own.turn:
		if batch != nil {
			t.send(batch)
		}
		return nil
	case <-own.ctx.Done():
		t.leave(own)
		return own.ctx.Err()
	}
}

// send sends a batch, and then lets those go on who have come meanwhile. It goes by the
// deadline of the sender. The sender came last, so its deadline is the latest.
func (t *together) send(batch []*joined) {
	ctx := batch[len(batch)-1].ctx
	pipe := t.client.Pipeline()
	inspected := t.inspectionFor(ctx, batch)
	if inspected != nil {
		_ = pipe.Process(ctx, inspected.marker)
	}
	for _, one := range batch {
		for _, cmd := range one.cmds {
			_ = pipe.Process(ctx, cmd)
		}
	}
	if inspected != nil {
		_ = pipe.Process(ctx, inspected.info)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if inspected != nil {
		inspected.conclude()
	}
	for _, one := range batch {
		one.inspected = inspected
	}
	for _, one := range batch[:len(batch)-1] {
		one.turn <- nil
	}
	t.goOn()
}

// inspectionFor returns the inspection that callers in a batch ask for, or nil.
func (t *together) inspectionFor(ctx context.Context, batch []*joined) *inspection {
	for _, one := range batch {
		if one.inspects {
			return newInspection(ctx, t.marker)
		}
	}
	return nil
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
