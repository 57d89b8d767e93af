package etagcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions are the options of NewRedis. The zero value is fine.
type RedisOptions struct {
	// Prefix begins the name of every key and channel. Gateways that share
	// entries share the prefix. Default: "caddy:preconditions:".
	Prefix string

	// Timeout bounds each operation. Default: 250ms.
	Timeout time.Duration

	// Replicas is the number of replicas that have to acknowledge a claim or
	// pass within a third of Timeout before it counts. Default: 0.
	//
	// A failover then keeps it if it promotes one of these. It is certain to if
	// Replicas is the number of all replicas; but then no claim succeeds while
	// one of them is away.
	Replicas int
}

// Redis is the Store of gateways that share a Redis server (5 or later), a
// replicated one or a cluster. Each call is one script on one entry and a marker
// beside it, timed by the server's clock.
//
// A user needs the commands eval, evalsha, time, info, hgetall, hmget, hset,
// hdel, pttl, pexpire, publish, subscribe and ping, wait if there are Replicas,
// and scan, with Redis 6, for InvalidateMatching; the keys that begin with the prefix; and the channel of the prefix
// followed by "handover". Without the channel it works all the same, but those
// who wait notice up to half a second later.
//
// # Loss of data
//
// The marker, a key that is kept forever (in a cluster one for each hash slot,
// 2.5 MB in all), names a generation, which ends when the server may have lost
// data: it was started or promoted, or the marker is gone. For the Grace of the
// call that finds out, nothing is learned and no claim or pass is given, so that
// those who hold one can renew it; and all that was known before is forgotten.
// Read, Claim, Pass and Renew always find out, the others within a tenth of a
// second, and what they do in between is forgotten. The first call ever, a Read
// as well, begins a grace too: a store that is empty can't be told from one that
// lost everything. So do a first replica that is attached, and a hash slot that
// moves to another server, during which calls on it may fail with ErrUnavailable.
//
// Claims and passes that are not renewed during the grace, because the gateway
// went away as well, are lost, unless Replicas or a file kept them. Not noticed
// are the loss of entries without that of the marker (so the server must not
// evict keys: maxmemory-policy noeviction), older data that is put into a running
// server, a second server that takes itself for the master (min-replicas-to-write
// keeps it from that), and, without permission for info, all older data.
type Redis struct {
	client   redis.UniversalClient
	prefix   string
	timeout  time.Duration
	replicas int
	markers  markers
	wakeups  *wakeups
	releases *releases

	checked atomic.Pointer[time.Time] // when the last call that looked for a loss was begun

	closing   context.Context
	close     context.CancelFunc
	beginning atomic.Bool // a generation, everywhere
	begins    sync.WaitGroup
}

var _ Store = (*Redis)(nil)

// NewRedis returns a store that uses client and closes it in the end. The
// client must not read from replicas, and should heed the deadlines of contexts
// and leave repetition to the caller, as those of RedisConfig do.
func NewRedis(client redis.UniversalClient, o RedisOptions) *Redis {
	r := &Redis{
		client:   client,
		prefix:   cmp.Or(o.Prefix, "caddy:preconditions:"),
		timeout:  cmp.Or(o.Timeout, defaultTimeout),
		replicas: o.Replicas,
	}
	r.checked.Store(new(time.Time))
	_, cluster := client.(clusterClient)
	r.markers = newMarkers(r.prefix+markerKey, cluster)
	r.wakeups = newWakeups(client, r.channel())
	r.releases = newReleases(r.release)
	r.closing, r.close = context.WithCancel(context.Background())
	return r
}

// clusterClient is what a client of a cluster has and others don't.
type clusterClient interface {
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	ReloadState(ctx context.Context)
	ForEachMaster(ctx context.Context, each func(context.Context, *redis.Client) error) error
}

// Read implements Store.
func (r *Redis) Read(ctx context.Context, key string, t Terms) (Entry, error) {
	reply, err := r.run(ctx, readScript, r.key(key), t)
	if err != nil {
		return Entry{}, err
	}
	r.spread(reply, t)
	return reply.entry()
}

// Observe implements Store.
func (r *Redis) Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error {
	known := ""
	if v, ok := before.Variants[o.Variant]; ok {
		known = pack(v.Observed)
	}
	_, err := r.run(ctx, observeScript, r.key(key), t,
		before.Epoch, o.Variant, known, pack(o.Observed), o.Vary)
	return err
}

// Claim implements Store.
func (r *Redis) Claim(ctx context.Context, key, epoch string, t Terms) (Grant, Entry, error) {
	return r.grant(ctx, claimScript, Grant{Key: key, Token: NewToken()}, t, epoch)
}

// Pass implements Store.
func (r *Redis) Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error) {
	return r.grant(ctx, passScript, Grant{Key: key, Token: NewToken(), Pass: true}, t)
}

// grant runs a script that takes g. Where it is not known whether it did, g is
// given back.
func (r *Redis) grant(ctx context.Context, s *script, g Grant, t Terms, args ...any) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	args = append([]any{g.Token, milliseconds(t.Lease)}, args...)
	reply, err := r.run(ctx, s, r.key(g.Key), t, args...)
	var e Entry
	if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrStale) {
		r.spread(reply, t)
		var malformed error
		if e, malformed = reply.entry(); malformed != nil {
			err = malformed
		}
		e.passing = g.Pass && errors.Is(err, ErrBusy)
	}
	switch {
	case err == nil:
		return g, e, nil
	case errors.Is(err, ErrBusy), errors.Is(err, ErrStale), unsent(err):
	case errors.Is(err, errReplicas) && r.release(g, t) == nil:
	default:
		r.releases.add(g, t)
	}
	return Grant{}, e, err
}

// Renew implements Store.
func (r *Redis) Renew(ctx context.Context, g Grant, t Terms) error {
	_, err := r.run(ctx, renewScript, r.key(g.Key), t,
		lease(g), milliseconds(t.Lease))
	return err
}

// Settle implements Store.
func (r *Redis) Settle(ctx context.Context, g Grant, s Settlement, t Terms) error {
	var epoch, changed, variant, value, vary string
	if !g.Pass {
		epoch = g.Token
	}
	if !s.Unchanged {
		changed = "1"
	}
	if o := s.Observation; o != nil {
		variant, value, vary = o.Variant, pack(o.Observed), o.Vary
	}
	_, err := r.run(ctx, settleScript, r.key(g.Key), t,
		lease(g), g.settled(), epoch, changed, variant, value, vary, s.Receipt)
	return err
}

// Wait implements Store.
func (r *Redis) Wait(ctx context.Context, key string, seen Entry) error {
	name, passing := r.key(key), ""
	if seen.passing {
		passing = "1"
	}
	wakeup := r.wakeups.add(name)
	defer r.wakeups.remove(name, wakeup)
	for {
		reply, err := r.run(ctx, waitScript, name, Terms{}, seen.Epoch, passing)
		if err != nil {
			return err
		}
		left, err := reply.wait()
		if err != nil || left == 0 {
			return err
		}
		timer := time.NewTimer(min(left, recheck))
		select {
		case <-wakeup:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Close implements Store. It closes the client, too.
func (r *Redis) Close() error {
	r.close()
	r.releases.close()
	r.begins.Wait()
	return errors.Join(r.wakeups.close(), r.client.Close())
}

// run runs a script on the entry of that name. A call that has begun isn't cut
// short when ctx is done: a claim would have been taken that nobody knows of.
func (r *Redis) run(ctx context.Context, s *script, name string, t Terms, args ...any) (reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	keys := []string{name, r.markers.of(name)}
	begun := time.Now()
	check := ""
	if s.strict || begun.Sub(*r.checked.Load()) >= checkInterval {
		check = "1"
	}
	argv := append([]any{NewToken(), milliseconds(t.Grace), check, r.channel(), milliseconds(t.Retention)}, args...)
	var values reply
	var err error
	if r.replicas > 0 && (s == claimScript || s == passScript) {
		values, err = r.evalReplicated(bounded, s, keys, argv)
	} else {
		values, err = s.Run(bounded, r.client, keys, argv...).Slice()
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: running %s.lua: %w", ErrUnavailable, s.name, err)
	}
	if check != "" {
		r.checked.Store(&begun)
	}
	return values, values.status()
}

// checkInterval is how long after one call that looked whether the server may
// have lost data the others, but those of strict scripts, need not.
const checkInterval = 100 * time.Millisecond

// lease returns the name of the field that holds the lease of g.
func lease(g Grant) string {
	if g.Pass {
		return "p:" + g.Token
	}
	return "c:" + g.Token
}

// milliseconds rounds up, as Redis would take nothing for none.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
