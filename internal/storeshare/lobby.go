package storeshare

import (
	"context"
	"sync"
)

// Lobby is where writes wait that have no place in a queue, because nobody knows yet
// whether they earn one. They reserve nothing, and the store is asked once for all that wait
// for the same write.
type Lobby struct {
	mu    sync.Mutex
	byKey map[string]*lobby
}

// lobby is the lobby of one resource.
type lobby struct {
	waiting rota
	watches map[string]*watch // by the epoch that moves when the write is over
}

// watch is a call that waits for a write, for all who wait for that.
type watch struct {
	waiting int
	stop    context.CancelFunc
	ended   chan struct{}
	err     error // set before ended is closed
}

func newLobby() *Lobby { return &Lobby{byKey: make(map[string]*lobby)} }

// Wait calls wait, which waits until an epoch has moved, unless that has been called for the
// same epoch already. It returns the error of that call. It fails with ErrQueueFull, or with
// the error of ctx.
func (l *Lobby) Wait(ctx context.Context, key, epoch string, client Client, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room, leave := l.enter(key, &place{of: client, call: cancel})
	defer leave()
	w := l.join(room, epoch, wait)
	defer l.part(room, epoch, w)
	select {
	case <-w.ended:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter takes a place in the lobby of a resource, until leave is called.
func (l *Lobby) enter(key string, p *place) (room *lobby, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room = l.byKey[key]
	if room == nil {
		room = &lobby{watches: make(map[string]*watch)}
		l.byKey[key] = room
	}
	room.waiting.join(p, maxQueue)
	return room, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		room.waiting.leave(p)
		if room.waiting.waiting == 0 && l.byKey[key] == room {
			delete(l.byKey, key)
		}
	}
}

// join joins those who wait for the write of an epoch, until the caller parts from them.
func (l *Lobby) join(room *lobby, epoch string, wait func(context.Context) error) *watch {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := room.watches[epoch]
	if w == nil {
		ctx, stop := context.WithCancel(context.Background()) // it outlasts whoever was the first
		w = &watch{stop: stop, ended: make(chan struct{})}
		room.watches[epoch] = w
		go func() {
			defer close(w.ended)
			w.err = wait(ctx)
			l.forget(room, epoch, w)
		}()
	}
	w.waiting++
	return w
}

// part ends the watch once nobody waits any more: no call of the store may outlast all
// requests.
func (l *Lobby) part(room *lobby, epoch string, w *watch) {
	l.mu.Lock()
	w.waiting--
	last := w.waiting == 0
	if last && room.watches[epoch] == w {
		delete(room.watches, epoch)
	}
	l.mu.Unlock()
	if last {
		w.stop()
		<-w.ended
	}
}

// forget lets nobody join a watch any more.
func (l *Lobby) forget(room *lobby, epoch string, w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room.watches[epoch] == w {
		delete(room.watches, epoch)
	}
}
