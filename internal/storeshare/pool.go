package storeshare

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// Opener is the interface of the modules in the namespace
// http.preconditions.stores.
//
// A module may also have these methods:
//
//   - Reconfigure(etagcache.Store) is called for each new config, whether the store
//     was just opened or is shared with an earlier config.
//   - OperationTimeout() time.Duration returns how long one operation may take. The
//     grace must be long enough for it.
//   - Local() says, by being there, that no other process uses the store.
type Opener interface {
	// StoreKey names the store. Modules with equal keys share one store, also
	// across config reloads. So two configurations that mean different stores must
	// have different keys. The key must not reveal a password.
	StoreKey() string

	// OpenStore returns the store. It must not wait for the network: Caddy can
	// start while the store is out of reach.
	OpenStore() (etagcache.Store, error)
}

// pool holds the open shares by their store's key, so that they outlive config
// reloads.
var pool = caddy.NewUsagePool()

// Membership is a handler's part in a share, from its provisioning to its cleanup.
type Membership struct {
	opener Opener
	logger *zap.Logger
	user   *User
	key    string
	share  *Share
	naming *naming
}

// Join takes a share of the store for a handler of the newest config. It opens the
// store if no share is open.
func Join(opener Opener, user User, logger *zap.Logger) (*Membership, error) {
	share, key, err := acquire(opener, logger)
	if err != nil {
		return nil, err
	}
	share.configure(opener, logger)
	m := &Membership{opener: opener, logger: logger, user: &user, key: key, share: share}
	share.join(m.user)
	m.naming = configs.join(user.Config, namingKey{key, user.Naming}, !local(opener), logger)
	return m, nil
}

// local reports whether no other process uses the store.
func local(opener Opener) bool {
	_, ok := opener.(interface{ Local() })
	return ok
}

// acquire takes a reference to the share in the pool, and opens the store if there
// is no such share. Each reference must be given back with pool.Delete.
func acquire(opener Opener, logger *zap.Logger) (share *Share, key string, err error) {
	key = opener.StoreKey()
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		store, err := opener.OpenStore()
		if err != nil {
			return nil, err
		}
		s := newShare(store, logger, telemetry.NewStoreMeter(kindOf(key)))
		s.reach.changed = func(up bool, err error) { s.usage.tell(kindOf(key), up, err) }
		s.configure(opener, logger)
		return s, nil
	})
	if err != nil {
		return nil, "", err
	}
	return value.(*Share), key, nil
}

// kindOf returns the kind of a store, which its key begins with.
func kindOf(key string) string {
	kind, _, _ := strings.Cut(key, ":")
	return kind
}

// configure applies what the newest config says about the share.
func (s *Share) configure(opener Opener, logger *zap.Logger) {
	s.reach.logger.Store(logger)
	if r, ok := opener.(interface{ Reconfigure(etagcache.Store) }); ok {
		r.Reconfigure(s.opened)
	}
}

// Leave gives the share back. Requests that are still being served keep it open.
func (m *Membership) Leave() error {
	m.share.usage.part(m.user)
	m.naming.whenDropped(func() { m.share.usage.forget(m.user) })
	m.naming.part()
	_, err := pool.Delete(m.key)
	return err
}

// Enter returns the share for a request. The share stays open until leave is
// called. When Caddy cleans a handler up, requests may still be on their way to it,
// for example because they wait for authentication. If the share is closed by then,
// Enter opens the store again, or uses a share that a newer config has opened and
// leaves its configuration alone.
func (m *Membership) Enter() (share *Share, leave func(), err error) {
	if m.share.usage.enter() {
		return m.share, m.share.leave, nil
	}
	share, key, err := acquire(m.opener, m.logger)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the store again: %w", err)
	}
	return share, func() { _, _ = pool.Delete(key) }, nil
}

// Begin begins a write, which lasts until [Write.End]. It waits for writes that a
// reload found in flight under names that it has removed: if they don't end in time,
// it fails with ErrOlderWrites and the error of waiting. It fails with
// ErrReplacedConfig if the write itself comes in under such names. It may also fail
// because the store can't be told of the new names; it then returns the write, which
// may go on without the store. The host is the request's, without its port, in one
// spelling for all.
func (m *Membership) Begin(waiting context.Context, host string, share *Share) (*Write, error) {
	return m.naming.begin(waiting, hostOf(host), func() error {
		terms := m.user.Terms
		terms.Lag = 0 // nothing was replaced
		return share.reach.call(func() error {
			return share.Store.InvalidateAll(context.WithoutCancel(waiting), terms)
		})
	})
}

// Count begins a write to a host that waits for nobody, and that nobody refuses.
func (m *Membership) Count(host string) *Write { return m.naming.count(hostOf(host)) }

// OpenShare is a share that handlers of the running config use.
type OpenShare struct {
	*Share
	// Kind names the kind of store. It is the beginning of the store's key: the full
	// key might help to guess a password.
	Kind string
	// Terms are the longest terms of all handlers.
	Terms etagcache.Terms
	// Templates are the key templates of all handlers.
	Templates []string
}

// AllOpen returns the shares that handlers of the running config use, ordered by
// the keys of their stores. They stay open until leave is called.
func AllOpen() (shares []OpenShare, leave func()) {
	byKey := make(map[string]OpenShare)
	var leaves []func()
	pool.Range(func(key, value any) bool {
		o := OpenShare{Share: value.(*Share)}
		o.Kind = kindOf(key.(string))
		o.Terms, o.Templates = o.usage.terms(), o.usage.templates()
		if len(o.Templates) == 0 { // its last handler is being cleaned up
			return true
		}
		if o.usage.enter() {
			byKey[key.(string)] = o
			leaves = append(leaves, o.leave)
		}
		return true
	})
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		shares = append(shares, byKey[key])
	}
	return shares, func() {
		for _, leave := range leaves {
			leave()
		}
	}
}

// join adds a user. The first one starts what goes on in the background.
func (s *Share) join(u *User) {
	s.usage.join(u)
	s.startFlusher.Do(func() {
		s.flusher.Go(func() { s.flushInBackground(u.Terms) })
		s.flusher.Go(func() { attend(s, u.Terms) })
	})
}

// leave ends the use of the share by one request.
func (s *Share) leave() {
	if s.usage.leave() {
		s.close()
	}
}

// Destruct closes the share once no request uses it. The pool calls it when the
// last reference is given back. Requests may still be running then.
func (s *Share) Destruct() error {
	if s.usage.retire() {
		s.close()
	}
	return nil
}

// close closes the store. It leaves what the store hasn't heard to the journals of
// all shares that are still open. One of them may have the same store, with
// different options, and it does the others no harm.
func (s *Share) close() {
	s.endUse()
	s.flusher.Wait()
	s.Losses.close()
	_ = s.journal.flush(func(key string) error {
		pool.Range(func(_, other any) bool {
			other.(*Share).journal.once(key)
			return true
		})
		return nil
	})
	if err := s.Store.Close(); err != nil {
		s.reach.logger.Load().Warn("closing the store", zap.Error(err))
	}
}
