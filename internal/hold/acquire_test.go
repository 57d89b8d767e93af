package hold

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// A write takes the others whose keys come first, then its subject, then the rest,
// and ends them the other way round, with its subject last. Subtree epochs come
// last wherever their keys stand.
func TestOrder(t *testing.T) {
	plan := planFor("m", changed("a"), exclusive("b"), shared("n"), changed("z"))
	plan.Subtrees = []relation.Other{changed("age 1"), changed("age 2")}

	t.Run("with a condition", func(t *testing.T) {
		store := newSpy()
		h := newNode(store).claim(t, plan)
		store.expect(t, "pass a", "claim b", "claim m", "pass n", "pass z")
		if err := h.AcquireSubtrees(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		store.expect(t, "pass age 1", "pass age 2")
		h.Release(nil)
		store.expect(t, "settle age 2", "settle age 1", "settle z", "settle n", "settle b", "settle a", "settle m")
	})

	t.Run("without one", func(t *testing.T) {
		store := newSpy()
		h := newNode(store).pass(t, plan)
		store.expect(t, "pass a", "claim b", "pass m", "pass n", "pass z", "pass age 1", "pass age 2")
		h.Release(nil)
		store.expect(t, "settle age 2", "settle age 1", "settle z", "settle n", "settle b", "settle a", "settle m")
	})
}

// Two writes that each change the other's subject don't wait for each other, even
// if each gets its first grant before the other asks for its second.
func TestNoDeadlock(t *testing.T) {
	plans := []relation.Plan{
		planFor("a", changed("b"), exclusive("lock")),
		planFor("b", changed("a"), exclusive("lock")),
	}
	for name, nodes := range map[string]int{"at one node": 1, "at two nodes": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				store.granted = func(string) { time.Sleep(time.Second) }
				at := []node{newNode(store), newNode(store)}[:nodes]
				waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				done := make(chan error)
				for i, plan := range plans {
					n := at[i%nodes]
					go func() {
						h := n.write(t)
						_, err := h.AcquireClaim(waiting, plan, n.entry(t, plan.Subject.Key), wanted(n, plan.Subject.Key))
						h.Release(nil)
						done <- err
					}()
				}
				for range plans {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// The check sees each state that a claim is asked for: first as the caller knows
// it, and after the epoch has moved or somebody was waited for, as it is then.
func TestCheckSeesEachState(t *testing.T) {
	for _, tt := range []struct {
		name  string
		until func(*testing.T, node) // prepares what the claim meets
		want  []string               // what the check gets
	}{
		{"nobody is in the way", func(*testing.T, node) {}, []string{"first"}},
		{"the epoch has moved", func(t *testing.T, n node) {
			if err := n.Invalidate(t.Context(), "a", terms); err != nil {
				t.Fatal(err)
			}
		}, []string{"first", "now"}},
		{"a write of a different node is in flight", func(t *testing.T, n node) {
			h := newNode(n.Store).claim(t, planFor("a"))
			time.AfterFunc(time.Second, func() { h.Release(nil) })
		}, []string{"first", "to read"}},
		{"a write of this node is waiting", func(t *testing.T, n node) {
			release, _, err := n.Queues.Acquire(t.Context(), "a", storeshare.Client{})
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, release)
		}, []string{"to read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(newSpy())
				first := n.entry(t, "a")
				tt.until(t, n)
				var got []string
				h := n.write(t)
				claimed, err := h.AcquireClaim(t.Context(), planFor("a"), first, func(entry *etagcache.Entry) (Wish, error) {
					switch {
					case entry == nil:
						got = append(got, "to read")
						return Wish{Wanted: true, Epoch: n.entry(t, "a").Epoch}, nil
					case entry.Epoch == first.Epoch:
						got = append(got, "first")
					case entry.Epoch == n.entry(t, "a").Epoch:
						got = append(got, "now")
					}
					return Wish{Wanted: true, Epoch: entry.Epoch}, nil
				})
				if !claimed || err != nil || !h.Claimed() {
					t.Errorf("claimed: %v, %v, %v", claimed, h.Claimed(), err)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("the check got %q, want %q", got, tt.want)
				}
				h.Release(nil)
			})
		})
	}
}

// The claim is granted for the epoch that the check returns, not for the one that
// the caller knew.
func TestClaimIsForTheEpochOfTheCheck(t *testing.T) {
	n := newNode(newSpy())
	outdated := n.entry(t, "a")
	if err := n.Invalidate(t.Context(), "a", terms); err != nil {
		t.Fatal(err)
	}
	h := n.write(t)
	checks := 0
	claimed, err := h.AcquireClaim(t.Context(), planFor("a"), outdated, func(*etagcache.Entry) (Wish, error) {
		checks++
		return Wish{Wanted: true, Epoch: n.entry(t, "a").Epoch}, nil
	})
	if !claimed || err != nil || checks != 1 {
		t.Errorf("claimed: %v after %d checks, %v", claimed, checks, err)
	}
	h.Release(nil)
}

// If the claim isn't wanted, or can't be had, then what was taken before it is held
// until it is released, nothing after it is taken, and no other write has to wait
// in the queue.
func TestUnwantedClaim(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		check Check
		fail  func(string) error
		err   error
	}{
		"isn't wanted":     {check: func(*etagcache.Entry) (Wish, error) { return Wish{}, nil }},
		"can't be checked": {check: func(*etagcache.Entry) (Wish, error) { return Wish{}, broken }, err: broken},
		"can't be had": {
			check: func(e *etagcache.Entry) (Wish, error) { return Wish{Wanted: true, Epoch: e.Epoch}, nil },
			fail:  failing("claim m", etagcache.ErrUnavailable), err: etagcache.ErrUnavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := newSpy()
			n := newNode(store)
			store.failWith(tt.fail)
			h := n.write(t)
			claimed, err := h.AcquireClaim(t.Context(), planFor("m", changed("a"), changed("z")), n.entry(t, "m"), tt.check)
			if claimed || !errors.Is(err, tt.err) || h.Claimed() {
				t.Errorf("claimed: %v, %v, %v", claimed, h.Claimed(), err)
			}
			if !n.busy(t, "a") || n.busy(t, "m") || n.busy(t, "z") {
				t.Errorf("busy: %v, %v, %v", n.busy(t, "a"), n.busy(t, "m"), n.busy(t, "z"))
			}
			h.Release(nil)
			if n.busy(t, "a") {
				t.Error("what was taken first is still held")
			}
			store.failWith(nil)
			n.claim(t, planFor("m", changed("a"))).Release(nil)
		})
	}
}

// A write that fails halfway holds what it has, so that a release ends it.
func TestFailureHalfway(t *testing.T) {
	plan := planFor("m", changed("a"), changed("z"))
	plan.Subtrees = []relation.Other{changed("age")}
	for _, call := range []string{"pass a", "pass m", "pass z", "pass age"} {
		store := newSpy()
		n := newNode(store)
		store.failWith(failing(call, etagcache.ErrUnavailable))
		h := n.write(t)
		if err := h.AcquirePass(t.Context(), plan); !errors.Is(err, etagcache.ErrUnavailable) {
			t.Errorf("%s: %v", call, err)
		}
		h.Release(nil)
		for _, key := range []string{"a", "m", "z", "age"} {
			if n.busy(t, key) {
				t.Errorf("%s: %s is still held", call, key)
			}
		}
	}
}

// A claim is alone, passes go together, and so do locks that are shared. How long
// the second write waits for the first, which ends after a minute, shows it. A
// minute is longer than the lease.
func TestExclusion(t *testing.T) {
	takeClaim := func(plan relation.Plan) func(*testing.T, node, *Holds) error {
		return func(t *testing.T, n node, h *Holds) error {
			_, err := h.AcquireClaim(t.Context(), plan, n.entry(t, plan.Subject.Key), wanted(n, plan.Subject.Key))
			return err
		}
	}
	takePass := func(plan relation.Plan) func(*testing.T, node, *Holds) error {
		return func(t *testing.T, _ node, h *Holds) error { return h.AcquirePass(t.Context(), plan) }
	}
	claim, pass := takeClaim(planFor("a")), takePass(planFor("a"))
	for _, tt := range []struct {
		name          string
		first, second func(*testing.T, node, *Holds) error
		waits         bool
	}{
		{"a claim waits for a claim", claim, claim, true},
		{"a claim waits for a pass", pass, claim, true},
		{"a pass waits for a claim", claim, pass, true},
		{"passes go together", pass, pass, false},
		{"a claim waits for a pass on what is changed", takePass(planFor("b", changed("a"))), claim, true},
		{"a pass on what is changed waits for a claim", claim, takeClaim(planFor("b", changed("a"))), true},
		{"writes that change the same go together", takeClaim(planFor("b", changed("a"))), takeClaim(planFor("c", changed("a"))), false},
		{"locks are shared", takeClaim(planFor("b", shared("l"))), takeClaim(planFor("c", shared("l"))), false},
		{"an exclusive lock waits for a shared one", takeClaim(planFor("b", shared("l"))), takePass(planFor("c", exclusive("l"))), true},
		{"a shared lock waits for an exclusive one", takePass(planFor("b", exclusive("l"))), takeClaim(planFor("c", shared("l"))), true},
		{"an exclusive lock waits for an exclusive one", takePass(planFor("b", exclusive("l"))), takePass(planFor("c", exclusive("l"))), true},
		{"different resources have nothing to do with each other", claim, takeClaim(planFor("b")), false},
	} {
		for place, nodes := range map[string]int{"at one node": 1, "at two nodes": 2} {
			t.Run(tt.name+" "+place, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newSpy()
					at := []node{newNode(store), newNode(store)}[:nodes]
					one := at[0].write(t)
					if err := tt.first(t, at[0], one); err != nil {
						t.Fatal(err)
					}
					begun := time.Now()
					time.AfterFunc(time.Minute, func() { one.Release(nil) })
					two := at[nodes-1].write(t)
					if err := tt.second(t, at[nodes-1], two); err != nil {
						t.Fatal(err)
					}
					waited := time.Since(begun)
					if one.Lost() || two.Lost() {
						t.Errorf("lost: %v, %v", one.Lost(), two.Lost())
					}
					if tt.waits && waited != time.Minute || !tt.waits && waited != 0 {
						t.Errorf("waited %s", waited)
					}
					time.Sleep(time.Minute - waited)
					two.Release(nil)
				})
			})
		}
	}
}

// A write waits no longer than it may, and leaves no trace in the queue.
func TestWaiting(t *testing.T) {
	for name, acquire := range map[string]func(context.Context, *testing.T, node) error{
		"for a claim": func(waiting context.Context, t *testing.T, n node) error {
			_, err := n.write(t).AcquireClaim(waiting, planFor("a"), n.entry(t, "a"), wanted(n, "a"))
			return err
		},
		"for a pass": func(waiting context.Context, t *testing.T, n node) error {
			return n.write(t).AcquirePass(waiting, planFor("a"))
		},
		"for a lock": func(waiting context.Context, t *testing.T, n node) error {
			return n.write(t).AcquirePass(waiting, planFor("b", shared("a")))
		},
	} {
		for place, nodes := range map[string]int{"at one node": 1, "at two nodes": 2} {
			t.Run(name+" "+place, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newSpy()
					at := []node{newNode(store), newNode(store)}[:nodes]
					other := at[0].claim(t, planFor("a"))
					n := at[nodes-1]
					for range 2 {
						waiting, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						begun := time.Now()
						err := acquire(waiting, t, n)
						if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 10*time.Second {
							t.Errorf("after %s: %v", time.Since(begun), err)
						}
						cancel()
					}
					other.Release(nil)
					n.claim(t, planFor("a")).Release(nil)
				})
			})
		}
	}
}

// A grant that the store gives as the time to wait ends is not forgotten.
func TestGrantAtTheLastMoment(t *testing.T) {
	plan := planFor("m", changed("a"), shared("z"))
	for _, call := range []string{"pass a", "claim m", "pass z"} {
		synctest.Test(t, func(t *testing.T) {
			waiting, cancel := context.WithCancel(t.Context())
			store := newSpy()
			store.granted = func(got string) {
				if got == call {
					cancel()
				}
			}
			n := newNode(store)
			h := n.write(t)
			_, _ = h.AcquireClaim(waiting, plan, n.entry(t, "m"), wanted(n, "m"))
			h.Release(nil)
			for _, key := range []string{"a", "m", "z"} {
				if n.busy(t, key) {
					t.Errorf("%s: %s is still held", call, key)
				}
			}
		})
	}
}

// Writes of one node ask the store one after another, but not for a lock that they
// share: there the store gives those who want it alone their turn.
func TestQueue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plans []relation.Plan
		took  time.Duration // two grants that take a second each
	}{
		{"for what they change", []relation.Plan{planFor("b", changed("a")), planFor("c", changed("a"))}, 2 * time.Second},
		{"for a lock that they share", []relation.Plan{planFor("b", shared("a")), planFor("c", shared("a"))}, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				store.granted = func(call string) {
					if call == "pass a" {
						time.Sleep(time.Second)
					}
				}
				n := newNode(store)
				begun := time.Now()
				done := make(chan error)
				for _, plan := range tt.plans {
					go func() {
						h := n.write(t)
						err := h.AcquirePass(t.Context(), plan)
						h.Release(nil)
						done <- err
					}()
				}
				for range tt.plans {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(begun); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
			})
		})
	}
}

// What this node writes without the store's knowledge keeps claims and locks
// waiting: the store can't know of it.
func TestJournal(t *testing.T) {
	for name, plan := range map[string]relation.Plan{
		"a claim":           planFor("a"),
		"a shared lock":     planFor("b", shared("a")),
		"an exclusive lock": planFor("b", exclusive("a")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(newSpy())
				end := n.WriteWithoutStore([]string{"a"})
				begun := time.Now()
				time.AfterFunc(10*time.Second, end)
				h := n.claim(t, plan)
				if waited := time.Since(begun); waited != 10*time.Second {
					t.Errorf("waited %s", waited)
				}
				h.Release(nil)
			})
		})
	}
}

// A claim gives up when the resource never stays the same between the check and
// the claim.
func TestTooLively(t *testing.T) {
	n := newNode(newSpy())
	checks := 0
	h := n.write(t)
	claimed, err := h.AcquireClaim(t.Context(), planFor("a"), n.entry(t, "a"), func(*etagcache.Entry) (Wish, error) {
		checks++
		return Wish{Wanted: true, Epoch: "outdated"}, nil
	})
	if claimed || !errors.Is(err, ErrKeepsChanging) || checks != maxTries {
		t.Errorf("claimed: %v after %d checks, %v", claimed, checks, err)
	}
	n.claim(t, planFor("a")).Release(nil)
}

// TryPass takes a pass if nobody is in the way. It never waits.
func TestTryPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		n := newNode(store)
		begun := time.Now()
		claim := newNode(store).claim(t, planFor("a"))
		store.take()
		one := n.write(t)
		one.TryPass(t.Context(), "a")
		store.expect(t, "pass a")
		one.Release(nil) // nothing
		store.expect(t)
		claim.Release(nil)

		two, three := n.write(t), n.write(t)
		two.TryPass(t.Context(), "a")
		three.TryPass(t.Context(), "a")
		if two.Claimed() || !n.busy(t, "a") {
			t.Errorf("claimed: %v, busy: %v", two.Claimed(), n.busy(t, "a"))
		}
		two.Release(nil)
		if !n.busy(t, "a") {
			t.Error("the other pass ended, too")
		}
		three.Release(nil)
		if n.busy(t, "a") {
			t.Error("the pass was not ended")
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %s", waited)
		}
	})
}

// The lease counts from before the store was asked, because the store may have
// granted it long before its reply came.
func TestSlowReply(t *testing.T) {
	for _, call := range []string{"claim m", "pass a", "pass l"} {
		synctest.Test(t, func(t *testing.T) {
			store := newSpy()
			store.granted = func(got string) {
				if got == call {
					time.Sleep(lease)
				}
			}
			h := newNode(store).claim(t, planFor("m", changed("a"), shared("l")))
			synctest.Wait()
			if !h.Lost() {
				t.Errorf("%s: not lost although the lease is over", call)
			}
			h.Release(nil)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		store.granted = func(string) { time.Sleep(lease) }
		h := newNode(store).write(t)
		h.TryPass(t.Context(), "a")
		synctest.Wait()
		if !h.Lost() {
			t.Error("TryPass: not lost although the lease is over")
		}
		h.Release(nil)
	})
}

// A write that waits for a different one of its node hears that it has ended, and takes its claim
// over. If the check no longer wants that, the claim is given back.
func TestTakesOver(t *testing.T) {
	for name, still := range map[string]bool{"wanted": true, "no longer wanted": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				n := newNode(store)
				first := n.claim(t, planFor("a"))
				token := first.Token()
				var over string
				done := make(chan bool)
				second := n.write(t)
				go func() {
					claimed, err := second.AcquireClaim(t.Context(), planFor("a"), n.entry(t, "a"), func(entry *etagcache.Entry) (Wish, error) {
						return Wish{Wanted: still || over == "", Epoch: entry.Epoch, Successor: successor(func(seen etagcache.Entry) { over = etagcache.SettledEpoch(seen.Epoch) })}, nil
					})
					if err != nil {
						t.Error(err)
					}
					done <- claimed
				}()
				synctest.Wait()
				first.Release(nil)
				if claimed := <-done; claimed != still {
					t.Errorf("claimed: %v", claimed)
				}
				if over != etagcache.SettledEpoch(token) {
					t.Errorf("over with %q after the claim %q", over, token)
				}
				if busy := n.busy(t, "a"); busy != still {
					t.Errorf("busy: %v", busy)
				}
				want := []string{"claim a", "claim a", "settle a"} // the second claim is refused
				if !still {
					want = append(want, "settle a")
				}
				store.expect(t, want...)
				time.Sleep(2 * lease)
				if second.Lost() || n.busy(t, "a") != still {
					t.Errorf("the lease isn't kept: lost %v", second.Lost())
				}
				second.Release(nil)
			})
		})
	}
}

// successor wants to take over from a write that has led to what nobody knows.
type successor func(seen etagcache.Entry)

func (successor) Wants(o *etagcache.Observation) bool { return o == nil }

func (s successor) TakeOver(seen etagcache.Entry) { s(seen) }
