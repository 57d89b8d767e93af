package storeshare

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// Losses knows of the grace that began when the store lost data.
type Losses struct {
	logger *atomic.Pointer[zap.Logger]

	mu    sync.Mutex
	since time.Time // when this node heard of it
	until time.Time
	loss  etagcache.Loss
	begun int         // how many graces this node has heard of
	over  *time.Timer // logs the end
}

// note takes note of what the store says, at the given time, about a grace. It reports
// whether this node hears of it for the first time, and when the grace ends.
func (l *Losses) note(g etagcache.Grace, now time.Time) (news bool, until time.Time) {
	if g.Left <= 0 {
		return false, until
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	until = now.Add(g.Left)
	if news = !now.Before(l.until); news {
		l.since = now
		l.begun++
	} else if until.Before(l.until) { // a hash slot of a cluster has a grace of its own
		until = l.until
	}
	l.until, l.loss = until, g.Loss
	return news, until
}

// slack is how much longer a grace may seem to last, because replies take time.
const slack = time.Second

// credit returns for how much of the time between begun and now a grace was running, if
// that doesn't last longer than most, and for how much longer it is running.
func (l *Losses) credit(begun, now time.Time, most time.Duration) (past, left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.since
	if begun.After(from) {
		from = begun
	}
	if l.until.Sub(from) > most+slack {
		return 0, 0
	}
	end := l.until
	if now.Before(end) {
		end, left = now, l.until.Sub(now)
	}
	return max(0, end.Sub(from)), left
}

// heard takes note of what a reply of the store says about a grace, and logs when one
// begins and ends.
func (l *Losses) heard(g etagcache.Grace) {
	news, until := l.note(g, time.Now())
	if !news {
		return
	}
	l.logger.Load().Warn("the store may have lost data: no write passes until the grace is over",
		zap.Time("until", until), zap.Stringer("reason", g.Loss))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = time.AfterFunc(time.Until(until), l.end)
}

// end logs that a grace is over, once it is: it may have become longer.
func (l *Losses) end() {
	l.mu.Lock()
	left := time.Until(l.until)
	if left > 0 && l.over != nil {
		l.over.Reset(left)
	}
	l.mu.Unlock()
	if left <= 0 {
		l.logger.Load().Warn("the grace is over: writes pass again")
	}
}

// close makes sure that nothing is logged any more.
func (l *Losses) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		l.over.Stop()
	}
	l.over = nil
}

// Grace returns how much is left of a grace, and what has happened to the store's data. It
// reports false if there is no grace.
func (l *Losses) Grace() (g etagcache.Grace, running bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := time.Until(l.until)
	return etagcache.Grace{Left: left, Loss: l.loss}, left > 0
}

// last returns when the last grace ends or ended, and how many there were.
func (l *Losses) last() (until time.Time, begun int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until, l.begun
}

// attendAfter is how long a share waits before it contacts the store: a config that is only
// validated is gone by then, and leaves the store alone.
const attendAfter = 100 * time.Millisecond

// attend contacts the store in the background, so that a grace begins when data was lost,
// and not with the first write. Terms apply while the share has no user.
func attend(s *Share, terms etagcache.Terms) {
	store, ok := s.opened.(interface {
		Attend(ctx context.Context, terms func() etagcache.Terms, heard func(etagcache.Grace, error))
	})
	if !ok {
		return
	}
	select {
	case <-time.After(attendAfter):
	case <-s.closing.Done():
		return
	}
	present := func() etagcache.Terms {
		if t := s.usage.terms(); t.Lease > 0 {
			t.Grace = max(t.Grace, time.Duration(s.usage.grace.Load()))
			terms = t
		}
		return terms
	}
	store.Attend(s.closing, present, func(g etagcache.Grace, err error) {
		if s.reach.note(err) == nil {
			s.Losses.heard(g)
		}
	})
}

// patience is a context that ends when a write has waited long enough for others. The time
// of a grace doesn't count. Most writes wait for nobody, so there is a timer only once
// somebody asks for the channel.
type patience struct {
	context.Context // the request's
	losses          *Losses
	begun           time.Time
	wait, used      time.Duration // used is what was used before

	mu     sync.Mutex // protects everything below
	err    error
	done   chan struct{} // nil until somebody asks for it
	timer  *time.Timer   // likewise
	forget func() bool   // ends the watch over the request; likewise
}

func (p *patience) Deadline() (time.Time, bool) { return time.Time{}, false }

func (p *patience) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done != nil {
		return p.done
	}
	p.done = make(chan struct{})
	if p.err != nil {
		close(p.done)
		return p.done
	}
	p.timer = time.AfterFunc(p.left(), p.expire)
	p.forget = context.AfterFunc(p.Context, func() { p.end(p.Context.Err()) })
	return p.done
}

func (p *patience) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && p.done == nil { // nobody watches
		if p.err = p.Context.Err(); p.err == nil && p.left() <= 0 {
			p.err = context.DeadlineExceeded
		}
	}
	return p.err
}

// expire ends the context, unless a grace has made it last longer.
func (p *patience) expire() {
	p.mu.Lock()
	more := p.left()
	if more > 0 && p.err == nil {
		p.timer.Reset(more)
	}
	p.mu.Unlock()
	if more <= 0 {
		p.end(context.DeadlineExceeded)
	}
}

func (p *patience) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = err
	if p.done != nil {
		close(p.done)
		p.timer.Stop()
		p.forget()
	}
}

// left returns how much longer the write may wait, by what is known now.
func (p *patience) left() time.Duration {
	used, grace := p.count()
	return grace + p.wait - used
}

// count returns how much the write has used in all, and for how much longer a grace is
// running.
func (p *patience) count() (used, grace time.Duration) {
	now := time.Now()
	past, grace := p.losses.credit(p.begun, now, p.wait)
	return p.used + now.Sub(p.begun) - past, grace
}

// stop ends the context, and returns how much the write has used in all.
func (p *patience) stop() (used time.Duration) {
	p.end(context.Canceled)
	used, _ = p.count()
	return used
}

// Patiently returns a context for a write that waits for others, for what it hasn't used
// of its wait. The time of a grace doesn't count if the grace is no longer than the wait.
// Stop ends the context, and returns how much the write has used in all.
func (l *Losses) Patiently(ctx context.Context, wait, used time.Duration) (waiting context.Context, stop func() (used time.Duration)) {
	p := &patience{Context: ctx, losses: l, begun: time.Now(), wait: wait, used: used}
	return p, p.stop
}
