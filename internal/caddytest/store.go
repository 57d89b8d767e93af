package caddytest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions"
	"github.com/caddy-preconditions/preconditions/etagcache"
)

// testStore is a store module by a third party: "store test <name>". Stores with
// different names share nothing.
type testStore struct {
	Name string `json:"name"`
}

func init() { caddy.RegisterModule(testStore{}) }

func (testStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.preconditions.stores.test", New: func() caddy.Module { return new(testStore) }}
}

func (s *testStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&s.Name) {
		return d.ArgErr()
	}
	return nil
}

func (s *testStore) StoreKey() string { return "test:" + s.Name }

func (s *testStore) OpenStore() (etagcache.Store, error) {
	o := &OpenedStore{Store: etagcache.NewMemory(0)}
	openedStores.Store(s.Name, o)
	return o, nil
}

// openedStores has the store that was opened last, by name.
var openedStores sync.Map

// Opened returns the store that was opened last by "store test <name>".
func Opened(t testing.TB, name string) *OpenedStore {
	t.Helper()
	o, ok := openedStores.Load(name)
	if !ok {
		t.Fatalf("store test %s was not opened", name)
	}
	return o.(*OpenedStore)
}

// OpenedStore is a store in memory that records how it is used.
type OpenedStore struct {
	etagcache.Store

	mu     sync.Mutex
	asked  []etagcache.Terms
	late   int // calls after Close
	closed bool
}

func (o *OpenedStore) note(terms etagcache.Terms) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, terms)
	if o.closed {
		o.late++
	}
}

// Terms returns the terms of all calls.
func (o *OpenedStore) Terms() []etagcache.Terms {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

// IsClosed returns whether the store was closed, and how many calls came after that.
func (o *OpenedStore) IsClosed() (closed bool, late int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed, o.late
}

func (o *OpenedStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	o.note(t)
	return o.Store.Read(ctx, key, t)
}

func (o *OpenedStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	o.note(t)
	return o.Store.Claim(ctx, key, epoch, t, replaces...)
}

func (o *OpenedStore) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	o.note(t)
	return o.Store.Pass(ctx, key, t)
}

func (o *OpenedStore) Settle(ctx context.Context, g etagcache.Grant, s etagcache.Settlement, t etagcache.Terms) error {
	o.note(t)
	return o.Store.Settle(ctx, g, s, t)
}

func (o *OpenedStore) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.Store.Close()
}

var (
	_ preconditions.StoreOpener = (*testStore)(nil)
	_ caddyfile.Unmarshaler     = (*testStore)(nil)
)
