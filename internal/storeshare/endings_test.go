package storeshare

import (
	"context"
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
		end, err := WaitForEnd(t.Context(), s, "a", seen, terms)
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

// After a while, a node no longer hands its claims on, so that others get theirs.
func TestHandOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, entry := claimOf(t, s)
		begun := time.Now()
		for {
			time.Sleep(10 * time.Millisecond)
			next, ok, _, _ := handOver(t, s, grant, entry)
			if !ok {
				break
			}
			grant, entry.Epoch = next.Grant, next.Grant.Token
		}
		if took := time.Since(begun); took != longestRun+10*time.Millisecond {
			t.Errorf("it ended after %s", took)
		}
		if entry, ok := s.Recent("a"); ok {
			t.Errorf("what the node remembers gives it a head start: %+v", entry)
		}
		claimOf(t, s) // nobody holds one
	})
}

// No claim is handed on that nobody could use, or that would keep others from their turn.
func TestHandsOnNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*slowStore, *Share)
		lease   time.Duration // of whoever waits
		hears   bool          // whether whoever waits hears of the end before the store does
	}{
		"the node has written without the store": {func(_ *slowStore, s *Share) { s.journal.once("b") }, terms.Lease, false},
		"the store is out of reach":              {func(_ *slowStore, s *Share) { s.reach.last.Store(outOfReach) }, terms.Lease, false},
		"whoever waits has a longer lease":       {func(*slowStore, *Share) {}, 2 * terms.Lease, false},
		"nobody learns what it is for":           {func(f *slowStore, _ *Share) { f.garbled = true }, terms.Lease, true},
		"the resource changes meanwhile": {func(f *slowStore, _ *Share) {
			f.settles = func() {
				if err := f.Store.Invalidate(context.Background(), "a", terms); err != nil {
					panic(err)
				}
			}
		}, terms.Lease, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slowStore{fakeStore: newFakeStore()}
				s := New(store, zap.NewNop())
				grant, entry := claimOf(t, s)
				tt.prepare(store, s)
				wants := terms
				wants.Lease = tt.lease
				var end *Ending
				go func() {
					var err error
					if end, err = WaitForEnd(t.Context(), s, "a", entry, wants); err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait()
				if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
					t.Error(err)
				}
				synctest.Wait()
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
			})
		})
	}
}

// A write that waits no longer gets no claim.
func TestHandsOnToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFakeStore(), zap.NewNop())
		grant, entry := claimOf(t, s)
		brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if end, err := WaitForEnd(brief, s, "a", entry, terms); end != nil || err == nil {
			t.Errorf("got %v, %v", end, err)
		}
		if err := s.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
			t.Error(err)
		}
		claimOf(t, s)
	})
}
