package simulate

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// openMemory returns what opens the one store of all nodes.
func openMemory(*run) func() etagcache.Store {
	m := etagcache.NewMemory(0)
	return func() etagcache.Store { return m }
}

// nodeStore is the store as a node reaches it.
type nodeStore struct {
	etagcache.Store
	node *node
}

var errCut = fmt.Errorf("%w: cut off", etagcache.ErrUnavailable)

// waits is the call that has no effect.
const waits = "Wait"

// call makes a call of the store. A call that may be repeated can take effect twice.
func call[T any](ctx context.Context, s *steps, name string, repeatable bool, f func(context.Context) (T, error)) (result T, err error) {
	var none T
	if s == nil {
		return f(ctx) // a renewal for nobody
	}
	before := s.next(asks + name)
	s.mu.Lock()
	reachable := !s.dead && !s.cutUntil.After(time.Now())
	s.mu.Unlock()
	again := func() {
		time.Sleep(before.wrong.lasts)
		_, err := f(context.WithoutCancel(ctx))
		s.tell("%s takes effect late: %v", name, err)
	}
	switch kind := before.wrong.kind; {
	case !reachable || kind == requestLost:
		s.tell("%s doesn't reach the store", name)
		return none, errCut
	case s.renewal && ctx.Err() != nil:
		return none, ctx.Err() // it was due while the node stood still, which notices that first
	case kind == takesEffect && name != waits:
		go again()
		s.tell("%s doesn't reach the store in time", name)
		return none, errCut
	}
	result, err = f(ctx)
	s.tell("%s: %v", name, err)
	if before.wrong.kind == repeats && repeatable {
		go again()
	}
	after := s.next(hearsOf + name)
	if !after.up || before.wrong.kind == replyLost {
		return none, errCut
	}
	return result, err
}

// hold notes that the store keeps a claim or pass from now on.
func (n *node) hold(o *op, g etagcache.Grant, lease time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o != nil {
		n.holders[g.Token], o.grant = o, g
	}
	if o = n.holders[g.Token]; o != nil {
		o.lease = time.Now().Add(lease)
	}
}

// stepsOf returns the steps of the op that a call is made for.
func stepsOf(ctx context.Context) *steps {
	if o, ok := ctx.Value(opKey{}).(*op); ok {
		return o.steps
	}
	return nil
}

// entryAnd is what Claim and Pass return.
type entryAnd struct {
	grant etagcache.Grant
	entry etagcache.Entry
}

func (s *nodeStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	return call(ctx, stepsOf(ctx), "Read", false, func(ctx context.Context) (etagcache.Entry, error) {
		return s.Store.Read(ctx, key, t)
	})
}

func (s *nodeStore) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	return s.do(ctx, "Observe", func(ctx context.Context) error { return s.Store.Observe(ctx, key, before, o, t) })
}

func (s *nodeStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	return s.take(ctx, "Claim", t, func(ctx context.Context) (etagcache.Grant, etagcache.Entry, error) {
		return s.Store.Claim(ctx, key, epoch, t, replaces...)
	})
}

func (s *nodeStore) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	return s.take(ctx, "Pass", t, func(ctx context.Context) (etagcache.Grant, etagcache.Entry, error) {
		return s.Store.Pass(ctx, key, t)
	})
}

// take takes a claim or a pass.
func (s *nodeStore) take(ctx context.Context, name string, t etagcache.Terms, f func(context.Context) (etagcache.Grant, etagcache.Entry, error)) (etagcache.Grant, etagcache.Entry, error) {
	steps := stepsOf(ctx)
	taken, err := call(ctx, steps, name, false, func(ctx context.Context) (taken entryAnd, err error) {
		taken.grant, taken.entry, err = f(ctx)
		if err == nil && steps != nil {
			s.node.hold(steps.op, taken.grant, t.Lease)
		}
		return taken, err
	})
	return taken.grant, taken.entry, err
}

func (s *nodeStore) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	steps := stepsOf(ctx)
	if steps == nil {
		s.node.mu.Lock()
		if o := s.node.holders[g.Token]; o != nil {
			steps = o.renewals
		}
		s.node.mu.Unlock()
	}
	return do(ctx, steps, "Renew", func(ctx context.Context) error {
		err := s.Store.Renew(ctx, g, t)
		if err == nil {
			s.node.hold(nil, g, t.Lease)
		}
		return err
	})
}

func (s *nodeStore) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	name := "Settle as changed"
	if settlement.Unchanged {
		name = "Settle as unchanged"
	}
	settlement.Next = nil // so that the next claim is a call of its own, and something may come in between
	return s.do(ctx, name, func(ctx context.Context) error { return s.Store.Settle(ctx, g, settlement, t) })
}

func (s *nodeStore) Spend(ctx context.Context, g etagcache.Grant, identities []string, t etagcache.Terms) error {
	return s.do(ctx, "Spend", func(ctx context.Context) error { return s.Store.Spend(ctx, g, identities, t) })
}

func (s *nodeStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	return s.do(ctx, "Invalidate", func(ctx context.Context) error { return s.Store.Invalidate(ctx, key, t) })
}

func (s *nodeStore) Wait(ctx context.Context, key string, seen etagcache.Entry) error {
	_, err := call(ctx, stepsOf(ctx), waits, false, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.Store.Wait(ctx, key, seen)
	})
	return err
}

func (s *nodeStore) do(ctx context.Context, name string, f func(context.Context) error) error {
	return do(ctx, stepsOf(ctx), name, f)
}

func do(ctx context.Context, s *steps, name string, f func(context.Context) error) error {
	_, err := call(ctx, s, name, true, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}
