package storeshare

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// maxQueue is the number of writes of one resource that may wait on one node.
const maxQueue = 256

// ErrQueueFull means that too many writes of one resource are waiting.
var ErrQueueFull = errors.New("too many writes of this resource are waiting")

// Queues order the writes of each resource that need a claim or a pass: first come,
// first served. Only the first write in each queue asks the store.
type Queues struct {
	mu    sync.Mutex
	byKey map[string]*queue
}

type queue struct {
	waiting list.List // of chan struct{}, which is closed when the turn comes
}

func newQueues() *Queues {
	return &Queues{byKey: make(map[string]*queue)}
}

// Acquire waits for the caller's turn, which lasts until release is called. It
// reports whether the caller had to wait. It fails with ErrQueueFull, or with the
// error of ctx.
func (q *Queues) Acquire(ctx context.Context, key string) (release func(), waited bool, err error) {
	q.mu.Lock()
	line, busy := q.byKey[key]
	if !busy {
		q.byKey[key] = new(queue)
		q.mu.Unlock()
		return func() { q.release(key) }, false, nil
	}
	if line.waiting.Len() >= maxQueue {
		q.mu.Unlock()
		return nil, false, ErrQueueFull
	}
	turn := make(chan struct{})
	place := line.waiting.PushBack(turn)
	q.mu.Unlock()

	select {
	case <-turn:
		return func() { q.release(key) }, true, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-turn: // it came at the last moment: pass it on
		q.next(key)
	default:
		line.waiting.Remove(place)
	}
	return nil, false, ctx.Err()
}

func (q *Queues) release(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next(key)
}

// next gives the turn to the first in line.
func (q *Queues) next(key string) {
	line := q.byKey[key]
	if first := line.waiting.Front(); first != nil {
		close(line.waiting.Remove(first).(chan struct{}))
		return
	}
	delete(q.byKey, key)
}
