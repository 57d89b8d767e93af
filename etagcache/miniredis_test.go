package etagcache_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/etagcache/storetest"
)

// TestMiniredis runs the scripts in simulated time.
func TestMiniredis(t *testing.T) {
	var m *miniredis.Miniredis
	storetest.Suite{
		In:   synctest.Test,
		Lose: func(*testing.T) { m.FlushAll() },
		Open: func(t *testing.T) (a, b etagcache.Store) {
			var open func() *etagcache.Redis
			m, open = openMiniredis(t)
			return open(), open()
		},
	}.Run(t)
}

// The clock of the scripts has milliseconds. They make no state spent for less than
// the lag.
func TestMiniredisRoundsTheLagUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, open := openMiniredis(t)
		store := open()
		lagging := day
		lagging.Lag = time.Second
		o := observation("")
		for range 3 {
			grant, _ := claim(t, store, "k")
			same(t, store.Settle(t.Context(), grant, etagcache.Settlement{Replaced: []string{o.Identity()}}, lagging), nil)
			time.Sleep(lagging.Lag - time.Microsecond)
			e, err := store.Read(t.Context(), "k", lagging)
			same(t, err, nil)
			if !e.IsSpent(o.Observed) {
				t.Fatalf("got %+v", e)
			}
			time.Sleep(time.Millisecond + time.Microsecond)
			if e, err = store.Read(t.Context(), "k", lagging); err != nil || len(slices.Collect(e.Spent.All())) > 0 || e.Doubt != 0 {
				t.Fatalf("got %+v, %v", e, err)
			}
		}
	})
}

// openMiniredis starts a simulated Redis, and returns what opens a store there.
func openMiniredis(t *testing.T) (*miniredis.Miniredis, func() *etagcache.Redis) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	return m, func() *etagcache.Redis {
		return closed(t, etagcache.NewRedis(redis.NewClient(redistest.Simulated(m)), etagcache.RedisOptions{}))
	}
}
