package etagcache_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

// What Memory says that its entries take is what they take, within a factor of two, and it is
// little.
func TestMemorySize(t *testing.T) {
	for name, test := range map[string]struct {
		entries, variants int
		written           bool
		most              int64 // bytes for each entry
	}{
		"one variant":       {100_000, 1, false, 225},
		"nothing known":     {100_000, 0, false, 130},
		"many variants":     {100, etagcache.MaxVariants, false, 6_000},
		"many spent states": {100, etagcache.MaxVariants, true, 3_000},
	} {
		t.Run(name, func(t *testing.T) {
			terms := day
			terms.Lag = time.Hour
			before := allocated()
			m := etagcache.NewMemory(0)
			for i := range test.entries {
				key := fmt.Sprintf("www.example.com/documents/%d", i)
				for j := range test.variants {
					observeNew(t, m, key, fmt.Sprintf("variant-%d-of-%d", j, i), terms)
				}
				e, err := m.Read(t.Context(), key, terms)
				same(t, err, nil)
				if test.written {
					grant, _, err := m.Claim(t.Context(), key, e.Epoch, terms)
					same(t, err, nil)
					same(t, m.Settle(t.Context(), grant, etagcache.Settlement{}, terms), nil)
				}
			}
			taken, said := allocated()-before, m.Size()
			t.Logf("%d bytes, %d for each entry; %d estimated", taken, taken/int64(test.entries), said)
			if said < taken/2 || said > taken*2 {
				t.Errorf("%d bytes are taken, and the store says %d", taken, said)
			}
			if each := said / int64(test.entries); each > test.most {
				t.Errorf("each entry takes %d bytes, want at most %d", each, test.most)
			}
			runtime.KeepAlive(m)
		})
	}
}

func allocated() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// observeNew stores a tag that no other variant has.
func observeNew(t *testing.T, m *etagcache.Memory, key, variant string, terms etagcache.Terms) {
	t.Helper()
	e, err := m.Read(t.Context(), key, terms)
	same(t, err, nil)
	same(t, m.Observe(t.Context(), key, e, etagcache.Observation{
		Variant: "0123456789012345678901" + variant,
		Vary:    "accept-language",
		Observed: validator.Observed{Representation: validator.Representation{
			State: validator.Present,
			ETag:  validator.ETag{Opaque: "0123456789" + variant, Valid: true},
		}},
	}, terms), nil)
}

// Whatever clients make up, the entries take no more than the maximum size. What gives way
// is what was used least recently.
func TestMemoryMaxSize(t *testing.T) {
	const most = 1 << 20
	m := etagcache.NewMemory(0)
	m.SetMaxSize(most)
	for i := range 5_000 {
		key := fmt.Sprintf("k%d", i)
		for j := range i % 8 {
			observeNew(t, m, key, fmt.Sprintf("v%d-%d", i, j), day)
		}
		_, err := m.Read(t.Context(), key, day)
		same(t, err, nil)
		if size := m.Size(); size > most {
			t.Fatalf("the entries take %d bytes", size)
		}
	}
	if size := m.Size(); size < most/2 {
		t.Errorf("the entries take only %d bytes", size)
	}
	if e, err := m.Read(t.Context(), "k4999", day); err != nil || len(e.Variants) != 4999%8 {
		t.Errorf("the last entry is %+v, %v", e, err)
	}
	if e, err := m.Read(t.Context(), "k7", day); err != nil || len(e.Variants) != 0 {
		t.Errorf("the first entry is %+v, %v", e, err)
	}

	m.SetMaxSize(most / 4)
	if size := m.Size(); size > most/4 {
		t.Errorf("with a smaller maximum, the entries take %d bytes", size)
	}
}

// A write in flight and a spent state don't make room for others.
func TestMemoryMaxSizeKeepsWrites(t *testing.T) {
	m := etagcache.NewMemory(0)
	m.SetMaxSize(20_000)
	terms := day
	terms.Lag = time.Hour
	observeNew(t, m, "spent", "v", terms)
	e, err := m.Read(t.Context(), "spent", terms)
	same(t, err, nil)
	written, _, err := m.Claim(t.Context(), "spent", e.Epoch, terms)
	same(t, err, nil)
	same(t, m.Settle(t.Context(), written, etagcache.Settlement{}, terms), nil)
	e, err = m.Read(t.Context(), "claimed", terms)
	same(t, err, nil)
	grant, _, err := m.Claim(t.Context(), "claimed", e.Epoch, terms)
	same(t, err, nil)
	for i := range 1_000 {
		_, err := m.Read(t.Context(), fmt.Sprintf("k%d", i), terms)
		same(t, err, nil)
	}
	same(t, m.Renew(t.Context(), grant, terms), nil)
	if e, err := m.Read(t.Context(), "spent", terms); err != nil || len(slices.Collect(e.Spent.All())) != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
}

// What nobody knows anything about leaves the memory, although other entries stay that were
// used before it.
func TestMemoryForgetsWhatKnowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := etagcache.NewMemory(0)
		terms := day
		terms.Brief = time.Minute
		observeNew(t, m, "known", "v", terms)
		for second := range 600 {
			for i := range 10 {
				_, err := m.Read(t.Context(), fmt.Sprintf("missing/%d/%d", second, i), terms)
				same(t, err, nil)
			}
			time.Sleep(time.Second)
		}
		if n := m.Len(); n > 700 {
			t.Errorf("%d entries are kept of the 600 that were read within a minute", n)
		}
		if e, err := m.Read(t.Context(), "known", terms); err != nil || len(e.Variants) != 1 {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}
