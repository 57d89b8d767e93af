package hold

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"go.uber.org/zap"
)

// A write that waits for one resource doesn't keep others from writing the rest of what it
// needs, wherever the busy one stands in the order. When that is free, the write takes
// everything.
func TestHoldsNothingWhileWaiting(t *testing.T) {
	for _, tt := range []struct {
		plan relation.Plan
		busy string
	}{
		{planFor("a", changed("z")), "z"},
		{planFor("z", changed("a")), "z"},
		{planFor("a", changed("m"), changed("z")), "m"},
		{planFor("m", exclusive("a"), changed("z")), "z"},
		{planFor("a", exclusive("m"), shared("z")), "z"},
		{planFor("a", shared("m"), exclusive("z")), "z"},
	} {
		keys := []string{tt.plan.Subject.Key}
		for _, o := range tt.plan.Others {
			keys = append(keys, o.Key)
		}
		for _, conditional := range []bool{true, false} {
			for name, at := range map[string]func(node) node{
				"at one node":  func(n node) node { return n },
				"at two nodes": func(n node) node { return newNode(n.Store) },
			} {
				t.Run(fmt.Sprintf("%v wait for %s, conditional %v, %s", keys, tt.busy, conditional, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						n := newNode(newSpy())
						slow := at(n).claim(t, planFor(tt.busy))
						done := make(chan *Holds)
						go func() {
							if conditional {
								done <- n.claim(t, tt.plan)
							} else {
								done <- n.pass(t, tt.plan)
							}
						}()
						time.Sleep(time.Second)
						for _, key := range keys {
							if key != tt.busy && n.busy(t, key) {
								t.Errorf("%s is held meanwhile", key)
							}
						}
						slow.Release(nil)
						h := <-done
						for _, key := range keys {
							if !n.busy(t, key) {
								t.Errorf("%s isn't held in the end", key)
							}
						}
						h.Release(nil)
						for _, key := range keys {
							if n.busy(t, key) {
								t.Errorf("%s was not released", key)
							}
						}
					})
				})
			}
		}
	}
}

// A write that gives back what it holds sees the state of its subject anew when it takes it
// again.
func TestCheckedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(newSpy())
		slow := n.claim(t, planFor("z"))
		checks := 0
		done := make(chan bool)
		go func() {
			h := n.write(t)
			check := func(entry *etagcache.Entry) (Wish, error) {
				checks++
				if checks == 1 {
					return Wish{Wanted: true, Epoch: entry.Epoch}, nil
				}
				if entry != nil {
					t.Error("the check got what is out of date")
				}
				return Wish{}, nil // no longer wanted
			}
			claimed, err := h.AcquireClaim(t.Context(), planFor("a", changed("z")), n.entry(t, "a"), check)
			if err != nil {
				t.Error(err)
			}
			h.Release(nil)
			done <- claimed
		}()
		synctest.Wait()
		time.Sleep(time.Second)
		n.claim(t, planFor("a")).Release(nil) // somebody else changes it
		slow.Release(nil)
		if claimed := <-done; claimed || checks != 2 {
			t.Errorf("claimed: %v after %d checks", claimed, checks)
		}
		if n.busy(t, "a") || n.busy(t, "z") {
			t.Error("something is still held")
		}
	})
}

// A write of several resources gets its turn, however many writes of single ones there are.
func TestTurnAmongSingleWrites(t *testing.T) {
	for name, busy := range map[string][]string{
		"of the first": {"a"}, "of the last": {"z"}, "of both": {"a", "z"}, "of three": {"a", "m", "z"},
	} {
		for _, nodes := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, at %d nodes", name, nodes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newSpy()
					at := []node{newNode(store), newNode(store)}[:nodes]
					ctx, cancel := context.WithCancel(t.Context())
					ended := stream(ctx, t, at, busy)
					time.Sleep(time.Second)
					begun := time.Now()
					waiting, stop := context.WithTimeout(t.Context(), 10*time.Second)
					defer stop()
					h := at[0].write(t)
					if err := h.AcquirePass(waiting, planFor("m", changed("a"), changed("z"))); err != nil {
						t.Errorf("after %s: %v", time.Since(begun), err)
					}
					t.Logf("after %s", time.Since(begun))
					h.Release(nil)
					cancel()
					<-ended
				})
			})
		}
	}
}

// stream keeps resources busy: at each node, clients write each of them, for 30 ms each time.
// Between nodes nobody goes first, so there they leave some room.
func stream(ctx context.Context, t *testing.T, at []node, keys []string) (ended <-chan struct{}) {
	t.Helper()
	all := make(chan struct{})
	done := make(chan struct{})
	count := 0
	for _, n := range at {
		for i, key := range keys {
			for c := range 3 / len(at) {
				count++
				client := storeshare.Client{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(c)})}
				go func() {
					defer func() { done <- struct{}{} }()
					time.Sleep(time.Duration(7*i+11*c) * time.Millisecond)
					for ctx.Err() == nil {
						h := New(context.Background(), n.Share, client, terms, zap.NewNop(), nil)
						_, err := h.AcquireClaim(ctx, planFor(key), etagcache.Entry{}, wanted(n, key))
						if err == nil {
							time.Sleep(30 * time.Millisecond)
						}
						h.Release(nil)
						time.Sleep(time.Millisecond)
					}
				}()
			}
		}
	}
	go func() {
		for range count {
			<-done
		}
		close(all)
	}()
	return all
}

// Two writes that need the same resources in opposite roles both get their turn, even if a
// third one keeps making them begin anew.
func TestNoLivelock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		store.granted = func(string) { time.Sleep(time.Millisecond) }
		nodes := []node{newNode(store), newNode(store), newNode(store)}
		plans := []relation.Plan{
			planFor("a", exclusive("m"), changed("z")),
			planFor("z", changed("a"), exclusive("m")),
			planFor("m", changed("a"), exclusive("z")),
		}
		waiting, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		done := make(chan error)
		for i, n := range nodes {
			go func() {
				for range 20 {
					h := n.write(t)
					_, err := h.AcquireClaim(waiting, plans[i], etagcache.Entry{}, wanted(n, plans[i].Subject.Key))
					time.Sleep(25 * time.Millisecond)
					h.Release(nil)
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range nodes {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
