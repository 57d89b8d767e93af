package etagcache_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

var (
	// endless has a grace that outlasts any test.
	endless = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Grace: time.Hour}
	// graced has a grace that a test can wait for.
	graced = etagcache.Terms{Lease: time.Hour, Retention: 24 * time.Hour, Grace: 100 * time.Millisecond}
)

// seen stores an observation and returns the entry with it.
func seen(t *testing.T, s etagcache.Store, key string) etagcache.Entry {
	t.Helper()
	e, err := s.Read(t.Context(), key, day)
	if err == nil {
		err = s.Observe(t.Context(), key, e, observation("v"), day)
	}
	if err == nil {
		e, err = s.Read(t.Context(), key, day)
	}
	if err != nil || len(e.Variants) == 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	return e
}

// unknown fails the test unless the store has forgotten before: it must refuse a
// claim for that epoch, and know no variants.
func unknown(t *testing.T, s etagcache.Store, key string, before etagcache.Entry) {
	t.Helper()
	_, e, err := s.Claim(t.Context(), key, before.Epoch, day)
	if !errors.Is(err, etagcache.ErrStale) || e.Epoch == before.Epoch || len(e.Variants) != 0 {
		t.Fatalf("got error %v and %+v", err, e)
	}
}

func busy(t *testing.T, s etagcache.Store, key string, terms etagcache.Terms) {
	t.Helper()
	if _, e, err := s.Pass(t.Context(), key, terms); !errors.Is(err, etagcache.ErrBusy) || e.Busy <= 0 {
		t.Fatalf("got error %v and %+v", err, e)
	}
}

func same(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// eventually repeats a call until the store is available.
func eventually(t *testing.T, call func() error) error {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		err := call()
		if !errors.Is(err, etagcache.ErrUnavailable) || time.Now().After(end) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// idle waits until no write is in flight. It gives up long before a lease expires.
func idle(t *testing.T, s etagcache.Store, key string) etagcache.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e, err := s.Read(ctx, key, day)
	for err == nil && e.Busy > 0 {
		if err = s.Wait(ctx, key, e); err == nil {
			e, err = s.Read(ctx, key, day)
		}
	}
	same(t, err, nil)
	return e
}

// compete claims the resource as soon as it can.
func compete(t *testing.T, s etagcache.Store, key string, terms etagcache.Terms) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, e, err := s.Claim(t.Context(), key, "", terms)
		for errors.Is(err, etagcache.ErrBusy) || errors.Is(err, etagcache.ErrStale) {
			if err = s.Wait(t.Context(), key, e); err == nil {
				e, err = s.Read(t.Context(), key, terms)
			}
			if err == nil {
				_, e, err = s.Claim(t.Context(), key, e.Epoch, terms)
			}
		}
		done <- err
	}()
	return done
}

// A server is killed in the middle of a write and comes back empty.
func TestRedisRestartEmpty(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, plain(s), ""), open(t, plain(s), "")
	grant, _ := claim(t, a, "k")
	s.Kill()
	same(t, a.Renew(t.Context(), grant, graced), etagcache.ErrUnavailable)
	s.Restart()

	same(t, a.Renew(t.Context(), grant, graced), nil)
	e, err := b.Read(t.Context(), "k", graced)
	same(t, err, nil)
	var settled atomic.Bool
	done := make(chan error)
	competing := compete(t, b, "k", graced)
	go func() {
		err := <-competing
		if !settled.Load() {
			err = errors.New("two gateways hold a claim")
		}
		done <- err
	}()
	for epoch := e.Epoch; e.Epoch == epoch; { // until the grace is over
		same(t, b.Wait(t.Context(), "k", e), nil)
		e, err = b.Read(t.Context(), "k", graced)
		same(t, err, nil)
	}
	same(t, a.Renew(t.Context(), grant, graced), nil)
	settled.Store(true)
	same(t, a.Settle(t.Context(), grant, etagcache.Settlement{}, graced), nil)
	same(t, <-done, nil)
}

// A server comes back, but the gateway that held the lease doesn't.
func TestRedisRestartWithoutHolder(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	grant, _ := claim(t, store, "k")
	s.Kill()
	s.Restart()
	begun := time.Now()
	same(t, <-compete(t, store, "k", graced), nil)
	if took := time.Since(begun); took < graced.Grace-5*time.Millisecond {
		t.Fatalf("the grace was over after %v", took)
	}
	same(t, store.Renew(t.Context(), grant, graced), etagcache.ErrLost)
}

// A server comes back with the data of an older file.
func TestRedisRestartFromSnapshot(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	ctx := t.Context()
	restart := func() {
		t.Helper()
		s.Kill()
		s.Restart()
	}
	save := func() {
		t.Helper()
		same(t, s.Client().Save(ctx).Err(), nil)
	}
	write := func() {
		t.Helper()
		grant, _ := claim(t, store, "k")
		same(t, store.Settle(ctx, grant, etagcache.Settlement{}, day), nil)
	}

	// forget empties the server, and opens a store that hasn't heard of a grace.
	forget := func() {
		t.Helper()
		flush(t, s)
		store = open(t, plain(s), "")
	}

	old := seen(t, store, "k")
	save()
	write()
	restart()
	unknown(t, store, "k", old)

	// A read that comes first notices the loss, too.
	old = seen(t, store, "k")
	save()
	write()
	restart()
	e, err := store.Read(ctx, "k", endless)
	if err != nil || e.Epoch == old.Epoch || len(e.Variants) != 0 || e.Busy == 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	forget()

	// A pass that comes first begins a grace.
	old = seen(t, store, "k")
	save()
	restart()
	busy(t, store, "k", endless)
	forget()

	// Renew restores a claim that is newer than the file.
	old = seen(t, store, "k")
	save()
	grant, _ := claim(t, store, "k")
	restart()
	same(t, store.Renew(ctx, grant, endless), nil)
	forget()

	// A claim that is in the file is kept, even without a grace.
	grant, _ = claim(t, store, "k")
	save()
	restart()
	busy(t, store, "k", day)
	same(t, store.Renew(ctx, grant, day), nil)
	same(t, store.Settle(ctx, grant, etagcache.Settlement{Unchanged: true}, day), nil)
	if e, err := store.Read(ctx, "k", day); err != nil || e.Busy != 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
}

// A server becomes a replica for a while, and is promoted again. The client's
// connection stays open.
func TestRedisPromotion(t *testing.T) {
	s := redistest.Start(t)
	c := plain(s)
	c.PoolSize = 1
	store := open(t, c, "")
	old := seen(t, store, "k")
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "9").Err(), nil)
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
	unknown(t, store, "k", old)
	unknown(t, store, "k", old) // and the second call finds the same

	// A read notices at once, even if the last check was only just before.
	old = seen(t, store, "k")
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "9").Err(), nil)
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
	e, err := store.Read(t.Context(), "k", endless)
	if err != nil || e.Epoch == old.Epoch || len(e.Variants) != 0 || e.Busy == 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
}

func TestRedisFailover(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	sentinel := redistest.StartSentinel(t, "main", master)
	c := etagcache.RedisConfig{Addresses: []string{sentinel.Addr}, SentinelMaster: "main"}
	a, b := open(t, c, ""), open(t, c, "")
	ctx := t.Context()
	waitForReplica(t, sentinel)

	before := seen(t, a, "k")
	kept, _ := claim(t, a, "kept")
	same(t, master.Client().Do(ctx, "WAIT", 1, 0).Err(), nil)
	// From here on, the replica is cut off and lags behind.
	same(t, replica.Client().Do(ctx, "REPLICAOF", "127.0.0.1", "9").Err(), nil)
	lost, _ := claim(t, a, "lost")
	grant, _ := claim(t, a, "k")
	same(t, a.Settle(ctx, grant, etagcache.Settlement{}, day), nil)
	master.Kill()

	same(t, eventually(t, func() error { return a.Renew(ctx, lost, graced) }), nil)
	same(t, <-compete(t, b, "k", graced), nil) // after the end of the grace
	busy(t, b, "lost", graced)
	busy(t, b, "kept", graced)
	same(t, a.Renew(ctx, kept, graced), nil)
	same(t, a.Renew(ctx, lost, graced), nil)
	if e, err := b.Read(ctx, "k", graced); err != nil || e.Epoch == before.Epoch || len(e.Variants) != 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	same(t, a.Settle(ctx, lost, etagcache.Settlement{}, graced), nil)
	same(t, <-compete(t, b, "lost", graced), nil)
	if replica.Client().Exists(ctx, "caddy:preconditions:lost").Val() != 1 {
		t.Fatal("there was no failover")
	}
}

func waitForReplica(t *testing.T, sentinel *redistest.Server) {
	t.Helper()
	host, port, _ := net.SplitHostPort(sentinel.Addr)
	c := redis.NewSentinelClient(&redis.Options{Addr: net.JoinHostPort(host, port), DisableIdentity: true})
	defer func() { _ = c.Close() }()
	same(t, eventually(t, func() error {
		if replicas, err := c.Replicas(context.Background(), "main").Result(); err != nil || len(replicas) == 0 {
			return etagcache.ErrUnavailable
		}
		return nil
	}), nil)
}

// Without permission for INFO, the store notices only a loss of the marker.
func TestRedisWithoutInfo(t *testing.T) {
	s := redistest.Start(t, "--user", "gate", "on", ">secret", "~*", "&*", "+@all", "-info")
	c := plain(s)
	c.Username, c.Password = "gate", "secret"
	store := open(t, c, "")
	before := seen(t, store, "k")
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "9").Err(), nil)
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
	grant, e, err := store.Claim(t.Context(), "k", before.Epoch, endless)
	if err != nil || len(e.Variants) != 1 {
		t.Fatalf("got %+v, %v", e, err)
	}
	flush(t, s)
	busy(t, store, "k", endless)
	same(t, store.Renew(t.Context(), grant, endless), nil)
}

func TestRedisKeepsEntriesAndMarkersApart(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	for _, key := range []string{"generation", "generation:{0}", "generation#"} {
		use(t, store, key)
	}
	if n := s.Client().DBSize(t.Context()).Val(); n != 4 {
		t.Fatalf("%d keys", n)
	}
}

func TestRedisClusterLoss(t *testing.T) {
	nodes := redistest.StartCluster(t)
	c := etagcache.RedisConfig{Cluster: true, Addresses: []string{nodes[0].Addr}, Timeout: 2 * time.Second}
	a, b := open(t, c, ""), open(t, c, "")
	ctx := t.Context()
	keys := []string{"", "{k}", "{}", "}{", "a{b", "generation", "\xff\n", strings.Repeat("{k", 500)}
	for i := range 30 {
		keys = append(keys, strconv.Itoa(i))
	}
	sizes := func() (n int64) {
		for _, node := range nodes {
			n += node.Client().DBSize(ctx).Val()
		}
		return n
	}

	// A generation that begins in one slot begins in all.
	epochOf(t, a, keys[0])
	same(t, eventually(t, func() error {
		if sizes() < 16384+1 {
			return etagcache.ErrUnavailable
		}
		return nil
	}), nil)

	before := map[string]etagcache.Entry{}
	for _, key := range keys {
		before[key] = seen(t, a, key)
	}
	same(t, b.InvalidateAll(ctx, day), nil)
	for _, key := range keys {
		unknown(t, b, key, before[key])
		before[key] = seen(t, a, key)
	}
	n, err := b.InvalidateMatching(ctx, "", func(string, bool) bool { return true }, day)
	same(t, err, nil)
	if n != len(keys) {
		t.Fatalf("invalidated %d of %d", n, len(keys))
	}
	for _, key := range keys {
		unknown(t, b, key, before[key])
	}

	grants := map[string]etagcache.Grant{}
	for _, key := range keys {
		grants[key], _ = claim(t, a, key)
	}
	flush(t, nodes[1])
	again := 0
	for _, key := range keys {
		same(t, a.Renew(ctx, grants[key], endless), nil)
		e, err := b.Read(ctx, key, endless)
		same(t, err, nil)
		if e.Epoch != grants[key].Token { // the claim was lost and restored
			again++
		}
	}
	if again == 0 || again == len(keys) {
		t.Fatalf("%d of %d claims were lost", again, len(keys))
	}

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	same(t, b.InvalidateAll(canceled, day), context.Canceled)
	nodes[2].Kill()
	same(t, b.InvalidateAll(ctx, day), etagcache.ErrUnavailable)
	_, err = b.InvalidateMatching(ctx, "", func(string, bool) bool { return true }, day)
	same(t, err, etagcache.ErrUnavailable)
}

func TestRedisReplicas(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	with := func(n int, timeout time.Duration) *etagcache.Redis {
		c := plain(master)
		c.Timeout = timeout
		return openWith(t, c, etagcache.RedisOptions{Replicas: n})
	}
	none, one, two := with(0, 5*time.Second), with(1, 5*time.Second), with(2, 300*time.Millisecond)
	ctx := t.Context()

	use(t, one, "k")
	same(t, master.Client().ScriptFlush(ctx).Err(), nil)
	use(t, one, "k")
	grant, e := claim(t, one, "replicated")
	if !replica.Client().HExists(ctx, "caddy:preconditions:replicated", "c:"+grant.Token).Val() {
		t.Fatal("the replica doesn't have the claim")
	}

	// A refusal doesn't depend on the replicas.
	_, _, err := two.Claim(ctx, "replicated", e.Epoch, day)
	same(t, err, etagcache.ErrBusy)
	_, _, err = two.Claim(ctx, "k", "x", day)
	same(t, err, etagcache.ErrStale)

	tooFew := func(s etagcache.Store) {
		t.Helper()
		before := seen(t, s, "k")
		_, _, err := s.Claim(ctx, "k", before.Epoch, day)
		unavailable(t, err)
		if !strings.Contains(err.Error(), " of 2") && !strings.Contains(err.Error(), "0 of 1") {
			t.Fatalf("got error %v", err)
		}
		if after := idle(t, none, "k"); len(after.Variants) != 1 {
			t.Fatalf("got %+v", after)
		}
		_, _, err = s.Pass(ctx, "k", day)
		unavailable(t, err)
		idle(t, none, "k")
	}
	tooFew(two)
	replica.Kill()
	tooFew(with(1, 300*time.Millisecond))
}

// Each server of a cluster has its own replicas.
func TestRedisReplicasInACluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	redistest.StartClusterReplica(t, nodes[0])
	c := etagcache.RedisConfig{Cluster: true, Addresses: []string{nodes[0].Addr}, Timeout: time.Second}
	store := openWith(t, c, etagcache.RedisOptions{Replicas: 1, Prefix: "p:"})
	granted, refused := 0, 0
	for i := 0; granted < 3 || refused < 2; i++ {
		key := strconv.Itoa(i)
		_, _, err := store.Claim(t.Context(), key, epochOf(t, store, key), day)
		if nodes[0].Client().Exists(t.Context(), "p:"+key).Val() == 1 {
			same(t, err, nil)
			granted++
			continue
		}
		unavailable(t, err)
		if !strings.Contains(err.Error(), "0 of 1") {
			t.Fatalf("got error %v", err)
		}
		idle(t, store, key)
		refused++
	}
}

// The store gives back a grant whose reply was lost.
func TestRedisLostGrant(t *testing.T) {
	s := redistest.Start(t)
	proxy := startLossyProxy(t, s.Addr)
	store := open(t, etagcache.RedisConfig{Addresses: []string{proxy.addr}}, "")
	other := open(t, plain(s), "")
	use(t, store, "other") // caches the scripts, so the lost reply comes from a script
	lost := func(call func() error) {
		t.Helper()
		proxy.lose.Store(true)
		unavailable(t, call())
		if proxy.lose.Load() {
			t.Fatal("no reply was lost")
		}
		same(t, <-compete(t, other, "k", day), nil)
		flush(t, s)
	}
	before := seen(t, other, "k")
	lost(func() error {
		_, _, err := store.Claim(t.Context(), "k", before.Epoch, day)
		return err
	})
	lost(func() error {
		_, _, err := store.Pass(t.Context(), "k", day)
		return err
	})
	grant, _ := claim(t, other, "k")
	lost(func() error {
		return store.Settle(t.Context(), grant, etagcache.Settlement{Next: new(etagcache.Grant)}, day)
	})
}
