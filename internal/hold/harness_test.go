package hold

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/validator"
	"go.uber.org/zap"
)

const lease = 6 * time.Second // renewed every second, lost after five without a success

var terms = etagcache.Terms{Lease: lease, Retention: time.Hour}

// spy is a memory store that records the calls which take, renew or end something.
type spy struct {
	etagcache.Store

	// granted, if not nil, runs before the caller learns what Claim or Pass
	// returned, and fail makes a call fail without reaching the store.
	granted func(call string)
	fail    func(call string) error

	mu    sync.Mutex
	calls []string
}

func newSpy() *spy { return &spy{Store: etagcache.NewMemory(0)} }

// failWith replaces fail, also while leases are renewed in the background.
func (s *spy) failWith(fail func(call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *spy) record(call, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call+" "+key)
	if s.fail != nil {
		return s.fail(call + " " + key)
	}
	return nil
}

func (s *spy) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	if err := s.record("claim", key); err != nil {
		return etagcache.Grant{}, etagcache.Entry{}, err
	}
	grant, entry, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	if s.granted != nil {
		s.granted("claim " + key)
	}
	if err == nil {
		err = ctx.Err() // as if the reply had come too late
	}
	return grant, entry, err
}

func (s *spy) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	if err := s.record("pass", key); err != nil {
		return etagcache.Grant{}, etagcache.Entry{}, err
	}
	grant, entry, err := s.Store.Pass(ctx, key, t)
	if s.granted != nil {
		s.granted("pass " + key)
	}
	if err == nil {
		err = ctx.Err() // as if the reply had come too late
	}
	return grant, entry, err
}

func (s *spy) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	if err := s.record("renew", g.Key); err != nil {
		return err
	}
	return s.Store.Renew(ctx, g, t)
}

func (s *spy) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if err := s.record("settle", g.Key); err != nil {
		return err
	}
	return s.Store.Settle(ctx, g, settlement, t)
}

// take returns the calls so far, and forgets them.
func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// expect compares the calls since the last take.
func (s *spy) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := s.take(); !slices.Equal(got, want) {
		t.Errorf("the store got\n%q, want\n%q", got, want)
	}
}

// failing makes calls of one kind fail, such as "renew" or "settle a".
func failing(call string, err error) func(string) error {
	return func(got string) error {
		if got == call || len(got) > len(call) && got[:len(call)+1] == call+" " {
			return err
		}
		return nil
	}
}

// node is a node that shares the store with others.
type node struct{ *storeshare.Share }

func newNode(store etagcache.Store) node { return node{storeshare.New(store, zap.NewNop())} }

// write returns the holds of a write at this node.
func (n node) write(t *testing.T) *Holds {
	return New(t.Context(), n.Share, storeshare.Client{}, terms, zap.NewNop(), nil)
}

// entry returns what the store says of a key, without counting as a call.
func (n node) entry(t *testing.T, key string) etagcache.Entry {
	t.Helper()
	entry, err := n.Store.Read(t.Context(), key, terms)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func (n node) busy(t *testing.T, key string) bool { return n.entry(t, key).Busy > 0 }

// see stores an observation of the only variant.
func (n node) see(t *testing.T, key, tag string) {
	t.Helper()
	if err := n.Observe(t.Context(), key, n.entry(t, key), *observation(tag), terms); err != nil {
		t.Fatal(err)
	}
}

// knownTag returns the tag that is stored, or nothing.
func (n node) knownTag(t *testing.T, key string) string {
	t.Helper()
	return n.entry(t, key).Variants.Of("v").ETag.Opaque
}

func observation(tag string) *etagcache.Observation {
	o := etagcache.Observation{Variant: "v"}
	o.State, o.ETag = validator.Present, validator.ETag{Opaque: tag, Valid: true}
	return &o
}

// planFor returns a plan in the order that relation.Rules.Plan makes. Others are
// in the order of their keys.
func planFor(subject string, others ...relation.Other) relation.Plan {
	return relation.Plan{Subject: resource.Subject{Key: subject}, Others: others}
}

func changed(key string) relation.Other { return relation.Other{Key: key, Role: relation.Changed} }

func shared(key string) relation.Other { return relation.Other{Key: key, Role: relation.SharedLock} }

func exclusive(key string) relation.Other {
	return relation.Other{Key: key, Role: relation.ExclusiveLock}
}

// wanted is a check that wants the claim whatever the state.
func wanted(n node, key string) Check {
	return func(entry *etagcache.Entry) (Wish, error) {
		if entry != nil {
			return Wish{Wanted: true, Epoch: entry.Epoch}, nil
		}
		read, err := n.Share.Read(context.Background(), key, terms)
		return Wish{Wanted: true, Epoch: read.Epoch}, err
	}
}

// claim takes a claim that nobody is in the way of.
func (n node) claim(t *testing.T, plan relation.Plan) *Holds {
	t.Helper()
	h := n.write(t)
	claimed, err := h.AcquireClaim(t.Context(), plan, n.entry(t, plan.Subject.Key), wanted(n, plan.Subject.Key))
	if !claimed || err != nil {
		t.Fatalf("claimed: %v, %v", claimed, err)
	}
	return h
}

// pass takes a pass that nobody is in the way of.
func (n node) pass(t *testing.T, plan relation.Plan) *Holds {
	t.Helper()
	h := n.write(t)
	if err := h.AcquirePass(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	return h
}
