package proxyhooks

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// relay passes an answer on to a client at the client's speed, while the handler writes it at
// the backend's. What the client hasn't taken is held in memory, and then in a temporary file.
// If there is no more room, the handler waits for the client.
//
// As long as the client keeps up, each write is over before the handler goes on, as without a
// relay.
type relay struct {
	client http.ResponseWriter
	limit  int64 // of what is held in memory

	mu       sync.Mutex // protects everything below
	queue    pieces     // the next to send
	spool    *responseSpool
	spooled  int64         // how much of the spool was sent; what follows the spool must go there, too
	flushes  bool          // whether to flush once everything is sent
	late     bool          // whether the client doesn't keep up
	busy     bool          // whether there is something to do
	idle     chan struct{} // closed when there is nothing to do
	gone     bool          // whether the client takes no more
	closing  bool
	panicked any // the value of a panic of the client's writer

	sending int64 // bytes of memory, only for the goroutine that sends

	wake chan struct{}
	done chan struct{}
}

// relayPatience is how long a write waits for a client that kept up so far.
const relayPatience = 50 * time.Millisecond

// answerRoom has one element for each answer that is spooled. Clients that don't read answers
// must not keep others from getting parts.
var answerRoom = make(chan struct{}, maxSpools)

// newRelay returns a relay that sends what is buffered first.
func newRelay(client http.ResponseWriter, limit int64, buffered *pieces) *relay {
	r := &relay{
		client: client, limit: limit, idle: make(chan struct{}), busy: true,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	buffered.moveTo(&r.queue)
	go r.run()
	r.await()
	return r
}

// write sends p, or keeps it until the client takes it.
func (r *relay) write(p []byte) {
	if r.add(p) {
		r.await()
		return
	}
	r.drain()
	if !r.isGone() { // and nothing else is sent now
		if _, err := r.client.Write(p); err != nil {
			r.leave()
		}
	}
}

// flush flushes what was written.
func (r *relay) flush() {
	r.mu.Lock()
	r.flushes = true
	r.work()
	r.mu.Unlock()
	r.await()
}

// add queues p. It reports false if there is no room for it.
func (r *relay) add(p []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gone:
		return true
	case r.spool == nil && r.queue.size+int64(len(p)) <= r.limit && r.queue.write(p):
	case r.spool == nil && !r.beginSpool(), !r.spool.write(p):
		return false
	}
	r.work()
	return true
}

func (r *relay) beginSpool() bool {
	r.spool, r.spooled = newResponseSpool(answerRoom), 0
	return r.spool != nil
}

// work wakes the goroutine that sends.
func (r *relay) work() {
	if !r.busy {
		r.busy, r.idle = true, make(chan struct{})
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// await waits until everything is sent, unless the client doesn't keep up.
func (r *relay) await() {
	r.mu.Lock()
	idle, late := r.idle, r.late
	r.mu.Unlock()
	if late {
		return
	}
	timer := time.NewTimer(relayPatience)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late = r.busy
	}
}

// drain waits until everything is sent, or the client has gone.
func (r *relay) drain() {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	<-idle
}

func (r *relay) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// leave notes that the client takes no more.
func (r *relay) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
	r.queue.drop()
}

// close waits until everything is sent, and ends the relay. It panics with the value of a
// panic of the client's writer. It may be called again, and of a nil relay.
func (r *relay) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closing = true
	r.work()
	r.mu.Unlock()
	<-r.done
	if p := r.panicked; p != nil {
		r.panicked = nil
		panic(p)
	}
}

// run sends what is queued until the relay is closed.
func (r *relay) run() {
	defer close(r.done)
	var buffer []byte // for what comes from the spool
	for {
		piece, flush, ok := r.next(&buffer)
		switch {
		case !ok:
			return
		case piece == nil && !flush:
			<-r.wake
			continue
		}
		var err error
		p := recovered(func() {
			if piece != nil {
				_, err = r.client.Write(piece)
			} else {
				_ = http.NewResponseController(r.client).Flush() // not every writer can
			}
		})
		r.queue.give(r.sending)
		r.sending = 0
		if p != nil || err != nil {
			r.panicked = p
			r.leave()
		}
	}
}

// next returns what to send now, or whether to flush. It reports false when the relay is
// closed and everything is sent.
func (r *relay) next(buffer *[]byte) (piece []byte, flush, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		r.closeSpool()
		r.flushes = false
	}
	switch {
	case len(r.queue.list) > 0:
		piece = r.queue.shift()
		r.sending = int64(cap(piece))
		return piece, false, true
	case r.spool != nil && r.spooled < r.spool.size:
		return r.fromSpool(buffer), false, true
	case r.flushes:
		r.flushes = false
		return nil, true, true
	}
	r.closeSpool()
	if r.busy {
		r.busy, r.late = false, false
		close(r.idle)
	}
	return nil, false, !r.closing
}

// fromSpool reads the next bytes from the spool.
func (r *relay) fromSpool(buffer *[]byte) []byte {
	if len(*buffer) == 0 {
		*buffer = make([]byte, maxPiece)
	}
	n, err := r.spool.content().ReadAt(*buffer, r.spooled)
	if n == 0 && err != nil && err != io.EOF {
		r.gone = true // nobody can send the rest
	}
	r.spooled += int64(n)
	return (*buffer)[:n]
}

func (r *relay) closeSpool() {
	r.spool.close()
	r.spool = nil
}
