package etagcache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrEvicts means that the server may evict keys. It then loses entries without losing the
// marker: nobody notices, and a second writer gets the claim that was evicted.
var ErrEvicts = errors.New("the server may evict keys, claims included, and nobody would notice: " +
	"redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration")

const (
	// noEviction is the policy of a server that refuses to store more rather than evict.
	noEviction = "noeviction"
	// policyInterval is how often a server is asked: somebody may set a different policy.
	policyInterval = time.Minute
)

// evictions knows what the servers do when their memory is full.
type evictions struct {
	client  redis.UniversalClient
	timeout time.Duration
	allowed bool
	warn    func(error) // may be nil

	asking chan struct{} // has an element while a call asks
	told   chan struct{} // closed after the first time

	mu     sync.Mutex
	asked  time.Time // zero if the servers must be asked again
	policy string    // one that evicts, if any server has one; empty if none has told
}

func newEvictions(client redis.UniversalClient, timeout time.Duration, o RedisOptions) *evictions {
	return &evictions{
		client:  client,
		timeout: timeout,
		allowed: o.AllowEviction,
		warn:    o.Warn,
		asking:  make(chan struct{}, 1),
		told:    make(chan struct{}),
	}
}

// Evicts reports whether a server may evict keys. It is known unless no server has been
// asked yet, or none tells.
func (e *evictions) Evicts() (evicts, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.policy != "" && e.policy != noEviction, e.policy != ""
}

// Trusted reports whether what is stored may decide alone. If the server may evict keys,
// the operator has to say so.
func (e *evictions) Trusted() bool {
	evicts, _ := e.Evicts()
	return !evicts || e.allowed
}

// again makes the next call ask: it may reach a different server.
func (e *evictions) again() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = time.Time{}
}

// due reports whether the servers must be asked.
func (e *evictions) due() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Since(e.asked) >= policyInterval
}

// look asks the servers, if that is due. The calls that come before the first answer wait
// for it. Later, only the call that asks waits.
func (e *evictions) look(ctx context.Context) {
	if !e.due() {
		return
	}
	select {
	case e.asking <- struct{}{}:
		e.ask(ctx)
		<-e.asking
	default:
		<-e.told
	}
}

// ask asks all servers for their policy. One that doesn't tell says nothing.
func (e *evictions) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.timeout)
	defer cancel()
	var mu sync.Mutex
	found := ""
	each := func(ctx context.Context, server redis.Cmdable) {
		info, err := server.Info(ctx, "memory").Result()
		if err != nil {
			return // without permission, for example: ErrBlind says so
		}
		mu.Lock() // the masters are asked concurrently
		defer mu.Unlock()
		if policy := policyIn(info); policy != "" && (found == "" || found == noEviction) {
			found = policy
		}
	}
	if c, ok := e.client.(clusterClient); ok {
		_ = c.ForEachMaster(ctx, func(ctx context.Context, server *redis.Client) error {
			each(ctx, server)
			return nil
		})
	} else {
		each(ctx, e.client)
	}
	e.note(found)
	select {
	case <-e.told:
	default:
		close(e.told)
	}
}

// note notes the policy, and warns if it is a new one that evicts.
func (e *evictions) note(policy string) {
	e.mu.Lock()
	news := policy != e.policy
	e.policy, e.asked = policy, time.Now()
	e.mu.Unlock()
	if evicts, _ := e.Evicts(); evicts && news && e.warn != nil {
		e.warn(fmt.Errorf("maxmemory-policy is %s: %w", policy, ErrEvicts))
	}
}

// policyIn returns the policy in what INFO shows, or nothing.
func policyIn(info string) string {
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
			return strings.TrimSpace(policy)
		}
	}
	return ""
}
