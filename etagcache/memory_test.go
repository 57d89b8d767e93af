package etagcache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var day = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour}

func epochOf(t *testing.T, s etagcache.Store, key string) string {
	t.Helper()
	e, err := s.Read(t.Context(), key, day)
	if err != nil {
		t.Fatal(err)
	}
	return e.Epoch
}

func claim(t testing.TB, s etagcache.Store, key string) (etagcache.Grant, etagcache.Entry) {
	t.Helper()
	e, err := s.Read(t.Context(), key, day)
	if err != nil {
		t.Fatal(err)
	}
	grant, e, err := s.Claim(t.Context(), key, e.Epoch, day)
	if err != nil {
		t.Fatal(err)
	}
	return grant, e
}

func TestMemoryEvictsTheLeastRecentlyUsed(t *testing.T) {
	m := etagcache.NewMemory(3)
	a, b, c := epochOf(t, m, "a"), epochOf(t, m, "b"), epochOf(t, m, "c")
	if epochOf(t, m, "a") != a {
		t.Fatal("a was evicted")
	}
	epochOf(t, m, "d")
	if m.Len() != 3 {
		t.Fatalf("%d entries", m.Len())
	}
	if epochOf(t, m, "a") != a || epochOf(t, m, "c") != c {
		t.Fatal("a or c was evicted")
	}
	if epochOf(t, m, "b") == b {
		t.Fatal("b was not evicted, or its epoch is reused")
	}
}

func TestMemoryKeepsEntriesInUse(t *testing.T) {
	m := etagcache.NewMemory(2)
	claimed, _ := claim(t, m, "claimed")
	passed, _, err := m.Pass(t.Context(), "passed", day)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		epochOf(t, m, fmt.Sprint(i))
	}
	if m.Len() > 3 {
		t.Fatalf("%d entries", m.Len())
	}
	for _, grant := range []etagcache.Grant{claimed, passed} {
		if err := m.Settle(t.Context(), grant, etagcache.Settlement{}, day); err != nil {
			t.Fatalf("%s: %v", grant.Key, err)
		}
	}
	epochOf(t, m, "one more")
	if m.Len() != 2 {
		t.Fatalf("%d entries", m.Len())
	}
}

func TestMemoryKeepsEntriesWithSpentStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := etagcache.NewMemory(1)
		lagging := day
		lagging.Lag = 2 * day.Retention
		replaced := etagcache.Settlement{Replaced: []string{observation("").Identity()}}
		for i := range 3 {
			grant, _ := claim(t, m, fmt.Sprint(i))
			if err := m.Settle(t.Context(), grant, replaced, lagging); err != nil {
				t.Fatal(err)
			}
		}
		m.SetMaxEntries(1)
		time.Sleep(lagging.Lag - time.Nanosecond)
		for i := range 10 {
			epochOf(t, m, fmt.Sprint("more", i))
		}
		for i := range 3 {
			e, err := m.Read(t.Context(), fmt.Sprint(i), day)
			if err != nil || !e.IsSpent(observation("").Observed) {
				t.Fatalf("%d: got %+v, %v", i, e, err)
			}
		}
		time.Sleep(time.Nanosecond)
		epochOf(t, m, "one more")
		if n := m.Len(); n != 1 {
			t.Fatalf("%d entries", n)
		}
	})
}

func TestMemoryWakesWaitersWhenALeaseExpiresDuringEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := etagcache.NewMemory(1)
		_, e := claim(t, m, "k")
		done := make(chan error)
		go func() { done <- m.Wait(context.Background(), "k", e) }()
		synctest.Wait()
		time.Sleep(day.Lease)
		for i := range 10 {
			epochOf(t, m, fmt.Sprint(i))
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestMemorySetMaxEntries(t *testing.T) {
	m := etagcache.NewMemory(0)
	for i := range 1000 {
		epochOf(t, m, fmt.Sprint(i))
	}
	if m.Len() != 1000 {
		t.Fatalf("%d entries", m.Len())
	}
	grant, _ := claim(t, m, "0")
	last := epochOf(t, m, "999")
	m.SetMaxEntries(2)
	if m.Len() != 2 {
		t.Fatalf("%d entries", m.Len())
	}
	if epochOf(t, m, "999") != last {
		t.Fatal("the most recently used entry was evicted")
	}
	if err := m.Renew(t.Context(), grant, day); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryForgetsOldEntriesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := etagcache.NewMemory(0)
		for i := range 20 {
			epochOf(t, m, fmt.Sprint(i))
		}
		time.Sleep(day.Retention / 2)
		epochOf(t, m, "0")
		time.Sleep(day.Retention / 2)
		for i := range 5 {
			epochOf(t, m, fmt.Sprint("new", i))
		}
		if n := m.Len(); n != 6 {
			t.Fatalf("%d entries", n)
		}
	})
}
