package stores

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// By default, the store takes an eighth of GOMEMLIMIT, or 512 MiB. This test doesn't run beside
// others, because the limit belongs to the process.
func TestMemoryShare(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for limit, want := range map[int64]int64{math.MaxInt64: 512 << 20, 8 << 30: 1 << 30, 4: 1} {
		debug.SetMemoryLimit(limit)
		if got := NewMemory().MaxSize; got != want {
			t.Errorf("with a limit of %d: %d, want %d", limit, got, want)
		}
	}
}

// The limits that were configured last count for a store that is open.
func TestMemoryReconfigure(t *testing.T) {
	m := Memory{MaxSize: 10_000}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	opened, err := m.OpenStore()
	if err != nil {
		t.Fatal(err)
	}
	store := opened.(*etagcache.Memory)
	fill := func() {
		for range 1000 {
			if _, err := store.Read(t.Context(), etagcache.NewToken(), etagcache.Terms{Lease: 1, Retention: math.MaxInt64}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	unlimited := store.Size()
	m.Reconfigure(store)
	if got := store.Size(); got > m.MaxSize || unlimited <= m.MaxSize {
		t.Errorf("the entries took %d bytes, and then %d", unlimited, got)
	}
	fill()
	if got := store.Size(); got > m.MaxSize {
		t.Errorf("the entries take %d bytes", got)
	}
}
