package etagcache

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// A packed list of spent states says the same as a map.
func TestSpentListIsLikeAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var list spentList
		model := make(map[string]int64)
		for range r.IntN(60) {
			identity, time := fmt.Sprintf("%0*d", 1+r.IntN(3), r.IntN(20)), r.Int64N(100)-50
			switch r.IntN(4) {
			case 0:
				list = list.without(identity)
				delete(model, identity)
			case 1:
				list = list.dropUntil(time - 40)
				maps.DeleteFunc(model, func(_ string, until int64) bool { return until <= time-40 })
			default:
				list = list.raise(identity, time)
				if until, ok := model[identity]; !ok || until < time {
					model[identity] = time
				}
			}
			found := make(map[string]int64)
			for identity, until := range list.all() {
				found[string(identity)] = until
			}
			if !maps.Equal(found, model) || list.len() != len(model) {
				t.Fatalf("%d states: %v, want %v", list.len(), found, model)
			}
		}
	}
}

// The longest time counts if a state is listed twice, and none is listed when its time is over.
func TestSpentAfterAWhile(t *testing.T) {
	all := NewSpent(SpentState{"a", time.Second}, SpentState{"b", 2 * time.Second}, SpentState{"a", 3 * time.Second})
	for passed, want := range map[time.Duration]string{
		0:               "[{a 1s} {b 2s} {a 3s}] 3s 2s 0s",
		time.Second:     "[{b 1s} {a 2s}] 2s 1s 0s",
		2 * time.Second: "[{a 1s}] 1s 0s 0s",
		time.Hour:       "[] 0s 0s 0s",
	} {
		s := all.After(passed)
		if got := fmt.Sprint(s, " ", s.Left("a"), " ", s.Left("b"), " ", s.Left("c")); got != want {
			t.Errorf("after %v: %s, want %s", passed, got, want)
		}
	}
}
