package storeshare

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

func observed(tag string) validator.Observed {
	return validator.Observed{Representation: validator.Representation{
		State: validator.Present,
		ETag:  validator.ETag{Opaque: tag, Valid: true},
	}}
}

func entryWith(epoch string, variants map[string]string) etagcache.Entry {
	e := etagcache.Entry{Epoch: epoch}
	for variant, tag := range variants {
		e.Variants = append(e.Variants, etagcache.Variant{Key: variant, Stored: etagcache.Stored{Observed: observed(tag)}})
	}
	return e
}

func TestRecent(t *testing.T) {
	seen := entryWith("e1", map[string]string{"v": "a"})

	t.Run("returns the entry that was seen last", func(t *testing.T) {
		c := newRecent()
		c.put("k", entryWith("e0", map[string]string{"v": "z"}))
		c.put("k", seen)
		if e, ok := c.get("k"); !ok || e.Epoch != "e1" || e.Variants.Of("v").ETag.Opaque != "a" {
			t.Errorf("got %v, %v", e, ok)
		}
	})
	t.Run("adds the time since then to the ages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newRecent()
			c.put("k", seen)
			time.Sleep(time.Minute) // by the test's own clock
			if e, _ := c.get("k"); e.Variants.Of("v").Age != time.Minute {
				t.Errorf("got age %s, want 1m", e.Variants.Of("v").Age)
			}
			if e, _ := c.get("k"); e.Variants.Of("v").Age != time.Minute {
				t.Errorf("got age %s the second time, want 1m", e.Variants.Of("v").Age)
			}
		})
	})
	t.Run("knows when the origin can't show a replaced state any more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newRecent()
			e := entryWith("e1", map[string]string{"v": "a"})
			e.Now = time.Now()
			e.Doubt, e.Spent = 2*time.Second, etagcache.NewSpent(etagcache.SpentState{Identity: "brief", Left: time.Second}, etagcache.SpentState{Identity: "long", Left: 3 * time.Second})
			c.put("k", e)
			time.Sleep(time.Second)
			if got, _ := c.get("k"); got.Spent.Left("brief") != 0 || got.Spent.Left("long") != 2*time.Second || got.Doubt != time.Second || !got.Now.Equal(time.Now()) {
				t.Errorf("after a second: %v, %v, %v", got.Spent, got.Doubt, got.Now)
			}
			time.Sleep(2 * time.Second)
			if got, _ := c.get("k"); got.Spent.Left("long") != 0 || got.Doubt != 0 {
				t.Errorf("after three seconds: %v, %v", got.Spent, got.Doubt)
			}
		})
	})
	t.Run("drops an entry with a write in flight", func(t *testing.T) {
		c := newRecent()
		c.put("k", seen)
		busy := seen
		busy.Busy = time.Second
		c.put("k", busy)
		if _, ok := c.get("k"); ok {
			t.Error("still there")
		}
	})
	t.Run("adds a variant within the epoch", func(t *testing.T) {
		c := newRecent()
		c.put("k", seen)
		c.add("k", seen, etagcache.Observation{Observed: observed("b"), Variant: "w"})
		e, ok := c.get("k")
		if !ok || e.Epoch != "e1" || len(e.Variants) != 2 {
			t.Errorf("got %v, %v", e, ok)
		}
		if len(seen.Variants) != 1 {
			t.Error("the entry that was read has changed")
		}
	})
	t.Run("adds it to what is known of the others by then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newRecent()
			c.put("k", seen)
			before, _ := c.get("k")
			time.Sleep(time.Minute)
			c.add("k", before, etagcache.Observation{Observed: observed("b"), Variant: "w"})
			if e, _ := c.get("k"); e.Variants.Of("v").Age != time.Minute || e.Variants.Of("w").Age != 0 {
				t.Errorf("got %v", e.Variants)
			}
			c.remove("k")
			c.add("k", before, etagcache.Observation{Observed: observed("b"), Variant: "w"})
			if e, ok := c.get("k"); ok {
				t.Errorf("nobody knows how old %v are", e.Variants)
			}
		})
	})
	t.Run("drops an entry whose epoch an observation has moved", func(t *testing.T) {
		for name, o := range map[string]etagcache.Observation{
			"another tag":  {Observed: observed("b"), Variant: "v"},
			"another Vary": {Observed: observed("a"), Variant: "v", Vary: "accept"},
		} {
			c := newRecent()
			c.put("k", seen)
			c.add("k", seen, o)
			if e, ok := c.get("k"); ok {
				t.Errorf("%s: got %v", name, e)
			}
		}
	})
	t.Run("drops an entry without variants, unless a write has left it so", func(t *testing.T) {
		c := newRecent()
		c.put("k", entryWith("e1", nil))
		if _, ok := c.get("k"); ok {
			t.Error("it is remembered")
		}
		c.settled("k", entryWith("e1", nil))
		if _, ok := c.get("k"); !ok {
			t.Error("it is forgotten")
		}
	})
	t.Run("serves reads for a moment, and for longer without variants while nobody else writes", func(t *testing.T) {
		for name, tt := range map[string]struct {
			notice func(c *recent)
			alone  bool
		}{
			"nobody writes":                                    {func(*recent) {}, true},
			"this node has moved the epoch":                    {func(c *recent) { c.removeOutdated("k", "e0") }, true},
			"somebody else has moved the epoch":                {func(c *recent) { c.removeOutdated("k", "e1") }, false},
			"a read shows that the epoch hasn't moved":         {func(c *recent) { c.putRead("k", entryWith("e1", nil), time.Now().Add(1)) }, true},
			"a read shows that somebody else has moved it":     {func(c *recent) { c.putRead("k", entryWith("e2", nil), time.Now().Add(1)) }, false},
			"a read began before this node knew of this epoch": {func(c *recent) { c.putRead("k", entryWith("e0", nil), time.Now().Add(-1)) }, true},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newRecent()
					expect := func(known, written bool) {
						t.Helper()
						if _, ok := c.lately("known"); ok != known {
							t.Errorf("with variants: %v, want %v", ok, known)
						}
						if _, ok := c.lately("written"); ok != written {
							t.Errorf("without variants: %v, want %v", ok, written)
						}
					}
					c.put("k", seen)
					tt.notice(c)
					c.put("known", seen)
					c.settled("written", entryWith("e1", nil))
					time.Sleep(lately - 1)
					expect(true, true)
					time.Sleep(time.Nanosecond)
					expect(false, tt.alone)
					time.Sleep(latelyAlone - lately - 1)
					expect(false, tt.alone)
					time.Sleep(time.Nanosecond)
					expect(false, false)
					time.Sleep(2 * latelyAlone)
					c.settled("written", entryWith("e1", nil))
					time.Sleep(latelyAlone - 1)
					expect(false, true) // others seem to have stopped
				})
			})
		}
	})
	t.Run("has a limit", func(t *testing.T) {
		c := newRecent()
		for i := range 2 * maxRecent {
			c.put(fmt.Sprint(i), seen)
		}
		if n := c.entries.Len(); n != maxRecent {
			t.Errorf("%d entries, want %d", n, maxRecent)
		}
		if _, ok := c.get(fmt.Sprint(2*maxRecent - 1)); !ok {
			t.Error("the last one is gone")
		}
	})
}
