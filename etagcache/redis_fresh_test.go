package etagcache_test

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// brisk has a lease that is over by the time that a test can wait for.
var brisk = etagcache.Terms{Lease: 500 * time.Millisecond, Retention: 24 * time.Hour, Grace: 250 * time.Millisecond}

var uptime = regexp.MustCompile(`uptime_in_seconds:(\d+)`)

// runFor waits until a server has been running for this many seconds.
func runFor(t *testing.T, s *redistest.Server, seconds int) {
	t.Helper()
	c := s.Client()
	for uptimeOf(t, c) < seconds {
		time.Sleep(10 * time.Millisecond)
	}
}

// uptimeOf returns for how many seconds a server says that it has been running.
func uptimeOf(t *testing.T, c *redis.Client) int {
	t.Helper()
	info, err := c.Info(t.Context(), "server").Result()
	same(t, err, nil)
	seconds, err := strconv.Atoi(uptime.FindStringSubmatch(info)[1])
	same(t, err, nil)
	return seconds
}

// A server that has been running for longer than any lease can last, and has granted
// nothing, can't have lost anything that counts.
func TestRedisFreshServerNeedsNoGrace(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	runFor(t, s, 3)
	a, b := open(t, plain(s), ""), open(t, plain(s), "")
	for _, store := range []etagcache.Store{a, b} {
		e, err := store.Read(t.Context(), "k", brisk)
		if err != nil || e.Busy != 0 || e.Grace.Left != 0 {
			t.Fatalf("got %+v, %v", e, err)
		}
	}
	_, _, err := a.Claim(t.Context(), "k", epochOf(t, b, "k"), brisk)
	same(t, err, nil)
}

// Shortly before a lease can have ended that began before the server, a grace ends with it.
func TestRedisGraceEndsWithTheLastLease(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	terms := brisk
	terms.Grace = 1500 * time.Millisecond // so leases of up to 6s count
	runFor(t, s, 6)
	e, err := open(t, plain(s), "").Read(t.Context(), "k", terms)
	over := uptimeOf(t, s.Client()) > 6 // the read may have come when no such lease could be left
	if err != nil || e.Grace.Left > time.Second || e.Grace.Left <= 0 && !over || e.Grace.Loss != etagcache.StartedEmpty {
		t.Fatalf("got %+v, %v", e, err)
	}
	later, err := open(t, plain(s), "").Read(t.Context(), "k", terms) // doesn't extend it
	if err != nil || later.Grace.Left > e.Grace.Left {
		t.Fatalf("got %+v, %v", later, err)
	}
}

// If anything can have been lost that somebody holds, a grace is as long as ever.
func TestRedisFullGrace(t *testing.T) {
	t.Parallel()
	grants := map[string]func(t *testing.T, s etagcache.Store){
		"a claim": func(t *testing.T, s etagcache.Store) {
			_, _, err := s.Claim(t.Context(), "k", epochOf(t, s, "k"), day)
			same(t, err, nil)
		},
		"a pass": func(t *testing.T, s etagcache.Store) {
			_, _, err := s.Pass(t.Context(), "k", day)
			same(t, err, nil)
		},
		"a restored pass": func(t *testing.T, s etagcache.Store) {
			same(t, s.Renew(t.Context(), etagcache.Grant{Key: "k", Token: "x", Pass: true}, endless), nil)
		},
	}
	for name, grant := range grants {
		t.Run(name+" was flushed", func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			grant(t, open(t, plain(s), ""))
			runFor(t, s, 3)
			flush(t, s)
			expectGrace(t, s, etagcache.Gone)
		})
		t.Run(name+" is held and the marker was deleted", func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			grant(t, open(t, plain(s), ""))
			runFor(t, s, 3)
			same(t, s.Client().Del(t.Context(), "caddy:preconditions:generation").Err(), nil)
			expectGrace(t, s, etagcache.Gone)
		})
		t.Run(name+" was flushed with the counts", func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			grant(t, open(t, plain(s), ""))
			runFor(t, s, 3)
			flush(t, s)
			same(t, s.Client().ConfigResetStat(t.Context()).Err(), nil)
			expectGrace(t, s, etagcache.Gone)
		})
	}
	t.Run("a claim of an earlier version was flushed", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		// What these have in common is that their scripts call TIME and PEXPIRE.
		same(t, s.Client().Eval(t.Context(), "redis.call('TIME') redis.call('HSET', KEYS[1], 'c:x', '1') return redis.call('PEXPIRE', KEYS[1], '60000')", []string{"k"}).Err(), nil)
		runFor(t, s, 3)
		flush(t, s)
		expectGrace(t, s, etagcache.Gone)
	})
	t.Run("the server has just started", func(t *testing.T) {
		t.Parallel()
		expectGrace(t, redistest.Start(t), etagcache.StartedEmpty)
	})
	t.Run("the server has a replica", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		redistest.StartReplica(t, s)
		runFor(t, s, 3)
		expectGrace(t, s, etagcache.StartedEmpty)
	})
	t.Run("the server was a replica", func(t *testing.T) {
		t.Parallel()
		s := redistest.StartReplica(t, redistest.Start(t))
		runFor(t, s, 3)
		same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
		expectGrace(t, s, etagcache.StartedEmpty)
	})
	t.Run("the server was a replica that was never connected", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t, "--replicaof", "127.0.0.1", "9")
		runFor(t, s, 3)
		same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
		expectGrace(t, s, etagcache.StartedEmpty)
	})
	t.Run("the server tells nothing", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t, "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-info", "--user", "admin", "on", ">secret", "~*", "&*", "+@all")
		admin := redis.NewClient(&redis.Options{Addr: s.Addr, Username: "admin", Password: "secret"})
		t.Cleanup(func() { _ = admin.Close() })
		for {
			info, err := admin.Info(t.Context(), "server").Result()
			same(t, err, nil)
			if n, _ := strconv.Atoi(uptime.FindStringSubmatch(info)[1]); n >= 3 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		expectGrace(t, s, etagcache.Gone)
	})
	t.Run("the gateway has known a different server", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		store := open(t, plain(s), "")
		epochOf(t, store, "k")
		s.Kill()
		s.Restart()
		runFor(t, s, 3)
		e, err := store.Read(t.Context(), "k", brisk)
		if err != nil || e.Grace.Left <= 0 || e.Grace.Loss != etagcache.StartedEmpty {
			t.Fatalf("got %+v, %v", e, err)
		}
	})
	t.Run("the server was restarted with a file", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		epochOf(t, open(t, plain(s), ""), "k")
		runFor(t, s, 3) // the server tells only seconds
		same(t, s.Client().Save(t.Context()).Err(), nil)
		s.Kill()
		s.Restart()
		runFor(t, s, 3)
		expectGrace(t, s, etagcache.Restarted)
	})
	t.Run("the server was promoted", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		epochOf(t, open(t, plain(s), ""), "k")
		runFor(t, s, 3)
		same(t, s.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "9").Err(), nil)
		same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
		expectGrace(t, s, etagcache.Replaced)
	})
}

// expectGrace checks that a gateway which comes first begins a full grace, and that others
// hear of it.
func expectGrace(t *testing.T, s *redistest.Server, loss etagcache.Loss) {
	t.Helper()
	terms := brisk
	for i := range 2 {
		e, err := open(t, plain(s), "").Read(t.Context(), "k", terms)
		if err != nil || e.Grace.Left <= 0 || e.Grace.Loss != loss || i == 0 && e.Grace.Left < terms.Grace {
			t.Fatalf("got %+v, %v, want a grace because: %v", e, err, loss)
		}
	}
	_, e, err := open(t, plain(s), "").Pass(t.Context(), "other", terms)
	if e.Busy <= 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
}

// A gateway that attends a store begins the grace before anybody asks: at once, and when the
// server is back.
func TestRedisIsAttended(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	heard := make(chan etagcache.Grace, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		store.Attend(ctx, func() etagcache.Terms { return endless }, func(g etagcache.Grace, err error) {
			if err == nil {
				heard <- g
			}
		})
	}()
	for range 2 {
		g := <-heard
		if g.Left <= 0 || g.Loss != etagcache.StartedEmpty {
			t.Fatalf("got %+v", g)
		}
		e, err := open(t, plain(s), "").Read(t.Context(), "k", day)
		if err != nil || e.Grace.Left <= 0 || e.Grace.Left > g.Left {
			t.Fatalf("got %+v, %v after %+v", e, err, g)
		}
		s.Kill()
		for len(heard) > 0 {
			<-heard
		}
		s.Restart()
	}
	cancel()
	<-done
}
