package gateway

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Learned is what a handler has learned of its origin since the config was loaded. A nil
// Learned learns nothing.
type Learned struct {
	watch          bool // whether its answers may be too old
	toldOfSessions atomic.Bool
	toldOfOuter    atomic.Bool
	toldOfSigned   atomic.Bool
	asks           atomic.Bool // whether the backend has asked for a condition (428)

	policies policies
	promises promises
	heads    heads

	redirecting redirecting

	mu      sync.Mutex
	offsets [maxOffsets]offset // in the last answers
	learned int                // how many there have been
}

// offset is how far the origin's clock was from ours at some time.
type offset struct {
	time.Duration
	at time.Time
}

// NewLearned returns a Learned for an origin that may show the past for a while, or for one
// that always shows the present, which need not be watched, if lag is zero.
func NewLearned(lag time.Duration) *Learned { return &Learned{watch: lag > 0} }

// maxOffsets is how many answers the offset of the origin's clock is taken from. The
// backends of a pool have a clock each.
const maxOffsets = 16

// maxOffsetAge is how long an offset counts. If somebody sets the origin's clock back, all
// its answers look too old, and no write gets there from which its time could be learned.
const maxOffsetAge = 10 * time.Minute

// learnClock learns the time from the answer to a write, which no cache can give.
func (l *Learned) learnClock(h http.Header, now time.Time) {
	if l == nil || !l.watch || len(h["Date"]) != 1 {
		return
	}
	date, ok := validator.ParseDate(h["Date"][0], now)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offsets[l.learned%maxOffsets] = offset{date.Sub(now), now}
	l.learned++
}

// tooOld reports whether a response is dated before the time at which it was asked for, by
// the slowest clock of the origin.
func (l *Learned) tooOld(h http.Header, asked time.Time) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slowest, known := time.Duration(0), false
	for _, o := range l.offsets[:min(l.learned, maxOffsets)] {
		if asked.Sub(o.at) <= maxOffsetAge && (!known || o.Duration < slowest) {
			slowest, known = o.Duration, true
		}
	}
	return known && proxyhooks.MadeBefore(h, asked.Add(slowest))
}

// changedElsewhere notes that a response shows something other than what is stored under the
// same epoch: somebody has written past the handler.
func (l *Learned) changedElsewhere(known, now validator.Observed) {
	if l != nil && known.ETag.Valid && known.ETag != now.ETag {
		l.heads.bypass()
	}
}

// backendAsked notes that the backend has refused a write without a condition.
func (l *Learned) backendAsked() {
	if l != nil {
		l.asks.Store(true)
	}
}

// asksForCondition reports whether the backend has done so.
func (l *Learned) asksForCondition() bool { return l != nil && l.asks.Load() }

// tellOfSessions reports, once, that nobody has been told of dropped sessions.
func (l *Learned) tellOfSessions() bool {
	return l != nil && l.toldOfSessions.CompareAndSwap(false, true)
}

// tellOfOuter reports, once, that nobody has been told of a handler further out.
func (l *Learned) tellOfOuter() bool {
	return l != nil && l.toldOfOuter.CompareAndSwap(false, true)
}

// tellOfSigned reports, once, that nobody has been told of requests that may be signed.
func (l *Learned) tellOfSigned() bool {
	return l != nil && l.toldOfSigned.CompareAndSwap(false, true)
}
