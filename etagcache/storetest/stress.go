package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// Stress tests the implementation with many goroutines that read and write a few
// resources at once. It compares what the store says with the resources themselves.
func (s Suite) Stress(t *testing.T) {
	const workers, rounds = 16, 150
	a, b := s.Open(t)
	resources := make([]*resource, 3)
	for i := range resources {
		resources[i] = &resource{T: t, key: fmt.Sprintf("%s&%d", key, i)}
	}
	var wg sync.WaitGroup
	for i := range workers {
		store := []etagcache.Store{a, b}[i%2]
		wg.Go(func() {
			for range rounds {
				r := resources[rand.N(len(resources))]
				var err error
				switch n := rand.N(10); {
				case n < 4:
					err = r.get(store)
				case n < 8:
					err = r.put(store, n%2 == 0)
				case n < 9:
					err = r.post(store)
				default:
					err = store.Invalidate(t.Context(), r.key, long)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	claims, known := int64(0), int64(0)
	for _, r := range resources {
		claims += r.granted.Load()
		known += r.known.Load()
	}
	if claims == 0 || known == 0 {
		t.Fatalf("nothing was tested: %d claims, %d of them with a known variant", claims, known)
	}
}

// resource is changed only by holders of a claim or pass, so what the store tells
// the holder of a claim must be true.
type resource struct {
	*testing.T
	key     string
	version atomic.Int64

	claims, passes atomic.Int32
	epochs         sync.Map

	granted, known atomic.Int64
}

func (r *resource) seen() etagcache.Observation {
	return tagged("v", strconv.FormatInt(r.version.Load(), 10))
}

// get reads the resource and tells the store.
func (r *resource) get(store etagcache.Store) error {
	before, err := store.Read(r.Context(), r.key, long)
	if err != nil {
		return err
	}
	err = store.Observe(r.Context(), r.key, before, r.seen(), long)
	if errors.Is(err, etagcache.ErrStale) || errors.Is(err, etagcache.ErrBusy) {
		return nil
	}
	return err
}

// put claims the resource and, if change is set, changes it.
func (r *resource) put(store etagcache.Store, change bool) error {
	epoch := ""
	for {
		grant, e, err := store.Claim(r.Context(), r.key, epoch, long)
		if err == nil {
			r.fresh(e.Epoch)
			return r.write(store, grant, e, change)
		}
		if errors.Is(err, etagcache.ErrBusy) {
			err = store.Wait(r.Context(), r.key, e)
		}
		if err != nil && !errors.Is(err, etagcache.ErrStale) {
			return err
		}
		epoch = e.Epoch
	}
}

func (r *resource) write(store etagcache.Store, grant etagcache.Grant, e etagcache.Entry, change bool) error {
	r.granted.Add(1)
	if n, m := r.claims.Add(1), r.passes.Load(); n != 1 || m != 0 {
		r.Errorf("%d claims and %d passes are held at once", n, m)
	}
	if v, ok := e.Variants.Find("v"); ok {
		r.known.Add(1)
		if want := r.seen(); v.Observed != want.Observed {
			r.Errorf("the store knows %+v, but the resource is %+v", v, want)
		}
	}
	var s etagcache.Settlement
	if change {
		r.version.Add(1)
	} else {
		o := r.seen()
		s = etagcache.Settlement{Unchanged: true, Observation: &o}
	}
	r.claims.Add(-1)
	return store.Settle(r.Context(), grant, s, long)
}

// post takes a pass and changes the resource.
func (r *resource) post(store etagcache.Store) error {
	for {
		grant, e, err := store.Pass(r.Context(), r.key, long)
		if err == nil {
			r.fresh(e.Epoch)
			r.passes.Add(1)
			if n := r.claims.Load(); n != 0 {
				r.Errorf("%d claims are held beside a pass", n)
			}
			r.version.Add(1)
			r.passes.Add(-1)
			return store.Settle(r.Context(), grant, etagcache.Settlement{}, long)
		}
		if errors.Is(err, etagcache.ErrBusy) {
			err = store.Wait(r.Context(), r.key, e)
		}
		if err != nil {
			return err
		}
	}
}

// fresh fails the test if the epoch was seen before.
func (r *resource) fresh(epoch string) {
	if _, again := r.epochs.LoadOrStore(epoch, true); again {
		r.Errorf("epoch %q is reused", epoch)
	}
}
