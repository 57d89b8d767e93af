package etagcache_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/validator"
)

// gateUser has permission only for what a store needs, and for the key of one entry.
const gateUser = "--user gate on >secret ~one:k ~one:generation -@all " +
	"+eval +evalsha +hello +ping +time +info +hgetall +hmget +hset +hdel +pttl +pexpire +publish +subscribe"

func plain(s *redistest.Server) etagcache.RedisConfig {
	return etagcache.RedisConfig{Addresses: []string{s.Addr}}
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, etagcache.ErrUnavailable) {
		t.Fatalf("got error %v", err)
	}
}

// use calls all methods on one key.
func use(t *testing.T, s etagcache.Store, key string) {
	t.Helper()
	ctx := t.Context()
	grant, e := claim(t, s, key)
	_, _, busy := s.Claim(ctx, key, e.Epoch, day)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	waited := s.Wait(short, key, e)
	err := errors.Join(
		s.Renew(ctx, grant, day),
		s.Invalidate(ctx, key, day),
		s.Settle(ctx, grant, etagcache.Settlement{Unchanged: true}, day),
	)
	before, err2 := s.Read(ctx, key, day)
	err3 := s.Observe(ctx, key, before, observation("v"), day)
	pass, _, err4 := s.Pass(ctx, key, day)
	err = errors.Join(err, err2, err3, err4, s.Settle(ctx, pass, etagcache.Settlement{}, day))
	if err != nil || !errors.Is(busy, etagcache.ErrBusy) || !errors.Is(waited, context.DeadlineExceeded) {
		t.Fatalf("got errors %v; %v; %v", err, busy, waited)
	}
}

func observation(variant string) etagcache.Observation {
	return etagcache.Observation{
		Variant: variant,
		Vary:    "accept",
		Observed: validator.Observed{Own: true, Representation: validator.Representation{
			State:        validator.Present,
			ETag:         validator.ETag{Opaque: "33a64df551425fcc", Valid: true},
			LastModified: time.Unix(1763769600, 0),
		}},
	}
}

func TestRedisUsesOnlyTheKeyOfItsEntry(t *testing.T) {
	s := redistest.Start(t, strings.Fields(gateUser+" &one:handover")...)
	c := plain(s)
	c.Username, c.Password = "gate", "secret"
	store := open(t, c, "one:")
	use(t, store, "k")
	_, err := store.Read(t.Context(), "other", day)
	unavailable(t, err)
}

func TestRedisWaitsWithoutPermissionToPublish(t *testing.T) {
	s := redistest.Start(t, strings.Fields(gateUser+" resetchannels")...)
	c := plain(s)
	c.Username, c.Password = "gate", "secret"
	store := open(t, c, "one:")
	use(t, store, "k")
	grant, e := claim(t, store, "k")
	done := make(chan error)
	go func() { done <- store.Wait(t.Context(), "k", e) }()
	if err := store.Settle(t.Context(), grant, etagcache.Settlement{}, day); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRedisMemoryPerResource(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	const key = "https://example.com/documents/0b7d3c1e-7f0a-4c4e-9d53-1a2b3c4d5e6f"
	e, err := store.Read(t.Context(), key, day)
	if err != nil {
		t.Fatal(err)
	}
	o := observation("m2h9YEIzeGO4wsEc1wMHlQ")
	o.ETag.Opaque = "p3Dk9vXxQv8AIqz1DFmuBA" // as long as those of the handler
	o.Own, o.Backend = false, validator.ETag{Opaque: "1f-aBcDeFgHiJkLmNoPqRsTuVwXyZ0", Weak: true, Valid: true}
	if err := store.Observe(t.Context(), key, e, o, day); err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	name := "caddy:preconditions:" + key
	if n := c.MemoryUsage(t.Context(), name).Val(); n == 0 || n >= 400 {
		t.Errorf("%d bytes", n)
	}
	// In a cluster, there is a marker for each of its slots: 4 MB in all.
	if n := c.MemoryUsage(t.Context(), "caddy:preconditions:generation").Val(); n == 0 || n*16384 > 4<<20 {
		t.Errorf("%d bytes for a marker", n)
	}
	if d := c.PTTL(t.Context(), name).Val(); d <= day.Retention/2 || d > day.Retention {
		t.Errorf("it is kept for %v", d)
	}

	long := strings.Repeat(key, 100)
	if _, err := store.Read(t.Context(), long, day); err != nil {
		t.Fatal(err)
	}
	if n := c.MemoryUsage(t.Context(), c.Keys(t.Context(), "*#*").Val()[0]).Val(); n >= 600 {
		t.Errorf("%d bytes for a long key", n)
	}
}

// Without a spent state, an entry needs no more memory than without a lag.
func TestRedisMemoryOfSpentStates(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	c := s.Client()
	lagging := day
	lagging.Lag = time.Hour
	ctx := t.Context()

	// write performs a write, and returns what the entry needs during and after it.
	write := func(key string, terms etagcache.Terms, replaced ...string) (during, after int64) {
		t.Helper()
		name := "caddy:preconditions:" + key
		e, err := store.Read(ctx, key, terms)
		same(t, err, nil)
		o := observation("")
		proven := etagcache.Settlement{Observation: &o, Proven: true, Unchanged: replaced == nil, Replaced: replaced}
		grant, _, err := store.Claim(ctx, key, e.Epoch, terms)
		same(t, err, nil)
		during = c.MemoryUsage(ctx, name).Val()
		same(t, store.Settle(ctx, grant, proven, terms), nil)
		return during, c.MemoryUsage(ctx, name).Val()
	}
	const key = "https://example.com/documents/0b7d3c1e-7f0a-4c4e-9d53-1a2b3c4d5e6"
	_, without := write(key+"1", day)
	duringWithout, _ := write(key+"1", day)
	_, with := write(key+"2", lagging)
	duringWith, _ := write(key+"2", lagging)
	if with != without || duringWith > duringWithout+32 { // the lag takes at most one size class of the allocator
		t.Errorf("with a lag %d bytes, and %d during a write; without %d and %d", with, duringWith, without, duringWithout)
	}
	var replaced []string
	for i := range etagcache.MaxSpent {
		replaced = append(replaced, tag(i).Identity())
	}
	_, full := write(key+"2", lagging, replaced...)
	if full > without+40*etagcache.MaxSpent {
		t.Errorf("%d bytes with %d spent states, %d without", full, etagcache.MaxSpent, without)
	}
	t.Logf("%d bytes, %d during a write, %d with %d spent states", without, duringWith, full, etagcache.MaxSpent)

	// When they are over, the next write frees the memory.
	lagging.Lag = time.Millisecond
	for _, identity := range replaced {
		write(key+"3", lagging, identity)
	}
	time.Sleep(3 * time.Millisecond) // the lag, on Redis' clock
	// For how long the variant has been known may take more digits than before.
	if _, after := write(key+"3", lagging); after > without+32 {
		t.Errorf("%d bytes when nothing is spent any more, %d before", after, without)
	}
}

// tag returns the state with a certain tag.
func tag(i int) validator.Observed {
	o := observation("").Observed
	o.ETag.Opaque = strconv.Itoa(i)
	return o
}

// An ordinary read writes nothing, and a waiter doesn't poll.
func TestRedisIsQuiet(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	c := s.Client()
	info := func(section, field string) string {
		t.Helper()
		text := c.Info(t.Context(), section).Val()
		_, after, found := strings.Cut(text, field)
		if !found {
			t.Fatalf("no %q in %q", field, text)
		}
		value, _, _ := strings.Cut(after, "\r")
		return value
	}
	epochOf(t, store, "k")
	before := info("persistence", "rdb_changes_since_last_save:")
	for range 10 {
		epochOf(t, store, "k")
	}
	if after := info("persistence", "rdb_changes_since_last_save:"); after != before {
		t.Errorf("reads write: %s changes, %s before", after, before)
	}

	_, e := claim(t, store, "k")
	c.ConfigResetStat(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	if err := store.Wait(ctx, "k", e); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// One call at the beginning, perhaps one after subscribing, and two later.
	calls, _, _ := strings.Cut(info("commandstats", "cmdstat_evalsha:calls="), ",")
	if n, err := strconv.Atoi(calls); err != nil || n > 4 {
		t.Errorf("wait.lua ran %s times", calls)
	}
}

func TestRedisUnreachable(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	grant, e := claim(t, store, "k")
	done := make(chan error)
	go func() { done <- store.Wait(t.Context(), "k", e) }()

	s.Kill()
	start := time.Now()
	unavailable(t, store.Settle(t.Context(), grant, etagcache.Settlement{}, day))
	_, err := store.Read(t.Context(), "k", day)
	unavailable(t, err)
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	unavailable(t, <-done)

	// The server comes back without the scripts and without the claim.
	s.Restart()
	if err := store.Settle(t.Context(), grant, etagcache.Settlement{}, day); !errors.Is(err, etagcache.ErrLost) {
		t.Fatal(err)
	}
	use(t, store, "k")
}

func TestRedisFrozen(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	use(t, store, "k")
	s.Freeze()
	for range 2 { // with an old connection, then with a new one
		start := time.Now()
		_, err := store.Read(t.Context(), "k", day)
		unavailable(t, err)
		if took := time.Since(start); took < 200*time.Millisecond || took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	s.Thaw()
	use(t, store, "k")
}

func TestRedisWithADifferentTypeAtTheKey(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "x:")
	s.Client().Set(t.Context(), "x:string", "1", 0)
	terms := day
	terms.Lease = time.Second
	e, err := store.Read(t.Context(), "string", terms)
	if err != nil || e.Busy <= 0 || e.Busy > terms.Lease {
		t.Fatalf("got %+v, %v", e, err) // there may have been a claim
	}
	_, _, err = store.Claim(t.Context(), "string", e.Epoch, terms)
	same(t, err, etagcache.ErrBusy)
	e = idle(t, store, "string")
	_, _, err = store.Claim(t.Context(), "string", e.Epoch, terms)
	same(t, err, nil)
}

// A call whose reply is lost has its effect, and repeating it has no further one.
func TestRedisLostReply(t *testing.T) {
	s := redistest.Start(t)
	proxy := startLossyProxy(t, s.Addr)
	store := open(t, etagcache.RedisConfig{Addresses: []string{proxy.addr}}, "")
	use(t, store, "other") // caches the scripts, so the lost reply comes from a script
	ctx := t.Context()

	read := func() etagcache.Entry {
		t.Helper()
		e, err := store.Read(ctx, "k", day)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	twice := func(call func() error) {
		t.Helper()
		proxy.lose.Store(true)
		unavailable(t, call())
		if proxy.lose.Load() {
			t.Fatal("no reply was lost")
		}
		before := read()
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if after := read(); after.Epoch != before.Epoch || len(after.Variants) != len(before.Variants) {
			t.Fatalf("before %+v, after %+v", before, after)
		}
	}

	e := read()
	twice(func() error { return store.Observe(ctx, "k", e, observation("v"), day) })
	grant, _ := claim(t, store, "k")
	twice(func() error { return store.Renew(ctx, grant, day) })
	o := observation("w")
	s1 := etagcache.Settlement{Unchanged: true, Observation: &o}
	twice(func() error { return store.Settle(ctx, grant, s1, day) })
	if n := len(read().Variants); n != 2 {
		t.Fatalf("%d variants", n)
	}
	pass, _, err := store.Pass(ctx, "k", day)
	if err != nil {
		t.Fatal(err)
	}
	twice(func() error { return store.Settle(ctx, pass, etagcache.Settlement{}, day) })
}
