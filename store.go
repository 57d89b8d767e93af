package preconditions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// StoreOpener is what a module in the namespace http.preconditions.stores must
// be.
type StoreOpener interface {
	// StoreKey names the store. Modules with equal keys share one store, also
	// across config reloads, so it must differ wherever the configuration
	// means another store. It must not reveal a password.
	StoreKey() string

	// OpenStore returns the store. It must not wait for the network, so that
	// Caddy can start while the store is away.
	OpenStore() (etagcache.Store, error)
}

// A StoreOpener may also have a method Reconfigure(etagcache.Store), which is
// called with the store that it shares, whether it was just opened or not.

// stores holds the open stores, by key, so that they outlive config reloads.
var stores = caddy.NewUsagePool()

// acquireStore opens the store, or takes a share of it if it is open, for a handler
// of the newest config.
func acquireStore(opener StoreOpener, logger *zap.Logger) (*sharedStore, string, error) {
	s, key, err := shareStore(opener, logger)
	if err == nil {
		s.configure(opener, logger)
	}
	return s, key, err
}

// shareStore is acquireStore for a handler of an old config, which has no say in a
// store that is open.
func shareStore(opener StoreOpener, logger *zap.Logger) (*sharedStore, string, error) {
	key := opener.StoreKey()
	value, _, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		store, err := opener.OpenStore()
		if err != nil {
			return nil, err
		}
		s := newSharedStore(store)
		s.configure(opener, logger)
		return s, nil
	})
	if err != nil {
		return nil, "", err
	}
	return value.(*sharedStore), key, nil
}

func (s *sharedStore) configure(opener StoreOpener, logger *zap.Logger) {
	s.logger.Store(logger)
	if r, ok := opener.(interface{ Reconfigure(etagcache.Store) }); ok {
		r.Reconfigure(s.Store)
	}
}

// sharedStore is a store that handlers share, with what this node keeps beside
// it: the entries that it saw last, what it wrote while the store was out of
// reach, and the writes that wait.
type sharedStore struct {
	etagcache.Store
	journal  *journal
	recent   *recent
	queues   *queues
	unstable *unstable
	breaker  *breaker
	logger   atomic.Pointer[zap.Logger]
	away     atomic.Bool // whether the last call found the store out of reach

	begin   sync.Once // to tell
	telling sync.WaitGroup
	closing chan struct{}

	mu       sync.Mutex
	handlers map[*Handler]struct{}
	users    int
	retired  bool
}

func newSharedStore(store etagcache.Store) *sharedStore {
	return &sharedStore{
		Store:    store,
		journal:  newJournal(maxJournal),
		recent:   newRecent(),
		queues:   newQueues(),
		unstable: newUnstable(),
		breaker:  newBreaker(),
		closing:  make(chan struct{}),
		handlers: make(map[*Handler]struct{}),
	}
}

// join tells that a handler uses the store, until it parts.
func (s *sharedStore) join(h *Handler) {
	s.begin.Do(func() { s.telling.Go(func() { s.tell(h.terms) }) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[h] = struct{}{}
}

func (s *sharedStore) part(h *Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handlers, h)
}

// terms returns the longest ones of the handlers, for what comes from none of
// them.
func (s *sharedStore) terms() etagcache.Terms {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t etagcache.Terms
	for h := range s.handlers {
		t.Lease = max(t.Lease, h.terms.Lease)
		t.Retention = max(t.Retention, h.terms.Retention)
		t.Grace = max(t.Grace, h.terms.Grace)
	}
	return t
}

// templates returns the key templates of the handlers.
func (s *sharedStore) templates() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var templates []string
	for h := range s.handlers {
		templates = append(templates, h.Key)
	}
	slices.Sort(templates)
	return slices.Compact(templates)
}

// enter keeps the store open until the function that it returns is called. It
// reports false if the store is closed already.
func (s *sharedStore) enter() (leave func(), open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired && s.users == 0 {
		return nil, false
	}
	s.users++
	return s.leave, true
}

func (s *sharedStore) leave() {
	s.mu.Lock()
	s.users--
	last := s.retired && s.users == 0
	s.mu.Unlock()
	if last {
		s.close()
	}
}

// Destruct closes the store as soon as no request uses it. Caddy calls it when
// the last handler is cleaned up, which is not when the last request ends.
func (s *sharedStore) Destruct() error {
	s.mu.Lock()
	s.retired = true
	last := s.users == 0
	s.mu.Unlock()
	if last {
		s.close()
	}
	return nil
}

// close closes the store. What was written while it was out of reach, the stores
// that are open are told in its place: one of them may be the same, with other
// options, and to none does it do harm.
func (s *sharedStore) close() {
	close(s.closing)
	s.telling.Wait()
	_ = s.journal.flush(func(key string) error {
		stores.Range(func(_, other any) bool {
			other.(*sharedStore).journal.once(key)
			return true
		})
		return nil
	})
	if err := s.Store.Close(); err != nil {
		s.logger.Load().Warn("closing the store", zap.Error(err))
	}
}

func (s *sharedStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	if err := s.catchUp(ctx, t); err != nil {
		return etagcache.Entry{}, err
	}
	var entry etagcache.Entry
	err := s.guard(func() (err error) {
		entry, err = s.Store.Read(ctx, key, t)
		return err
	})
	switch {
	case err != nil:
	case s.journal.has(key):
		entry.Busy = max(entry.Busy, t.Lease) // with a write that the store doesn't know of
	default:
		s.recent.remember(key, entry)
	}
	return entry, err
}

func (s *sharedStore) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	err := s.guard(func() error { return s.Store.Observe(ctx, key, before, o, t) })
	if err == nil {
		s.recent.add(key, before, o)
	} else {
		s.recent.forget(key)
	}
	return err
}

func (s *sharedStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms) (grant etagcache.Grant, entry etagcache.Entry, err error) {
	if err := s.catchUp(ctx, t); err != nil {
		return grant, entry, err
	}
	if s.journal.has(key) {
		return grant, etagcache.Entry{Busy: t.Lease}, etagcache.ErrBusy
	}
	err = s.guard(func() (err error) {
		grant, entry, err = s.Store.Claim(ctx, key, epoch, t)
		return err
	})
	s.recent.forget(key) // the epoch has moved, now or before
	return grant, entry, err
}

func (s *sharedStore) Pass(ctx context.Context, key string, t etagcache.Terms) (grant etagcache.Grant, entry etagcache.Entry, err error) {
	if err := s.catchUp(ctx, t); err != nil {
		return grant, entry, err
	}
	err = s.guard(func() (err error) {
		grant, entry, err = s.Store.Pass(ctx, key, t)
		return err
	})
	return grant, entry, err
}

func (s *sharedStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	return s.guard(func() error { return s.Store.Invalidate(ctx, key, t) })
}

// InvalidateMatching and InvalidateAll take their time, so that they don't tell whether the
// store answers within that of a request.
func (s *sharedStore) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t etagcache.Terms) (int, error) {
	n, err := s.Store.InvalidateMatching(ctx, prefix, matches, t)
	return n, s.note(err)
}

func (s *sharedStore) InvalidateAll(ctx context.Context, t etagcache.Terms) error {
	return s.note(s.Store.InvalidateAll(ctx, t))
}

func (s *sharedStore) Wait(ctx context.Context, key string, seen etagcache.Entry) error {
	idle := s.journal.inFlight(key)
	if idle == nil {
		return s.note(s.Store.Wait(ctx, key, seen))
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// catchUp marks what was written while the store was out of reach as changed.
// Until it has succeeded, the store is not to be trusted.
func (s *sharedStore) catchUp(ctx context.Context, t etagcache.Terms) error {
	ctx = context.WithoutCancel(ctx) // it is the node's affair, and not this client's
	err := s.journal.flush(func(key string) error {
		if key == allResources {
			return s.InvalidateAll(ctx, t)
		}
		return s.Invalidate(ctx, key, t)
	})
	if errors.Is(err, errCatchingUp) {
		return fmt.Errorf("%w: %w", etagcache.ErrUnavailable, err)
	}
	return err
}

// tell has the store catch up though no request may come that would do it: until
// then, other nodes go by what they know. Terms are what goes for the time when
// there is no handler.
func (s *sharedStore) tell(terms etagcache.Terms) {
	for {
		select {
		case <-s.journal.news:
		case <-s.closing:
			return
		}
		for s.journal.due.Load() > 0 {
			select {
			case <-time.After(breakerRest):
			case <-s.closing:
				return
			}
			if t := s.terms(); t.Lease > 0 {
				terms = t
			}
			_ = s.catchUp(context.Background(), terms)
		}
	}
}

// guard calls the store, unless it is known to be out of reach. The end of what
// was begun (Renew, Settle) isn't guarded: it is worth the time.
func (s *sharedStore) guard(call func() error) error {
	return s.note(s.breaker.do(call))
}

// note logs when the store goes out of reach and when it comes back.
func (s *sharedStore) note(err error) error {
	switch {
	case errors.Is(err, etagcache.ErrUnavailable):
		if s.away.CompareAndSwap(false, true) {
			s.logger.Load().Error("the store is out of reach", zap.Error(err))
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// says nothing about the store
	case s.away.CompareAndSwap(true, false):
		s.logger.Load().Info("the store is back")
	}
	return err
}
