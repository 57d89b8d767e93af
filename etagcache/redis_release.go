package etagcache

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxReleases is the number of grants that are being given back at a time.
	// Others run out by themselves.
	maxReleases = 256
	// releaseTries is how often each of them is tried, the last time shortly
	// before its lease is over.
	releaseTries = 6
)

// release gives back a grant that nobody will use.
func (r *Redis) release(g Grant, t Terms) error {
	return r.Settle(context.Background(), g, Settlement{Unchanged: true}, t)
}

// unsent reports whether a call failed before anything was sent.
func unsent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout)
}

// releases gives back, in the background, grants that may have been taken
// without anybody knowing, because the reply was lost.
type releases struct {
	release func(Grant, Terms) error

	mu      sync.Mutex
	pending []pendingRelease
	added   chan struct{}
	stop    chan struct{}
	worker  sync.WaitGroup // runs while something is pending
	running bool
}

type pendingRelease struct {
	grant Grant
	terms Terms
	due   time.Time
	pause time.Duration // after the next try
	tries int           // that are left
}

func newReleases(release func(Grant, Terms) error) *releases {
	return &releases{
		release: release,
		added:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
}

// add has g be given back, unless too many are already.
func (l *releases) add(g Grant, t Terms) {
	l.schedule(pendingRelease{
		grant: g,
		terms: t,
		due:   time.Now(),
		pause: t.Lease >> (releaseTries - 1),
		tries: releaseTries,
	})
}

func (l *releases) schedule(p pendingRelease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == maxReleases {
		return
	}
	l.pending = append(l.pending, p)
	if !l.running {
		l.running = true
		l.worker.Go(l.work)
	}
	signal(l.added)
}

func (l *releases) work() {
	for {
		p, wait, ok := l.next()
		switch {
		case !ok:
			return
		case wait > 0:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.added:
			case <-l.stop:
			}
			timer.Stop()
		case l.release(p.grant, p.terms) != nil && p.tries > 1:
			// A grant that is not there may yet come: its call may be
			// underway still, on another connection.
			p.due = time.Now().Add(p.pause)
			p.pause *= 2
			p.tries--
			l.schedule(p)
		}
	}
}

// next takes what is due, or returns how long to wait for it. It reports false
// when the worker is to end.
func (l *releases) next() (p pendingRelease, wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stop:
		l.pending = nil
	default:
	}
	if len(l.pending) == 0 {
		l.running = false
		return p, 0, false
	}
	first := 0
	for i := range l.pending {
		if l.pending[i].due.Before(l.pending[first].due) {
			first = i
		}
	}
	if wait = time.Until(l.pending[first].due); wait > 0 {
		return p, wait, true
	}
	p = l.pending[first]
	l.pending = slices.Delete(l.pending, first, first+1)
	return p, 0, true
}

// close gives up on what is pending.
func (l *releases) close() {
	close(l.stop)
	l.worker.Wait()
}
