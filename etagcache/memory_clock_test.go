package etagcache

import (
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// After the wall clock was set back, no state gets a date that an earlier one had.
func TestMemoryClockSetBackRepeatsNoDate(t *testing.T) {
	observation := func(tag string) Observation {
		r := validator.Representation{State: validator.Present, ETag: validator.ETag{Opaque: tag, Valid: true}}
		return Observation{Variant: "v", Observed: validator.Observed{Representation: r}}
	}
	before := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	for name, replace := range map[string]func(e *entry, now time.Time){
		"an invalidation": func(e *entry, now time.Time) { e.invalidate(now, Terms{}) },
		"somebody else":   func(*entry, time.Time) {},
		"other variants": func(e *entry, now time.Time) {
			for i := range MaxVariants {
				o := observation("1")
				o.Variant = string(rune('A' + i))
				e.store(o, now)
			}
		},
	} {
		e := &entry{key: "k", epoch: "1"}
		e.store(observation("1"), before)
		now := before.Add(-time.Hour)
		replace(e, now)
		if s := e.snapshot(now); s.Latest.Before(before) {
			t.Errorf("%s: got %+v", name, s)
		}
		for range 2 {
			now = now.Add(time.Second)
			e.store(observation("2"), now)
			s := e.snapshot(now)
			if since := s.Variants.Of("v").Since; !since.Equal(before.Add(time.Second)) && name != "other variants" || !since.After(before) || s.Latest.Before(since) {
				t.Errorf("%s: since %v, want a second after %v", name, since, before)
			}
		}
		now = now.Add(2 * time.Hour)
		e.store(observation("3"), now)
		if since := e.snapshot(now).Variants.Of("v").Since; !since.Equal(now) {
			t.Errorf("%s: since %v, want now", name, since)
		}
	}
}
