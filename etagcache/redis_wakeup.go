package etagcache

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// wakeups passes the messages of one channel on to the waiters. Each message is the
// name of an entry whose epoch has moved.
type wakeups struct {
	client  redis.UniversalClient
	channel string

	mu      sync.Mutex
	pubsub  *redis.PubSub // nil until the first caller waits
	done    chan struct{} // closed when the subscription has ended
	closed  bool
	waiting map[string]map[chan bool]struct{}

	reconnected chan struct{} // receives when there is a new connection after the first
}

func newWakeups(client redis.UniversalClient, channel string) *wakeups {
	return &wakeups{
		client:      client,
		channel:     channel,
		waiting:     make(map[string]map[chan bool]struct{}),
		reconnected: make(chan struct{}, 1),
	}
}

// add returns a channel that receives true when the entry with the given name has moved,
// and false when messages may have been missed.
func (w *wakeups) add(name string) chan bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listen()
	if w.waiting[name] == nil {
		w.waiting[name] = make(map[chan bool]struct{})
	}
	wakeup := make(chan bool, 1)
	w.waiting[name][wakeup] = struct{}{}
	return wakeup
}

// subscribe opens the connection, unless it is open.
func (w *wakeups) subscribe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.listen()
	}
}

// listen opens the connection, unless it is open. The caller holds w.mu.
func (w *wakeups) listen() {
	if w.pubsub == nil {
		w.pubsub = w.client.Subscribe(context.Background()) // no channel yet, so no network access
		w.done = make(chan struct{})
		go w.receive(w.pubsub)
	}
}

func (w *wakeups) remove(name string, wakeup chan bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting[name], wakeup)
	if len(w.waiting[name]) == 0 {
		delete(w.waiting, name)
	}
}

// receive runs until the subscription is closed. The client reconnects by itself.
func (w *wakeups) receive(pubsub *redis.PubSub) {
	defer close(w.done)
	_ = pubsub.Subscribe(context.Background(), w.channel) // after an error the client tries again
	subscribed := false
	for m := range pubsub.ChannelWithSubscriptions() {
		switch m := m.(type) {
		case *redis.Message:
			w.wake(m.Payload)
		case *redis.Subscription:
			w.wakeAll() // messages may have been missed before
			if subscribed {
				signal(w.reconnected, struct{}{})
			}
			subscribed = true
		}
	}
}

func (w *wakeups) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wakeup := range w.waiting[name] {
		signal(wakeup, true)
	}
}

func (w *wakeups) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, same := range w.waiting {
		for wakeup := range same {
			signal(wakeup, false)
		}
	}
}

func signal[T any](c chan T, v T) {
	select {
	case c <- v:
	default: // a signal is already pending
	}
}

func (w *wakeups) close() error {
	w.mu.Lock()
	pubsub := w.pubsub
	w.closed = true
	w.mu.Unlock()
	if pubsub == nil {
		return nil
	}
	err := pubsub.Close()
	<-w.done
	return err
}
