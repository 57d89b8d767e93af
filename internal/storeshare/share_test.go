package storeshare

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// fakeStore is a memory store that can be out of reach, and counts its calls.
type fakeStore struct {
	etagcache.Store
	err         error // with which every call fails, if it isn't nil
	closed      int
	invalidated []string
	reads       int

	invalidating func(key string) // if not nil, called by Invalidate
	unreadable   string           // the key of an entry over which every call stumbles
	all          int              // calls of InvalidateAll
}

func newFakeStore() *fakeStore { return &fakeStore{Store: etagcache.NewMemory(0)} }

func (f *fakeStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	f.reads++
	if f.err != nil {
		return etagcache.Entry{}, f.err
	}
	return f.Store.Read(ctx, key, t)
}

func (f *fakeStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	if f.err != nil {
		return f.err
	}
	if key == f.unreadable && key != "" {
		return fmt.Errorf("%w: %w", etagcache.ErrUnavailable, etagcache.ErrUnreadable)
	}
	f.invalidated = append(f.invalidated, key)
	if f.invalidating != nil {
		f.invalidating(key)
	}
	return f.Store.Invalidate(ctx, key, t)
}

func (f *fakeStore) InvalidateMatching(ctx context.Context, prefix string, matches func(string, bool) bool, t etagcache.Terms) (int, error) {
	if f.unreadable != "" {
		return 1, fmt.Errorf("%w: %w", etagcache.ErrUnavailable, etagcache.ErrUnreadable)
	}
	return f.Store.InvalidateMatching(ctx, prefix, matches, t)
}

func (f *fakeStore) InvalidateAll(ctx context.Context, t etagcache.Terms) error {
	f.all++
	return f.Store.InvalidateAll(ctx, t)
}

func (f *fakeStore) Close() error {
	f.closed++
	return nil
}

// opener returns a store that already exists.
type opener struct {
	key    string
	store  etagcache.Store
	err    error
	opened int
}

func (o *opener) StoreKey() string { return o.key }

func (o *opener) OpenStore() (etagcache.Store, error) {
	o.opened++
	return o.store, o.err
}

// join takes a share of a store, as Provision does.
func join(t *testing.T, o Opener) *Membership {
	t.Helper()
	m, err := Join(o, User{Terms: terms}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// leave gives it back, as Cleanup does.
func leave(t *testing.T, m *Membership) {
	t.Helper()
	if err := m.Leave(); err != nil {
		t.Fatal(err)
	}
}

// enter keeps the share open, as a request does.
func enter(t *testing.T, m *Membership) (*Share, func()) {
	t.Helper()
	s, leave, err := m.Enter()
	if err != nil {
		t.Fatal(err)
	}
	return s, leave
}

var terms = etagcache.Terms{Lease: time.Second, Retention: 2 * time.Second}

func TestShare(t *testing.T) {
	t.Run("equal keys share a store, and the last handler closes it", func(t *testing.T) {
		f := newFakeStore()
		o := &opener{key: t.Name(), store: f}
		one := join(t, o)
		two := join(t, &opener{key: t.Name(), store: newFakeStore()})
		if one.share != two.share || o.opened != 1 {
			t.Errorf("shared: %v, opened %d times", one.share == two.share, o.opened)
		}
		leave(t, one)
		if f.closed != 0 {
			t.Error("closed while a handler uses it")
		}
		leave(t, two)
		if f.closed != 1 {
			t.Errorf("closed %d times", f.closed)
		}
	})

	t.Run("different keys mean different stores", func(t *testing.T) {
		one := join(t, &opener{key: t.Name() + "1", store: newFakeStore()})
		two := join(t, &opener{key: t.Name() + "2", store: newFakeStore()})
		if one.share == two.share {
			t.Error("shared")
		}
		leave(t, one)
		leave(t, two)
	})

	t.Run("a request keeps the store open after the last handler has left", func(t *testing.T) {
		f := newFakeStore()
		m := join(t, &opener{key: t.Name(), store: f})
		_, leave1 := enter(t, m)
		_, leave2 := enter(t, m)
		leave(t, m)
		leave1()
		if f.closed != 0 {
			t.Fatal("closed under a running request")
		}
		leave2()
		if f.closed != 1 {
			t.Fatalf("closed %d times", f.closed)
		}
		if m.share.usage.enter() {
			t.Error("entered a closed store")
		}
	})

	t.Run("a request that comes too late opens the store again, and shares it with the newest config", func(t *testing.T) {
		f, newest := newFakeStore(), zap.NewNop()
		o := &opener{key: t.Name(), store: f}
		old := join(t, o)
		leave(t, old)
		first, leave1 := enter(t, old)
		if first == old.share || o.opened != 2 || f.closed != 1 {
			t.Fatalf("opened %d times, closed %d times", o.opened, f.closed)
		}
		m, err := Join(o, User{Terms: terms}, newest)
		if err != nil || m.share != first {
			t.Fatalf("%v, shared: %v", err, m.share == first)
		}
		second, leave2 := enter(t, old)
		if second != first || first.reach.logger.Load() != newest {
			t.Errorf("shared: %v, logger of the newest config: %v", second == first, first.reach.logger.Load() == newest)
		}
		leave1()
		leave(t, m)
		if f.closed != 1 {
			t.Error("closed under a running request")
		}
		leave2()
		if f.closed != 2 {
			t.Errorf("closed %d times", f.closed)
		}
	})

	t.Run("a retired store is not handed out again", func(t *testing.T) {
		f := newFakeStore()
		old := join(t, &opener{key: t.Name(), store: f})
		_, leaveOld := enter(t, old)
		leave(t, old)
		again := join(t, &opener{key: t.Name(), store: newFakeStore()})
		if again.share == old.share {
			t.Error("the retired store is in use again")
		}
		leaveOld()
		if f.closed != 1 {
			t.Errorf("closed %d times", f.closed)
		}
		leave(t, again)
	})

	t.Run("a store that can't be opened is not kept", func(t *testing.T) {
		broken := errors.New("broken")
		if m, err := Join(&opener{key: t.Name(), err: broken}, User{}, zap.NewNop()); !errors.Is(err, broken) || m != nil {
			t.Fatalf("got %v and %v", m, err)
		}
		leave(t, join(t, &opener{key: t.Name(), store: newFakeStore()}))
	})

	t.Run("nothing is read before the store was told what was written without it", func(t *testing.T) {
		f := newFakeStore()
		m := join(t, &opener{key: t.Name(), store: f})
		defer leave(t, m)
		s := m.share
		s.journal.once("written")

		f.err = etagcache.ErrUnavailable
		if _, err := s.Read(t.Context(), "other", terms); !errors.Is(err, etagcache.ErrUnavailable) || f.reads != 0 {
			t.Fatalf("got %v after %d reads", err, f.reads)
		}
		f.err = nil
		if _, err := s.Read(t.Context(), "other", terms); err != nil || f.reads != 1 || len(f.invalidated) != 1 || f.invalidated[0] != "written" {
			t.Fatalf("got %v after %d reads, invalidated %v", err, f.reads, f.invalidated)
		}
	})

	t.Run("a write that the store doesn't know of keeps claims waiting", func(t *testing.T) {
		m := join(t, &opener{key: t.Name(), store: newFakeStore()})
		defer leave(t, m)
		s := m.share
		mustBegin(t, s.journal, "a")
		entry, err := s.Read(t.Context(), "a", terms)
		if err != nil || entry.Busy == 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if _, entry, err = s.Claim(t.Context(), "a", entry.Epoch, terms); !errors.Is(err, etagcache.ErrBusy) || entry.Busy == 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if other, err := s.Read(t.Context(), "b", terms); err != nil || other.Busy != 0 {
			t.Fatalf("b is busy for %v, %v", other.Busy, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Wait(gone, "a", entry); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		go s.journal.end("a")
		if err := s.Wait(t.Context(), "a", entry); err != nil {
			t.Fatal(err)
		}
		if entry, err = s.Read(t.Context(), "a", terms); err != nil || entry.Busy != 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if _, _, err = s.Claim(t.Context(), "a", entry.Epoch, terms); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("no claim slips past a write that ends while the store is told of others", func(t *testing.T) {
		f := newFakeStore()
		m := join(t, &opener{key: t.Name(), store: f})
		defer leave(t, m)
		s := m.share
		mustBegin(t, s.journal, "a")
		expectFlushed(t, s.journal, "a")
		before, err := f.Read(t.Context(), "a", terms)
		if err != nil {
			t.Fatal(err)
		}
		s.journal.once("b")
		f.invalidating = func(key string) {
			if key == "b" {
				s.journal.end("a")
			}
		}
		for range 2 { // now it is in flight, and now it has ended
			if _, _, err = s.Claim(t.Context(), "a", before.Epoch, terms); err == nil {
				t.Fatal("the claim is for an epoch from before the end of the write")
			}
		}
		if !errors.Is(err, etagcache.ErrStale) {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("requests that come while the store is told are refused", func(t *testing.T) {
		m := join(t, &opener{key: t.Name(), store: newFakeStore()})
		defer leave(t, m)
		s := m.share
		s.journal.once("written")
		s.journal.flushing.Lock()
		defer s.journal.flushing.Unlock()
		_, err := s.Read(t.Context(), "other", terms)
		if !errors.Is(err, etagcache.ErrUnavailable) || !errors.Is(err, errCatchingUp) {
			t.Errorf("got %v", err)
		}
	})
}

// Going out of reach and coming back are logged once each, not for every request
// in between.
func TestStoreOutOfReachIsLoggedOnce(t *testing.T) {
	f := newFakeStore()
	m := join(t, &opener{key: t.Name(), store: f})
	defer leave(t, m)
	s := m.share
	core, logs := observer.New(zapcore.InfoLevel)
	s.reach.logger.Store(zap.New(core))
	read := func(ctx context.Context) {
		_, _ = s.Read(ctx, "a", terms)
	}
	read(t.Context())
	f.err = etagcache.ErrUnavailable
	read(t.Context())
	read(t.Context())
	f.err = context.Canceled // says nothing about the store
	read(t.Context())
	f.err = nil
	read(t.Context())
	read(t.Context())

	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Level.String()+": "+entry.Message)
	}
	if want := []string{"warn: the store is out of reach", "warn: the store is back"}; !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// The operator learns of every kind of trouble with the store, also of one that follows
// another: what was out of reach can come back in a different version.
func TestEachKindOfTroubleIsLogged(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	r := newReach(zap.New(core))
	unusable := fmt.Errorf("%w: its format is 2", etagcache.ErrIncompatible)
	for _, err := range []error{
		etagcache.ErrUnavailable, unusable, context.Canceled, unusable, etagcache.ErrUnavailable, etagcache.ErrUnavailable, nil, unusable, nil, nil,
	} {
		_ = r.note(err)
	}
	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Message)
	}
	want := []string{
		"the store is out of reach", "the store can't be used", "the store is out of reach", "the store is back",
		"the store can't be used", "the store is back",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// An entry that nobody can read doesn't keep the node from catching up: everything is
// invalidated in its place, and the log names it. The same goes for a purge.
func TestUnreadableEntry(t *testing.T) {
	f := newFakeStore()
	m := join(t, &opener{key: t.Name(), store: f})
	defer leave(t, m)
	s := m.share
	core, logs := observer.New(zapcore.WarnLevel)
	s.reach.logger.Store(zap.New(core))
	f.unreadable = "bad"

	s.journal.once("bad")
	s.journal.once("good")
	if err := s.CatchUp(t.Context(), terms); err != nil || f.all != 1 || s.journal.has("bad") || s.journal.has("good") {
		t.Fatalf("got %v, all were invalidated %d times", err, f.all)
	}
	if n, err := s.InvalidateMatching(t.Context(), "ba", func(string, bool) bool { return true }, terms); err != nil || n != 1 || f.all != 2 {
		t.Errorf("got %d, %v, all were invalidated %d times", n, err, f.all)
	}
	named := logs.FilterField(zap.String("resource", "bad")).FilterMessageSnippet("can't be read")
	if named.Len() != 1 {
		t.Errorf("the log names it %d times: %v", named.Len(), logs.All())
	}
}

// Without a store that says otherwise, what is stored may decide alone.
func TestTrusted(t *testing.T) {
	if !Trusted(New(newFakeStore(), zap.NewNop())) {
		t.Error("a store that can't tell is not trusted")
	}
}

// A node doesn't remember entries of a store in its own memory: that is as near.
func TestNothingIsRememberedOfANearStore(t *testing.T) {
	t.Parallel()
	memory := etagcache.NewMemory(0)
	for _, tt := range []struct {
		store      etagcache.Store
		remembered bool
	}{{memory, false}, {&fakeStore{Store: memory}, true}} {
		s := New(tt.store, zap.NewNop())
		entry, err := s.Read(t.Context(), "/a", terms)
		if err != nil {
			t.Fatal(err)
		}
		o := etagcache.Observation{Observed: observed("1"), Variant: "v"}
		if err := s.Observe(t.Context(), "/a", entry, o, terms); err != nil {
			t.Fatal(err)
		}
		if entry, err := s.Read(t.Context(), "/a", terms); err != nil || !entry.Variants.Of("v").Equal(o.Observed) {
			t.Errorf("%T: %v, %v", tt.store, err, entry)
		}
		if _, ok := s.Recent("/a"); ok != tt.remembered {
			t.Errorf("%T: remembered: %v", tt.store, ok)
		}
	}
}
