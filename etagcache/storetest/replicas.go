package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// replicas reads and writes a few resources with many goroutines. Their origin shows
// the past for up to the lag. What the holders of claims learn must be the present
// all the same.
func replicas(g *gateways) {
	const workers, rounds = 16, 100
	g.terms = brief
	resources := make([]*replicated, 4)
	for i := range resources {
		resources[i] = &replicated{gateways: g, key: fmt.Sprintf("%s&%d", key, i)}
	}
	var wg sync.WaitGroup
	for i := range workers {
		store := []etagcache.Store{g.a, g.b}[i%2]
		wg.Go(func() {
			for range rounds {
				r := resources[rand.N(len(resources))]
				r.pause()
				var err error
				switch n := rand.N(100); {
				case n < 78:
					err = r.get(store)
				case n < 90:
					err = r.put(store)
				case n < 95:
					err = r.post(store)
				case n < 98:
					err = r.vanish(store)
				default:
					err = store.Invalidate(g.ctx, r.key, brief)
				}
				if err != nil {
					g.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var known, refused int64
	for _, r := range resources {
		known += r.known.Load()
		refused += r.refused.Load()
	}
	if known == 0 || refused == 0 {
		g.Fatalf("nothing was tested: %d claims with a known variant, %d refused observations", known, refused)
	}
}

// replicated is a resource with replicas. Every write tells the store what it
// replaced, unless the store knows. The same states come back after a while.
type replicated struct {
	*gateways
	key string

	mu      sync.Mutex
	version int
	past    []pastState // in the order in which they were replaced

	known, refused atomic.Int64
}

type pastState struct {
	version  int
	replaced time.Time
}

// pause lets others run. The result doesn't depend on it.
func (r *replicated) pause() { time.Sleep(rand.N(2 * time.Millisecond)) }

func (r *replicated) state(version int) etagcache.Observation {
	return tagged("v", strconv.Itoa(version%40))
}

// present returns the present state.
func (r *replicated) present() etagcache.Observation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state(r.version)
}

// show returns the present state, or one that was replaced less than the lag ago.
func (r *replicated) show() etagcache.Observation {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.past) > 0 && now.Sub(r.past[0].replaced) >= brief.Lag {
		r.past = r.past[1:]
	}
	if len(r.past) == 0 || rand.N(3) > 0 {
		return r.state(r.version)
	}
	return r.state(r.past[rand.N(len(r.past))].version)
}

// write changes the resource, and returns the identity of what it replaced.
func (r *replicated) write() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	replaced := r.state(r.version)
	r.past = append(r.past, pastState{r.version, time.Now()})
	r.version++
	return ids(replaced)
}

// get reads the resource, perhaps slowly, and tells the store.
func (r *replicated) get(store etagcache.Store) error {
	before, err := store.Read(r.ctx, r.key, brief)
	if err != nil {
		return err
	}
	r.pause()
	shown := r.show()
	if rand.N(8) == 0 {
		time.Sleep(rand.N(2 * brief.Lag))
	}
	err = store.Observe(r.ctx, r.key, before, shown, brief)
	switch {
	case errors.Is(err, etagcache.ErrSpent):
		r.refused.Add(1)
		return nil
	case errors.Is(err, etagcache.ErrStale), errors.Is(err, etagcache.ErrBusy):
		return nil
	default:
		return err
	}
}

// claim claims the resource. What is known then must be the present.
func (r *replicated) claim(store etagcache.Store) (etagcache.Grant, etagcache.Entry, error) {
	epoch := ""
	for {
		grant, e, err := store.Claim(r.ctx, r.key, epoch, brief)
		if err == nil {
			if v, ok := e.Variants.Find("v"); ok {
				r.known.Add(1)
				if want := r.present(); v.Observed != want.Observed {
					r.Errorf("the store knows %+v, but the resource is %+v", v, want)
				}
			}
			return grant, e, nil
		}
		if errors.Is(err, etagcache.ErrBusy) {
			err = store.Wait(r.ctx, r.key, e)
		}
		if err != nil && !errors.Is(err, etagcache.ErrStale) {
			return grant, e, err
		}
		epoch = e.Epoch
	}
}

// put claims the resource and may change it.
func (r *replicated) put(store etagcache.Store) error {
	grant, e, err := r.claim(store)
	if err != nil {
		return err
	}
	s := etagcache.Settlement{Unchanged: rand.N(3) == 0}
	if !s.Unchanged {
		s.Replaced = r.write()
		s.Proven = rand.N(3) == 0
		if _, known := e.Variants.Find("v"); known && rand.N(2) == 0 {
			s.Replaced = nil
		}
	}
	r.pause()
	switch o := r.show(); {
	case s.Proven:
		o = r.present()
		s.Observation = &o
	case !e.IsSpent(o.Observed):
		s.Observation = &o
	}
	return store.Settle(r.ctx, grant, s, brief)
}

// post takes a pass and may change the resource.
func (r *replicated) post(store etagcache.Store) error {
	for {
		grant, e, err := store.Pass(r.ctx, r.key, brief)
		if err == nil {
			s := etagcache.Settlement{Unchanged: rand.N(3) == 0}
			r.pause()
			if !s.Unchanged {
				s.Replaced = r.write()
				if e.Spent.Left(s.Replaced[0]) > 2*brief.Lag && rand.N(2) == 0 {
					s.Replaced = nil // a pass that has not ended yet has dropped it
				}
			}
			r.pause()
			return store.Settle(r.ctx, grant, s, brief)
		}
		if errors.Is(err, etagcache.ErrBusy) {
			err = store.Wait(r.ctx, r.key, e)
		}
		if err != nil {
			return err
		}
	}
}

// vanish changes the resource without telling the store about the end of the write.
func (r *replicated) vanish(store etagcache.Store) error {
	grant, e, err := r.claim(store)
	if err != nil {
		return err
	}
	if _, known := e.Variants.Find("v"); !known || rand.N(2) == 0 {
		if err := store.Spend(r.ctx, grant, ids(r.present()), brief); err != nil {
			return err
		}
	}
	r.write()
	soon := brief
	soon.Lease = 5 * time.Millisecond
	return store.Renew(r.ctx, grant, soon)
}
