package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

var waitRules = []rule{
	{"wait returns at once if there is nothing to wait for", func(g *gateways) {
		wait := func(e etagcache.Entry) {
			g.Helper()
			g.check("wait", g.a.Wait(g.ctx, key, e), nil)
		}
		wait(etagcache.Entry{})
		before := g.read()
		wait(before)
		_, e := g.claim(long)
		wait(before)
		g.invalidate()
		wait(e)
	}},

	{"the end of a claim wakes the waiters at once", func(g *gateways) {
		g.prompt(func() func() {
			grant, _ := g.claim(long)
			return func() { g.check("settle", g.b.Settle(g.ctx, grant, etagcache.Settlement{}, long), nil) }
		})
	}},

	{"the end of a pass wakes the waiters at once", func(g *gateways) {
		g.prompt(func() func() {
			grant, _ := g.pass(long)
			return func() { g.check("settle", g.b.Settle(g.ctx, grant, etagcache.Settlement{}, long), nil) }
		})
	}},

	{"an invalidation wakes the waiters at once", func(g *gateways) {
		g.claim(long)
		g.prompt(func() func() {
			return func() { g.check("invalidate", g.b.Invalidate(g.ctx, key, long), nil) }
		})
	}},

	{"the end of a lease wakes the waiters", func(g *gateways) {
		_, e := g.claim(short)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { g.waitUntilMoved(g.a, e) })
		}
		wg.Wait()
	}},

	{"wait returns the error of its context", func(g *gateways) {
		_, e := g.claim(long)
		ctx, cancel := context.WithTimeout(g.ctx, 30*time.Millisecond)
		defer cancel()
		var err error
		for err == nil {
			err = g.a.Wait(ctx, key, e)
		}
		g.check("wait", err, context.DeadlineExceeded)

		ctx, cancel = context.WithCancel(g.ctx)
		done := make(chan error)
		go func() {
			var err error
			for err == nil {
				err = g.a.Wait(ctx, key, e)
			}
			done <- err
		}()
		cancel()
		g.check("wait", <-done, context.Canceled)
		g.refuseClaim()
	}},
}

// waitUntilMoved may be called from any goroutine.
func (g *gateways) waitUntilMoved(store etagcache.Store, seen etagcache.Entry) {
	for e := seen; e.Epoch == seen.Epoch; {
		err := store.Wait(g.ctx, key, seen)
		if err == nil {
			e, err = store.Read(g.ctx, key, long)
		}
		if err != nil {
			g.Errorf("wait: %v", err)
			return
		}
	}
}

// prompt tests that waiters are woken. It repeats a hand-over several times: begin
// makes the entry busy, and the function that it returns ends that. If no waiter
// were woken, each hand-over would take half a second.
func (g *gateways) prompt(begin func() (end func())) {
	g.Helper()
	const rounds = 10
	start := time.Now()
	for range rounds {
		end := begin()
		seen := g.read()
		var wg sync.WaitGroup
		for _, store := range []etagcache.Store{g.a, g.b, g.a} {
			wg.Go(func() { g.waitUntilMoved(store, seen) })
		}
		time.Sleep(5 * time.Millisecond) // most waiters are asleep now; the result doesn't depend on it
		end()
		wg.Wait()
	}
	if took := time.Since(start); took > rounds*250*time.Millisecond {
		g.Fatalf("%d hand-overs took %v", rounds, took)
	}
}
