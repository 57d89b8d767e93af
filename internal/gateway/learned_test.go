package gateway

import (
	"net/http"
	"testing"
	"time"
)

// A response that is dated before it was asked for comes from a cache. What counts is the
// clock of the origin, as answers to writes show it: it may be wrong by any amount.
func TestTooOld(t *testing.T) {
	now := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	dated := func(offset time.Duration) http.Header {
		return http.Header{"Date": {now.Add(offset).Format(http.TimeFormat)}}
	}
	for _, tt := range []struct {
		name   string
		lag    time.Duration
		clocks []time.Duration // what answers to writes have shown
		date   time.Duration
		want   bool
	}{
		{"nothing is known of the clock", time.Minute, nil, -time.Hour, false},
		{"the present", time.Minute, []time.Duration{0}, 0, false},
		{"within the tolerance", time.Minute, []time.Duration{0}, -10 * time.Second, false},
		{"too old", time.Minute, []time.Duration{0}, -20 * time.Second, true},
		{"a clock that is an hour slow", time.Minute, []time.Duration{-time.Hour}, -time.Hour, false},
		{"too old by a clock that is an hour fast", time.Minute, []time.Duration{time.Hour}, 0, true},
		{"by the slower of two clocks", time.Minute, []time.Duration{0, -time.Minute}, -time.Minute, false},
		{"a clock that was set meanwhile", time.Minute, append([]time.Duration{-time.Hour}, make([]time.Duration, maxOffsets)...), -time.Hour, true},
		{"an origin that always shows the present", 0, []time.Duration{0}, -time.Hour, false},
	} {
		l := NewLearned(tt.lag)
		for _, offset := range tt.clocks {
			l.learnClock(dated(offset), now)
		}
		l.learnClock(http.Header{}, now)
		l.learnClock(http.Header{"Date": {"yesterday"}}, now)
		if got := l.tooOld(dated(tt.date), now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if l.tooOld(http.Header{}, now) {
			t.Errorf("%s: a response without a date is too old", tt.name)
		}
	}
	l := NewLearned(time.Minute)
	l.learnClock(dated(0), now.Add(-maxOffsetAge-time.Second))
	if l.tooOld(dated(-time.Hour), now) {
		t.Error("what was learned long ago counts for ever: a clock that was set back since refuses all writes")
	}
	var none *Learned
	none.learnClock(dated(0), now)
	if none.tooOld(dated(-time.Hour), now) || none.tellOfSessions() {
		t.Error("a Learned that is nil has learned something")
	}
}
