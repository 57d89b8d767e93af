package storeshare

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// User is a handler that uses a share.
type User struct {
	Terms    etagcache.Terms
	Template string // of its keys

	// Naming is the same text for handlers whose writes claim the same keys for the
	// same request.
	Naming string
	Config Config

	// Events may be nil.
	Events *telemetry.Emitter
}

// usage counts what uses a share: handlers, which join and part, and requests,
// which enter and leave. When the last handler has parted, the share retires. It is
// closed once the last request has left, too.
type usage struct {
	mu       sync.Mutex
	users    map[*User]struct{}
	parted   map[*User]struct{} // and their writes may be in flight
	requests int
	retired  bool

	// grace is the longest grace of all these users.
	grace atomic.Int64
}

func newUsage() *usage {
	return &usage{users: make(map[*User]struct{}), parted: make(map[*User]struct{})}
}

func (u *usage) join(user *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users[user] = struct{}{}
	u.setGrace()
}

func (u *usage) part(user *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.users, user)
	u.parted[user] = struct{}{}
}

// forget notes that no write of a user that has parted is in flight any more.
func (u *usage) forget(user *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.parted, user)
	u.setGrace()
}

// setGrace sets the grace of the present users. The holder of a claim needs its own
// grace to take it again, whoever begins the grace.
func (u *usage) setGrace() {
	var longest time.Duration
	for _, users := range []map[*User]struct{}{u.users, u.parted} {
		for user := range users {
			longest = max(longest, user.Terms.Grace)
		}
	}
	u.grace.Store(int64(longest))
}

// tell tells one of the present users whether the store can be used, for events: that many
// handlers use it is no reason to say it often.
func (u *usage) tell(kind string, up bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for user := range u.users {
		if user.Events.Store(kind, up, err) {
			return
		}
	}
}

// enter keeps the share open until leave is called. It reports false if the share
// is already closed.
func (u *usage) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired && u.requests == 0 {
		return false
	}
	u.requests++
	return true
}

// leave reports whether the share must be closed now.
func (u *usage) leave() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests--
	return u.retired && u.requests == 0
}

// retire notes that no handler uses the share any more. It reports whether the
// share must be closed now.
func (u *usage) retire() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retired = true
	return u.requests == 0
}

// terms returns the longest terms of all users, for calls on behalf of all.
func (u *usage) terms() etagcache.Terms {
	u.mu.Lock()
	defer u.mu.Unlock()
	var t etagcache.Terms
	for user := range u.users {
		t.Lease = max(t.Lease, user.Terms.Lease)
		t.Retention = max(t.Retention, user.Terms.Retention)
		t.Brief = max(t.Brief, user.Terms.Brief)
		t.Grace = max(t.Grace, user.Terms.Grace)
		t.Lag = max(t.Lag, user.Terms.Lag)
	}
	return t
}

// templates returns the key templates of the users.
func (u *usage) templates() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var templates []string
	for user := range u.users {
		templates = append(templates, user.Template)
	}
	slices.Sort(templates)
	return slices.Compact(templates)
}
