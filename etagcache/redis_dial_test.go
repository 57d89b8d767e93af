package etagcache_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// However often the server couldn't be reached, the first call after its return reaches
// it. go-redis alone would dial only once a second.
func TestRedisIsDialedByEveryCall(t *testing.T) {
	t.Parallel()
	const pool = 2
	type outage struct {
		config etagcache.RedisConfig
		begin  func()
		end    func()
	}
	for name, start := range map[string]func(t *testing.T) outage{
		"one server": func(t *testing.T) outage {
			s := redistest.Start(t)
			return outage{plain(s), s.Kill, s.Restart}
		},
		"a master behind a Sentinel": func(t *testing.T) outage {
			master := redistest.Start(t)
			sentinel := redistest.StartSentinel(t, "main", master)
			c := etagcache.RedisConfig{Addresses: []string{sentinel.Addr}, SentinelMaster: "main"}
			return outage{c, master.Kill, master.Restart}
		},
		"a Sentinel": func(t *testing.T) outage {
			master := redistest.Start(t)
			sentinel := redistest.StartSentinel(t, "main", master)
			c := etagcache.RedisConfig{Addresses: []string{sentinel.Addr}, SentinelMaster: "main"}
			return outage{
				c,
				func() {
					sentinel.Kill()
					master.Kill() // its connections end, so every call asks the Sentinel for it
					master.Restart()
				},
				sentinel.Restart,
			}
		},
		"a node of a cluster": func(t *testing.T) outage {
			nodes := redistest.StartCluster(t)
			c := etagcache.RedisConfig{Cluster: true, Addresses: []string{nodes[1].Addr}}
			return outage{
				c,
				nodes[0].Kill, // has the slot of the key
				func() {
					nodes[0].Restart()
					for !errors.Is(nodes[0].Client().Get(t.Context(), "{06S}").Err(), redis.Nil) {
						time.Sleep(time.Millisecond) // it looks for the rest of the cluster
					}
				},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := start(t)
			o.config.PoolSize = pool
			o.config.Timeout = time.Second
			s := open(t, o.config, "{06S}") // the prefix has slot 0
			if _, err := s.Read(t.Context(), "k", day); err != nil {
				t.Fatal(err)
			}
			o.begin()
			var calls sync.WaitGroup
			for range 10 * pool {
				calls.Go(func() {
					if _, _, err := s.Claim(t.Context(), "k", "", day); !errors.Is(err, etagcache.ErrUnavailable) {
						t.Errorf("got error %v", err)
					}
				})
			}
			calls.Wait()
			o.end()
			if _, err := s.Read(t.Context(), "k", day); err != nil {
				t.Errorf("the first call after the outage: %v", err)
			}
		})
	}
}

// Calls that gave up before their dial failed leave nothing behind that a later call
// could take for a connection.
func TestRedisDropsDialsThatNobodyWaitedFor(t *testing.T) {
	t.Parallel()
	const calls = 10
	s := redistest.Start(t)
	c := plain(s)
	c.PoolSize, c.Timeout = calls, time.Second
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	var hung sync.WaitGroup
	hung.Add(calls)
	release := make(chan struct{})
	client.AddHook(dialing(func(ctx context.Context, network, addr string, next redis.DialHook) (net.Conn, error) {
		select {
		case <-release:
			return next(ctx, network, addr)
		default:
		}
		hung.Done()
		<-release
		return nil, errors.New("no answer")
	}))
	ctx, giveUp := context.WithCancel(t.Context())
	var gaveUp sync.WaitGroup
	for range calls {
		gaveUp.Go(func() {
			if err := client.Ping(ctx).Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v", err)
			}
		})
	}
	hung.Wait()
	giveUp()
	gaveUp.Wait()
	close(release)
	for client.PoolStats().IdleConns < calls {
		time.Sleep(time.Millisecond)
	}
	var later sync.WaitGroup
	for range calls {
		later.Go(func() {
			if err := client.Ping(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	later.Wait()
}

// A call whose dial failed sent nothing, so there is no grant that it would have to give
// back. Its error says why the dial failed, but not where to: that could be a password.
func TestRedisDialErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("no route")
	for name, test := range map[string]struct {
		config etagcache.RedisConfig
		err    error
		want   string
	}{
		"refused":           {config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1"}}, want: "refused"},
		"an unknown host":   {config: etagcache.RedisConfig{Addresses: []string{"s3cret.invalid"}}, want: "looking up the host"},
		"no such socket":    {config: etagcache.RedisConfig{Addresses: []string{"unix:///s3cret/s"}}, want: "no such file"},
		"no Sentinel":       {config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1", "s3cret.invalid"}, SentinelMaster: "m"}, want: "dial"},
		"no node":           {config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1", "s3cret.invalid"}}, want: "dial"},
		"a failed TLS dial": {config: etagcache.RedisConfig{Addresses: []string{"rediss://127.0.0.1:1"}}, want: "refused"},
		"an answer of a Sentinel": {
			config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1"}, Password: "p"},
			err:    redis.ErrCrossSlot, want: "CROSSSLOT",
		},
		"a Sentinel that doesn't know the master": {
			config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1"}},
			err:    redis.Nil, want: "don't know",
		},
		"some other error": {config: etagcache.RedisConfig{Addresses: []string{"127.0.0.1:1"}}, err: cause, want: "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := test.config.Client()
			if err != nil {
				t.Fatal(err)
			}
			if test.err != nil {
				client.AddHook(dialing(func(context.Context, string, string, redis.DialHook) (net.Conn, error) {
					return nil, test.err
				}))
			}
			s := etagcache.NewRedis(client, etagcache.RedisOptions{Timeout: 10 * time.Second})
			defer func() { _ = s.Close() }()
			for range 3 {
				_, _, err = s.Claim(t.Context(), "k", "", day)
				unavailable(t, err)
				op, ok := errors.AsType[*net.OpError](err)
				if !ok || op.Op != "dial" {
					t.Errorf("not the error of a dial: %v", err)
				}
				if text := err.Error(); strings.Contains(text, "s3cret") || strings.Contains(text, "127.0.0.1") || !strings.Contains(text, test.want) {
					t.Errorf("got error %v, want one that contains %q", err, test.want)
				}
				if _, answered := errors.AsType[redis.Error](err); answered {
					t.Errorf("looks like an answer of the server: %v", err)
				}
			}
			if n := client.PoolStats().TotalConns; n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

// A client that finds a master of the cluster dead soon looks for the replica that was
// promoted. go-redis alone would look once a minute.
func TestRedisClusterFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	nodes := redistest.StartCluster(t)
	replica := redistest.StartClusterReplica(t, nodes[0])
	read := func(s etagcache.Store) error {
		_, err := s.Read(ctx, "k", day)
		return err
	}
	master := nodes[0]
	for _, stop := range []func(*redistest.Server){(*redistest.Server).Freeze, (*redistest.Server).Kill} {
		s := open(t, etagcache.RedisConfig{Cluster: true, Addresses: []string{nodes[1].Addr}}, "{06S}")
		same(t, eventually(t, func() error { return read(s) }), nil) // on a busy machine, nodes lose sight of each other
		stop(master)
		if err := replica.Client().Do(ctx, "CLUSTER", "FAILOVER", "TAKEOVER").Err(); err != nil {
			t.Fatal(err)
		}
		same(t, eventually(t, func() error { return read(s) }), nil)
		master.Thaw()
		master, replica = replica, master
	}
}

// A Sentinel that doesn't answer doesn't keep the client from the others.
func TestRedisFrozenSentinel(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	first := redistest.StartSentinel(t, "main", master)
	second := redistest.StartSentinel(t, "main", master)
	both := etagcache.RedisConfig{Addresses: []string{first.Addr, second.Addr}, SentinelMaster: "main"}
	for _, frozen := range []*redistest.Server{first, second} { // the client uses one of them
		s := open(t, both, etagcache.NewToken())
		if _, err := s.Read(t.Context(), "k", day); err != nil {
			t.Fatal(err)
		}
		frozen.Freeze()
		master.Kill() // so the client has to ask where it is
		master.Restart()
		same(t, eventually(t, func() error {
			_, err := s.Read(t.Context(), "k", day)
			return err
		}), nil)
		frozen.Thaw()
	}
}

// dialing is a hook that stands between the client and the network.
type dialing func(ctx context.Context, network, addr string, next redis.DialHook) (net.Conn, error)

func (d dialing) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return d(ctx, network, addr, next) }
}

func (dialing) ProcessHook(redis.ProcessHook) redis.ProcessHook { return nil }

func (dialing) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook { return nil }
