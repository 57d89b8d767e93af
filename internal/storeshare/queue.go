package storeshare

import (
	"context"
	"errors"
	"sync"
)

// maxQueue is the number of writes of one resource that may wait on one node.
const maxQueue = 256

// ErrQueueFull means that too many writes of one resource are waiting, and this client has
// more of them than others.
var ErrQueueFull = errors.New("too many writes of this resource are waiting")

// Queues order the writes of each resource that need a claim or a pass. Clients have their
// turns in rotation, so nobody waits for more than a few writes of each other client. Only
// the write whose turn it is asks the store.
type Queues struct {
	mu    sync.Mutex
	byKey map[string]*rota // of the writes that wait while a different one has its turn
}

func newQueues() *Queues {
	return &Queues{byKey: make(map[string]*rota)}
}

// Acquire waits for the caller's turn, which lasts until release is called. It
// reports whether the caller had to wait. It fails with ErrQueueFull, or with the
// error of ctx.
func (q *Queues) Acquire(ctx context.Context, key string, client Client) (release func(), waited bool, err error) {
	q.mu.Lock()
	waiting, busy := q.byKey[key]
	if !busy {
		q.byKey[key] = new(rota)
		q.mu.Unlock()
		return func() { q.release(key) }, false, nil
	}
	called := make(chan error, 1)
	p := &place{of: client, call: func(err error) { called <- err }}
	waiting.join(p, maxQueue)
	q.mu.Unlock()

	select {
	case err := <-called:
		if err != nil {
			return nil, false, err
		}
		return func() { q.release(key) }, true, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !waiting.leave(p) && <-called == nil { // the turn came at the last moment: pass it on
		q.next(key)
	}
	return nil, false, ctx.Err()
}

func (q *Queues) release(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next(key)
}

// next gives the turn to whoever is next.
func (q *Queues) next(key string) {
	if p := q.byKey[key].next(); p != nil {
		p.call(nil)
		return
	}
	delete(q.byKey, key)
}
