package etagcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// losing is a Redis that loses its data, and goes out of reach, beside gateways that come
// and go. Holders renew their claims as package proxyhooks does.
type losing struct {
	*testing.T
	*rand.Rand
	terms   etagcache.Terms
	redis   *miniredis.Miniredis
	process *redistest.Process

	mu    sync.Mutex
	away  bool
	trace []string
	until map[string]time.Time // by holder: until when it relies on its claim
}

var errAway = errors.New("the server is away")

// awayConn fails as long as the server is away.
type awayConn struct {
	net.Conn
	l *losing
}

func (c awayConn) Write(b []byte) (int, error) {
	if c.l.isAway() {
		return 0, errAway
	}
	return c.Conn.Write(b)
}

func (l *losing) isAway() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

func (l *losing) setAway(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

func (l *losing) tell(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trace = append(l.trace, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// gateway opens a store that has not heard of anything.
func (l *losing) gateway() *etagcache.Redis {
	options := redistest.Simulated(l.redis)
	dial := options.Dialer
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if l.isAway() {
			return nil, errAway
		}
		c, err := dial(ctx, network, address)
		return awayConn{c, l}, err
	}
	return etagcache.NewRedis(redis.NewClient(options), etagcache.RedisOptions{})
}

// hold takes the claim as soon as it can, and holds it for a while. If the gateway is
// killed meanwhile, its write may land until the lease is over.
func (l *losing) hold(name string, store *etagcache.Redis, lasts time.Duration, killed bool) {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		taken := time.Now()
		e, err := store.Read(context.Background(), "k", l.terms)
		l.note(name, e)
		var g etagcache.Grant
		if err == nil {
			g, e, err = store.Claim(context.Background(), "k", e.Epoch, l.terms)
		}
		if err == nil {
			l.rely(name, taken)
			l.keep(name, store, g, taken, lasts, killed)
			return
		}
		time.Sleep(time.Second)
	}
}

func (l *losing) note(name string, e etagcache.Entry) {
	if e.Grace.Left > 0 {
		l.tell("%s hears of a grace: %v", name, e.Grace)
	}
}

// rely notes that a gateway relies on a claim from now on, and fails the test if a
// different one does.
func (l *losing) rely(name string, taken time.Time) {
	l.tell("%s holds a claim", name)
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, until := range l.until {
		if other != name && time.Now().Before(until) {
			l.Errorf("%s got a claim that %s relies on until %v: %s", name, other, until.Format("04:05.000"), l.trace)
		}
	}
	l.until[name] = taken.Add(l.terms.Lease)
}

func (l *losing) keep(name string, store *etagcache.Redis, g etagcache.Grant, taken time.Time, lasts time.Duration, killed bool) {
	end, next := time.Now().Add(lasts), l.terms.Lease/6
	for {
		time.Sleep(min(next, max(0, time.Until(end))))
		now := time.Now()
		if killed && !now.Before(end) {
			l.tell("%s is killed", name)
			return
		}
		if !now.Before(end) {
			err := store.Settle(context.Background(), g, etagcache.Settlement{}, l.terms)
			l.tell("%s settles: %v", name, err)
			break
		}
		switch err := store.Renew(context.Background(), g, l.terms); {
		case err == nil:
			taken, next = now, l.terms.Lease/6
			l.mu.Lock()
			l.until[name] = taken.Add(l.terms.Lease)
			l.mu.Unlock()
			continue
		case errors.Is(err, etagcache.ErrLost):
			l.tell("%s has lost its claim", name)
			return // what it has sent may still land
		}
		if next = l.terms.Lease / 30; now.Sub(taken) > l.terms.Lease {
			return
		}
	}
	l.mu.Lock()
	delete(l.until, name)
	l.mu.Unlock()
}

// disturb makes the server lose its data, perhaps while it is away.
func (l *losing) disturb() {
	time.Sleep(l.long(30 * time.Second))
	away := l.IntN(2) == 0
	lose := func() {
		switch l.IntN(4) {
		case 0, 3:
			l.tell("the server is restarted")
			l.process.Restart()
		case 1:
			l.tell("the server is flushed")
			l.redis.FlushAll()
		case 2:
			l.tell("the marker is deleted")
			l.redis.Del("caddy:preconditions:generation")
		}
	}
	if !away {
		lose()
		return
	}
	l.tell("the server is away")
	l.setAway(true)
	time.Sleep(l.long(5 * time.Second))
	lose()
	time.Sleep(l.long(30 * time.Second))
	l.tell("the server is back")
	l.setAway(false)
}

func (l *losing) long(most time.Duration) time.Duration { return time.Duration(l.Int64N(int64(most))) }

// Whatever a server loses, and whoever comes first afterwards, nobody gets a claim that a
// gateway relies on. If the grace is as long as the lease, this holds for a gateway that was
// killed, too.
func TestRedisNeverGivesAwayAClaim(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 5
	}
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			l := &losing{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), until: make(map[string]time.Time)}
			l.terms = etagcache.Terms{Lease: 30 * time.Second, Retention: time.Hour, Grace: 10 * time.Second}
			kill := seed%2 == 1
			if kill {
				l.terms.Grace = l.terms.Lease
			}
			l.redis = miniredis.NewMiniRedis()
			l.redis.ClockTTL(true)
			defer l.redis.Close()
			var err error
			if l.process, err = redistest.NewProcess(l.redis); err != nil {
				t.Fatal(err)
			}
			if l.IntN(2) == 0 {
				time.Sleep(l.long(3 * time.Minute))
			}
			var all sync.WaitGroup
			gateway := func(name string, first time.Duration) {
				lasts, killed := l.long(100*time.Second), kill && l.IntN(2) == 0
				all.Go(func() {
					time.Sleep(first)
					store := l.gateway()
					defer store.Close()
					l.hold(name, store, lasts, killed)
				})
			}
			gateway("the first", 0)
			gateway("the second", l.long(90*time.Second))
			l.disturb()
			gateway("the third", l.long(time.Second))
			gateway("the fourth", l.long(20*time.Second))
			all.Wait()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
