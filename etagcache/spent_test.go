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
	type state struct {
		until int64
		held  bool
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var list spentList
		model := make(map[string]state)
		for range r.IntN(60) {
			identity, time := fmt.Sprintf("%0*d", 1+r.IntN(3), r.IntN(20)), r.Int64N(100)-50
			switch r.IntN(8) {
			case 0:
				list = list.without(identity)
				delete(model, identity)
			case 1:
				list = list.dropUntil(time - 40)
				maps.DeleteFunc(model, func(_ string, s state) bool { return s.until <= time-40 && !s.held })
			case 2:
				list.letGo(time)
				for identity, s := range model {
					if s.held {
						model[identity] = state{max(s.until, time), false}
					}
				}
			default:
				held := r.IntN(4) == 0
				list = list.add(identity, time, held)
				s, ok := model[identity]
				if !ok {
					s.until = time
				}
				model[identity] = state{max(s.until, time), held || s.held}
			}
			found := make(map[string]state)
			for at := 0; at < len(list); at = list.end(at) {
				found[string(list.identity(at))] = state{list.until(at), list.held(at)}
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
