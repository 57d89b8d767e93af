package etagcache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A read with plain commands gives what the script gives, and leaves to the script what it
// can't do. It is the usual read.
func TestRedisPlainReads(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, plain(server), "")
	terms := etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Brief: time.Minute, Lag: time.Minute}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		key := fmt.Sprint("k", seed)
		before, err := etagcache.ReadWithScript(t.Context(), store, key, terms)
		same(t, err, nil)
		var held []etagcache.Grant
		var plainly int
		for range 100 {
			switch n := random.IntN(20); {
			case n < 8:
				o := observation(string("vw"[random.IntN(2)]))
				o.ETag.Opaque = fmt.Sprint(random.IntN(3))
				switch random.IntN(8) {
				case 0:
					o.Observed = validator.Observed{Representation: validator.Representation{State: validator.Absent}}
				case 1:
					o.ETag, o.Own = validator.ETag{}, false
				case 2:
					o.Own, o.Backend = false, validator.ETag{Opaque: "x", Weak: true, Valid: true}
				}
				_ = store.Observe(t.Context(), key, before, o, terms)
			case n < 12:
				if g, _, err := store.Claim(t.Context(), key, before.Epoch, terms); err == nil {
					held = append(held, g)
				}
			case n < 14:
				if g, _, err := store.Pass(t.Context(), key, terms); err == nil {
					held = append(held, g)
				}
			case n < 18 && len(held) > 0:
				settlement := etagcache.Settlement{Unchanged: random.IntN(2) == 0, Receipt: "r"}
				if random.IntN(3) == 0 {
					settlement.Replaced = []string{[]string{"t1", "!t1", etagcache.AnyState}[random.IntN(3)]}
				}
				same(t, store.Settle(t.Context(), held[len(held)-1], settlement, terms), nil)
				held = held[:len(held)-1]
			case n == 18:
				same(t, store.Invalidate(t.Context(), key, terms), nil)
			case n == 19 && random.IntN(10) == 0:
				same(t, store.InvalidateAll(t.Context(), terms), nil)
			}
			got, done, err := etagcache.ReadPlainly(t.Context(), store, key, terms)
			same(t, err, nil)
			want, err := etagcache.ReadWithScript(t.Context(), store, key, terms)
			same(t, err, nil)
			if done {
				plainly++
				if text, expected := timeless(got), timeless(want); text != expected {
					t.Fatalf("got  %s\nwant %s", text, expected)
				}
			}
			before = want
			if again, done, _ := etagcache.ReadPlainly(t.Context(), store, key, terms); !done {
				t.Fatalf("the script must read what it has just read: %+v, %+v", again, want)
			}
		}
		if plainly < 80 {
			t.Errorf("of 100 reads, only %d took plain commands", plainly)
		}
	}
}

// timeless returns an entry as text. Times are in minutes, because two
// reads aren't made at the same time.
func timeless(e etagcache.Entry) string {
	round := func(d time.Duration) time.Duration { return d.Round(time.Minute) }
	spent := slices.Collect(e.Spent.All())
	for i := range spent {
		spent[i].Left = round(spent[i].Left)
	}
	e.Spent = etagcache.NewSpent(spent...)
	for i := range e.Variants {
		e.Variants[i].Age = round(e.Variants[i].Age)
	}
	e = etagcache.InOrder(e)
	e.Now, e.Doubt, e.Busy = time.Time{}, round(e.Doubt), round(e.Busy)
	return fmt.Sprintf("%+v", e)
}
