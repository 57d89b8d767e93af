package preconditions

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// maxQueue is how many writes of one resource may wait on one node.
const maxQueue = 256

// errQueueFull means that more writes of one resource wait than is sensible.
var errQueueFull = errors.New("too many writes of this resource are waiting")

// queues puts the writes of each resource that need a claim or a pass into the
// order in which they came, so that only the first of this node's asks the
// store, and so that nobody is overtaken.
type queues struct {
	mu    sync.Mutex
	byKey map[string]*queue
}

type queue struct {
	waiting list.List // of chan struct{}: closed when it is that write's turn
}

func newQueues() *queues {
	return &queues{byKey: make(map[string]*queue)}
}

// enter returns when it is the caller's turn, which lasts until leave is called.
// It tells whether that took waiting.
func (q *queues) enter(ctx context.Context, key string) (leave func(), waited bool, err error) {
	q.mu.Lock()
	line, busy := q.byKey[key]
	if !busy {
		q.byKey[key] = new(queue)
		q.mu.Unlock()
		return func() { q.leave(key) }, false, nil
	}
	if line.waiting.Len() >= maxQueue {
		q.mu.Unlock()
		return nil, false, errQueueFull
	}
	turn := make(chan struct{})
	place := line.waiting.PushBack(turn)
	q.mu.Unlock()

	select {
	case <-turn:
		return func() { q.leave(key) }, true, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-turn: // it came at the last moment: somebody else's now
		q.next(key)
	default:
		line.waiting.Remove(place)
	}
	return nil, false, ctx.Err()
}

func (q *queues) leave(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next(key)
}

// next gives the turn to the first in line.
func (q *queues) next(key string) {
	line := q.byKey[key]
	if first := line.waiting.Front(); first != nil {
		close(line.waiting.Remove(first).(chan struct{}))
		return
	}
	delete(q.byKey, key)
}
