package storeshare

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// slowStore is a memory store that takes its time to settle.
type slowStore struct {
	*fakeStore
	settles func() // called before a settlement
	garbled bool   // nobody learns what the entry is like after a settlement
}

func (s *slowStore) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if s.settles != nil {
		s.settles()
	}
	if s.garbled {
		settlement.After = nil
	}
	return s.Store.Settle(ctx, g, settlement, t)
}

// always takes over.
func always(*etagcache.Observation) bool { return true }

// claimOf takes a claim on a, which must be free.
func claimOf(t *testing.T, s *Share) (etagcache.Grant, etagcache.Entry) {
	t.Helper()
	read, err := s.Read(t.Context(), "a", terms)
	if err != nil {
		t.Fatal(err)
	}
	grant, entry, err := s.Claim(t.Context(), "a", read.Epoch, terms)
	if err != nil {
		t.Fatal(err)
	}
	return grant, entry
}

// handOver ends a claim while a different write waits for that. It returns the claim that this
// one gets, and how long it waited for the ending and then for the claim.
func handOver(t *testing.T, s *Share, grant etagcache.Grant, seen etagcache.Entry) (next Next, ok bool, ended, heard time.Duration) {
	t.Helper()
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		end, err := WaitForEnd(t.Context(), s, "a", seen, terms, always)
		ended = time.Since(begun)
		if err != nil {
			t.Error(err)
		}
		if end != nil {
			next, ok = end.Next()
		}
		heard = time.Since(begun)
	}()
	synctest.Wait()
	if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
		t.Error(err)
	}
	<-done
	return next, ok, ended, heard
}

// Whoever waits for a claim of its own node hears that it has ended before the store does, and
// gets the next one with that.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{fakeStore: newFakeStore(), settles: func() { time.Sleep(10 * time.Millisecond) }}
		s := New(store, zap.NewNop())
		grant, entry := claimOf(t, s)
		next, ok, ended, heard := handOver(t, s, grant, entry)
		if !ok || ended != 0 || heard != 10*time.Millisecond {
			t.Fatalf("handed on: %v; it heard of the end after %s, and of the claim after %s", ok, ended, heard)
		}
		if next.Entry.Epoch != etagcache.SettledEpoch(grant.Token) || time.Since(next.Taken) != 10*time.Millisecond {
			t.Errorf("got %+v", next)
		}
		if held := s.grants.list(); len(held) != 1 || held[0].Left != terms.Lease-10*time.Millisecond {
			t.Errorf("held: %+v", held)
		}
		if err := s.Settle(t.Context(), next.Grant, etagcache.Settlement{}, terms); err != nil {
			t.Error(err)
		}
	})
}

// A node hands its claims on for a while, or a few times if other nodes write, too. Then those get
// theirs.
func TestHandOverEnds(t *testing.T) {
	const each = 10 * time.Millisecond
	for name, tt := range map[string]struct {
		others bool
		want   time.Duration
	}{
		"others don't write": {false, longestRun + each},
		"others write":       {true, (mostTurns + 1) * each},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				s := New(store, zap.NewNop())
				grant, entry := claimOf(t, s)
				if tt.others {
					if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
						t.Fatal(err)
					}
					elsewhere, _ := claimOf(t, New(store, zap.NewNop()))
					if _, _, err := s.Claim(t.Context(), "a", "", terms); !errors.Is(err, etagcache.ErrBusy) {
						t.Fatal(err)
					}
					if err := store.Settle(t.Context(), elsewhere, etagcache.Settlement{}, terms); err != nil {
						t.Fatal(err)
					}
					grant, entry = claimOf(t, s)
				}
				begun := time.Now()
				for {
					time.Sleep(each)
					next, ok, _, _ := handOver(t, s, grant, entry)
					if !ok {
						break
					}
					grant, entry.Epoch = next.Grant, next.Grant.Token
				}
				if took := time.Since(begun); took != tt.want {
					t.Errorf("it ended after %s", took)
				}
				if entry, ok := s.Recent("a"); ok {
					t.Errorf("what the node remembers gives it a head start: %+v", entry)
				}
				claimOf(t, s) // nobody holds one
			})
		})
	}
}

// A write that takes long is no reason to forget what it has led to, nor is a refused claim of
// this node a sign that others write.
func TestNoHandOverForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, _ := claimOf(t, s)
		if _, _, err := s.Claim(t.Context(), "a", "", terms); !errors.Is(err, etagcache.ErrBusy) {
			t.Fatal(err)
		}
		time.Sleep(2 * longestRun)
		if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Recent("a"); !ok {
			t.Error("it was forgotten")
		}
		if !s.recent.alone() {
			t.Error("others are thought to write")
		}
	})
}

// No claim is handed on that nobody could use, or that would keep others from their turn.
func TestHandsOnNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*slowStore, *Share)
		terms   etagcache.Terms // of whoever waits
		wanted  func(*etagcache.Observation) bool
		hears   bool // whether whoever waits hears of the end before the store does
	}{
		"the node has written without the store": {prepare: func(_ *slowStore, s *Share) { s.journal.once("b") }},
		"the node writes without the store":      {prepare: func(_ *slowStore, s *Share) { s.WriteWithoutStore([]string{"a"}) }},
		"the store is out of reach":              {prepare: func(_ *slowStore, s *Share) { s.reach.last.Store(outOfReach) }},
		"whoever waits has a longer lease":       {terms: etagcache.Terms{Lease: 2 * terms.Lease, Retention: terms.Retention}},
		"whoever waits doesn't want it": {wanted: func(o *etagcache.Observation) bool {
			return o == nil || o.Variant != "v" // what the write has led to
		}},
		"nobody learns what it is for": {prepare: func(f *slowStore, _ *Share) { f.garbled = true }, hears: true},
		"the resource changes meanwhile": {prepare: func(f *slowStore, _ *Share) {
			f.settles = func() {
				if err := f.Store.Invalidate(context.Background(), "a", terms); err != nil {
					panic(err)
				}
			}
		}, hears: true},
		"the node writes it without the store meanwhile": {prepare: func(f *slowStore, s *Share) {
			f.settles = func() { s.WriteWithoutStore([]string{"a"}) }
		}, hears: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slowStore{fakeStore: newFakeStore()}
				s := New(store, zap.NewNop())
				grant, entry := claimOf(t, s)
				if tt.prepare != nil {
					tt.prepare(store, s)
				}
				if tt.terms.Lease == 0 {
					tt.terms = terms
				}
				if tt.wanted == nil {
					tt.wanted = always
				}
				waiting, cancel := context.WithCancel(t.Context())
				var end *Ending
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					end, _ = WaitForEnd(waiting, s, "a", entry, tt.terms, tt.wanted)
				}()
				synctest.Wait()
				if err := s.Settle(t.Context(), grant, etagcache.Settlement{Observation: &etagcache.Observation{Variant: "v"}}, terms); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				cancel() // writes without the store may keep it waiting
				<-ended
				if (end != nil) != tt.hears {
					t.Fatalf("it heard early: %v", end != nil)
				}
				if end != nil {
					if next, ok := end.Next(); ok {
						t.Errorf("got %+v", next)
					}
				}
				p, err := store.Store.Peek(t.Context(), "a")
				if err != nil || p.Busy > 0 {
					t.Errorf("%v, busy for %s", err, p.Busy)
				}
				if entry, ok := s.Recent("a"); ok && entry.Epoch != p.Epoch {
					t.Errorf("it remembers the epoch %q, and it is %q", entry.Epoch, p.Epoch)
				}
			})
		})
	}
}

// A pass is never handed on: others may have one, too.
func TestHandsOnNoPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, entry, err := s.Pass(t.Context(), "a", terms)
		if err != nil {
			t.Fatal(err)
		}
		if next, ok, _, _ := handOver(t, s, grant, entry); ok {
			t.Errorf("got %+v", next)
		}
	})
}

// Of two who wait for the same claim, one takes over, and the other waits as ever.
func TestHandsOnToOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, entry := claimOf(t, s)
		got := make(chan bool, 2)
		for range 2 {
			go func() {
				end, err := WaitForEnd(t.Context(), s, "a", entry, terms, always)
				if err != nil {
					t.Error(err)
				}
				ok := end != nil
				if ok {
					_, ok = end.Next()
				}
				got <- ok
			}()
		}
		synctest.Wait()
		if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
			t.Error(err)
		}
		if a, b := <-got, <-got; a == b {
			t.Errorf("taken over: %v, %v", a, b)
		}
	})
}

// A write that waits no longer gets no claim.
func TestHandsOnToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, entry := claimOf(t, s)
		brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if end, err := WaitForEnd(brief, s, "a", entry, terms, always); end != nil || err == nil {
			t.Errorf("got %v, %v", end, err)
		}
		if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
			t.Error(err)
		}
		claimOf(t, s)
	})
}
