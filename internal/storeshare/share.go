package storeshare

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// Share is a store with what this process keeps beside it. It implements
// [etagcache.Store] and keeps its contract.
type Share struct {
	etagcache.Store
	opened etagcache.Store // as it was opened

	Queues   *Queues
	Lobby    *Lobby
	Unstable *Unstable
	Losses   *Losses

	journal *journal
	grants  *grants
	endings *endings
	recent  *recent // nil for a store in this process
	reach   *reach
	usage   *usage

	startFlusher sync.Once
	flusher      sync.WaitGroup
	closing      context.Context // until the share closes
	endUse       context.CancelFunc
}

// New returns a share of a store that was just opened.
func New(store etagcache.Store, logger *zap.Logger) *Share { return newShare(store, logger, nil) }

// newShare does the same, and measures the operations of the store. The meter may be nil.
func newShare(store etagcache.Store, logger *zap.Logger, meter *telemetry.StoreMeter) *Share {
	usage, reach := newUsage(), newReach(logger)
	closing, endUse := context.WithCancel(context.Background())
	recent := newRecent()
	if _, here := store.(*etagcache.Memory); here {
		recent = nil // the store is as near
	}
	grants := newGrants(graceful{measured{store, meter}, &usage.grace})
	return &Share{
		Store:    grants,
		opened:   store,
		Queues:   newQueues(),
		Lobby:    newLobby(),
		Unstable: newUnstable(),
		Losses:   &Losses{logger: &reach.logger},
		journal:  newJournal(maxJournal),
		grants:   grants,
		endings:  newEndings(),
		recent:   recent,
		reach:    reach,
		usage:    usage,
		closing:  closing,
		endUse:   endUse,
	}
}

// Read implements [etagcache.Store]. A resource that was written without the
// store's knowledge is busy until the store has heard of that.
func (s *Share) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	if err := s.CatchUp(ctx, t); err != nil {
		return etagcache.Entry{}, err
	}
	var entry etagcache.Entry
	begun := time.Now()
	err := s.reach.call(func() (err error) {
		entry, err = s.Store.Read(ctx, key, t)
		return err
	})
	s.Losses.heard(entry.Grace)
	switch {
	case err != nil:
	case s.journal.has(key):
		entry.Busy = max(entry.Busy, t.Lease)
	default:
		s.recent.putRead(key, entry, begun)
	}
	return entry, err
}

// Recent returns the entry that this node saw last, if it remembers one. Only a
// claim can tell whether it is current.
func (s *Share) Recent(key string) (etagcache.Entry, bool) { return s.recent.get(key) }

// Lately returns the entry of a resource if this node saw it a moment ago: it read the entry, or
// ended a write of the resource, within the last second, or ended a write that left no variants
// within the last half minute. Nothing that this node knows of has changed the entry since, but
// other nodes may have. Use it only for reads. If the response shows what the entry says, the
// store has nothing to keep. If the entry says nothing about it, the store checks the epoch when
// the response is observed.
func Lately(s *Share, key string) (etagcache.Entry, bool) {
	if !undisturbed(s, key) {
		return etagcache.Entry{}, false
	}
	return s.recent.lately(key)
}

// undisturbed reports whether the store can be reached, and this node neither writes a resource
// without it nor has written anything that it hasn't heard of.
func undisturbed(s *Share, key string) bool {
	return s.journal.due.Load() == 0 && s.reach.last.Load() == noTrouble && !s.journal.has(key)
}

// Apart returns a number that grows with each write that this node begins or ends without the store.
func Apart(s *Share) uint64 { return s.journal.noted.Load() }

// Observe implements [etagcache.Store].
func (s *Share) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	err := s.reach.call(func() error { return s.Store.Observe(ctx, key, before, o, t) })
	switch {
	case err == nil:
		s.recent.add(key, before, o)
	case errors.Is(err, etagcache.ErrStale):
		s.recent.removeOutdated(key, before.Epoch)
	default:
		s.recent.remove(key)
	}
	return err
}

// Claim implements [etagcache.Store].
func (s *Share) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (grant etagcache.Grant, entry etagcache.Entry, err error) {
	if err := s.CatchUp(ctx, t); err != nil {
		return grant, entry, err
	}
	if s.journal.has(key) {
		return grant, etagcache.Entry{Busy: t.Lease}, etagcache.ErrBusy
	}
	err = s.reach.call(func() (err error) {
		grant, entry, err = s.Store.Claim(ctx, key, epoch, t, replaces...)
		return err
	})
	s.Losses.heard(entry.Grace)
	switch {
	case errors.Is(err, etagcache.ErrStale):
		s.recent.removeOutdated(key, epoch)
	case errors.Is(err, etagcache.ErrBusy) && entry.Grace.Left == 0 && !s.grants.has(key, entry.Epoch):
		s.recent.othersWrite()
		fallthrough
	default:
		s.recent.remove(key) // the epoch has moved now
	}
	return grant, entry, err
}

// Pass implements [etagcache.Store].
func (s *Share) Pass(ctx context.Context, key string, t etagcache.Terms) (grant etagcache.Grant, entry etagcache.Entry, err error) {
	if err := s.CatchUp(ctx, t); err != nil {
		return grant, entry, err
	}
	err = s.reach.call(func() (err error) {
		grant, entry, err = s.Store.Pass(ctx, key, t)
		return err
	})
	s.Losses.heard(entry.Grace)
	s.recent.remove(key)
	return grant, entry, err
}

// Settle implements [etagcache.Store]. The breaker stops neither Renew nor Settle:
// ending what was begun is worth the time.
func (s *Share) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	end, yields := hearsOf(s, g, settlement.Observation, t)
	if end != nil {
		return handOn(ctx, s, end, g, settlement, t)
	}
	if s.recent == nil || yields { // what this node remembers would give it a head start
		defer s.recent.remove(g.Key)
		return s.reach.note(s.Store.Settle(ctx, g, settlement, t))
	}
	var after etagcache.Entry
	settlement.After = &after
	err := s.reach.note(s.Store.Settle(ctx, g, settlement, t))
	if err == nil && after.Epoch != "" && !s.journal.has(g.Key) {
		s.recent.settled(g.Key, after)
	} else {
		s.recent.remove(g.Key)
	}
	return err
}

// Holds reports whether the store says that a claim or pass is held.
func Holds(ctx context.Context, s *Share, g etagcache.Grant, t etagcache.Terms) bool {
	return s.reach.call(func() error { return s.Store.Spend(ctx, g, nil, t) }) == nil
}

// Invalidate implements [etagcache.Store]. If what is stored of the resource can't be read,
// it invalidates everything: one bad entry must not keep the journal from being flushed.
func (s *Share) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	err := s.reach.call(func() error { return s.Store.Invalidate(ctx, key, t) })
	s.recent.remove(key)
	return orAll(ctx, s, err, key, t)
}

// orAll invalidates everything if err says that what is stored can't be read. Otherwise it
// returns err.
func orAll(ctx context.Context, s *Share, err error, name string, t etagcache.Terms) error {
	if !errors.Is(err, etagcache.ErrUnreadable) {
		return err
	}
	s.reach.logger.Load().Warn("an entry of the store can't be read, so everything is invalidated: delete the entry",
		zap.String("resource", name), zap.Error(err))
	return s.InvalidateAll(ctx, t)
}

// InvalidateMatching implements [etagcache.Store]. The breaker stops neither it nor
// InvalidateAll: they may take longer than a request should.
func (s *Share) InvalidateMatching(ctx context.Context, prefix string, matches func(key string, whole bool) bool, t etagcache.Terms) (int, error) {
	defer s.recent.removeAll()
	n, err := s.Store.InvalidateMatching(ctx, prefix, matches, t)
	return n, orAll(ctx, s, s.reach.note(err), prefix+"*", t)
}

// InvalidateAll implements [etagcache.Store].
func (s *Share) InvalidateAll(ctx context.Context, t etagcache.Terms) error {
	defer s.recent.removeAll()
	return s.reach.note(s.Store.InvalidateAll(ctx, t))
}

// Peek returns what is stored of a resource and leaves that as it is. Journaled means that this
// process has written the resource without the store, which hasn't heard of it.
func Peek(ctx context.Context, s *Share, key string) (p etagcache.Peeked, journaled bool, err error) {
	err = s.reach.call(func() (err error) {
		p, err = s.Store.Peek(ctx, key)
		return err
	})
	return p, s.journal.has(key), err
}

// Trusted reports whether what is stored may decide alone. It may not if the store evicts
// keys, unless the operator has said that it may.
func Trusted(s *Share) bool {
	e, ok := s.opened.(interface{ Trusted() bool })
	return !ok || e.Trusted()
}

// Wait implements [etagcache.Store]. It also waits for the writes that this node
// makes without the store.
func (s *Share) Wait(ctx context.Context, key string, seen etagcache.Entry) error {
	idle := s.journal.inFlight(key)
	if idle == nil {
		return s.reach.note(s.Store.Wait(ctx, key, seen))
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitForJournal waits for the writes of key that this node makes without the
// store.
func (s *Share) WaitForJournal(ctx context.Context, key string) error {
	if s.journal.inFlight(key) == nil {
		return nil
	}
	return s.Wait(ctx, key, etagcache.Entry{})
}

// InvalidateOrJournal invalidates a resource, even if ctx has ended. If that fails,
// it leaves the resource to the journal, which invalidates it before the store is
// trusted again, and returns the error.
func (s *Share) InvalidateOrJournal(ctx context.Context, key string, t etagcache.Terms) error {
	err := s.Invalidate(context.WithoutCancel(ctx), key, t)
	if err != nil {
		s.journal.once(key)
	}
	return err
}

// WriteWithoutStore remembers a write of these keys that the store doesn't hear of.
// The write lasts until end is called. The journal keeps the keys until the store
// has heard of them.
func (s *Share) WriteWithoutStore(keys []string) (end func()) {
	var names []string
	for _, key := range keys {
		names = append(names, s.journal.begin(key))
	}
	return func() {
		for _, name := range names {
			s.journal.end(name)
		}
	}
}

// CatchUp invalidates what was written while the store was out of reach. The store
// can't be trusted until it has succeeded. It fails with ErrUnavailable while
// another call is catching up.
func (s *Share) CatchUp(ctx context.Context, t etagcache.Terms) error {
	if s.journal.due.Load() == 0 {
		return nil // the usual case, which needs nothing of what follows
	}
	ctx = context.WithoutCancel(ctx) // it serves the node, not only this client
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

// flushInBackground flushes the journal even if no request comes to do it: until it
// is flushed, other nodes trust what they know. Terms apply while the share has no
// user.
func (s *Share) flushInBackground(terms etagcache.Terms) {
	for {
		select {
		case <-s.journal.news:
		case <-s.closing.Done():
			return
		}
		for s.journal.due.Load() > 0 {
			select {
			case <-time.After(breakerRest):
			case <-s.closing.Done():
				return
			}
			if t := s.usage.terms(); t.Lease > 0 {
				terms = t
			}
			_ = s.CatchUp(context.Background(), terms)
		}
	}
}
