package etagcache

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions are the options of NewRedis. The zero value is usable.
type RedisOptions struct {
	// Prefix is what the names of all keys and channels begin with. Gateways
	// share their entries if they use the same prefix. Default:
	// "caddy:preconditions:".
	Prefix string

	// Timeout bounds each operation. Default: 250ms.
	Timeout time.Duration

	// Replicas is the number of replicas that must acknowledge a claim or pass
	// within a third of Timeout before it counts. Default: 0.
	//
	// The claim or pass then survives a failover that promotes one of them. To
	// be certain of that, set Replicas to the number of all replicas. But then
	// no claim succeeds while one of them is away.
	Replicas int

	// AllowEviction lets what is stored decide alone although the server may evict keys
	// (see Trusted).
	AllowEviction bool

	// Warn is called once, at the first contact, with ErrBlind if the server can't tell
	// whether it has lost data. It is also called with ErrEvicts, and the policy, when a
	// server is found that may evict keys. Default: nothing is called.
	Warn func(error)
}

// ErrBlind means that the server tells no replication ID. It is no Redis, or its user has
// no permission for info. If it loses claims without losing the marker, nobody notices.
var ErrBlind = errors.New("the server can't tell whether it has lost data: INFO shows no master_replid; " +
	"if it is Redis, let the user call INFO: ACL SETUSER <user> +info")

// Redis is the Store of gateways that share Redis 5 or later: a single server, a
// replicated one or a cluster. Each call runs one script on one entry and on a
// marker beside it. All times are by the server's clock.
//
// The Redis user needs the commands eval, evalsha, time, info, hgetall, hmget,
// hset, hdel, pttl, pexpire, publish, subscribe and ping. Replicas also needs
// wait, and InvalidateMatching needs scan and Redis 6. The user needs access to
// the keys that begin with the prefix, and to the channel whose name is the
// prefix followed by "handover". The store works without the channel, but then
// waiters may notice a change half a second late.
//
// # Loss of data
//
// The marker is a key that is kept forever. In a cluster there is one for each
// hash slot, 4 MB in all. It names a generation, which ends when the server may
// have lost data: it was started or promoted, or the marker is gone. Everything
// that was known before is then forgotten. For the Grace of the call that notices
// the loss, the store learns nothing and grants no claim or pass, so that their
// holders can renew what they hold.
//
// Read, Claim, Pass and Renew always notice a loss. The other calls notice it
// within a tenth of a second, and what they do until then is forgotten. Attend
// notices it without any call. Attaching the first replica begins a grace too,
// and so does moving a hash slot to a different server. During such a move, calls
// on the slot may fail with ErrUnavailable.
//
// The very first call on an empty server begins a grace as well, because it may have
// lost everything. There is none, or a shorter one, if these things show that no lease
// can have been lost that is still held:
//
//   - the server started longer ago than any lease lasts: the caller's, or four times
//     the longest grace (all gateways need a grace of a quarter of the longest lease);
//   - it has counted no PEXPIRE since, which every grant calls, in all versions. FLUSHALL
//     leaves the counts alone, and CONFIG RESETSTAT is counted itself;
//   - it is a single server that has no replicas and was never one;
//   - this gateway has never had a reply: it may otherwise know that a different
//     server was in this one's place until just now.
//
// The start of the server alone doesn't tell when a grace is over: the holders may not
// have reached it since.
//
// If this gateway has heard of a longer grace than its own, the longest one counts:
// gateways with longer leases renew them later. A server that says that it isn't a master is unavailable.
//
// Claims and passes that are not renewed during the grace, because their gateway
// disappeared as well, are lost unless Replicas or a file has kept them. The
// store does not notice
//
//   - the loss of entries without the loss of the marker, so the server must not
//     evict keys (maxmemory-policy noeviction). INFO shows whether it may: see Trusted;
//   - older data that is loaded into a running server;
//   - a second server that believes it is the master (min-replicas-to-write
//     prevents that);
//   - any older data, if it tells no replication ID (ErrBlind).
//
// # The clock
//
// If the server's clock is set back, everything that is stored with a time lasts at most
// as long as it could have lasted when it was stored, from the next call on.
type Redis struct {
	client   redis.UniversalClient
	prefix   prefix
	timeout  time.Duration
	replicas int
	markers  markers
	wakeups  *wakeups
	releases *releases
	together *together // nil if there may be several servers

	replies replies

	*evictions
	*attendant
	*peeking

	checked atomic.Pointer[time.Time] // the start of the last call that looked for a loss

	closing   context.Context
	close     context.CancelFunc
	beginning atomic.Bool // set while a generation spreads to all hash slots
	begins    sync.WaitGroup
}

var _ Store = (*Redis)(nil)

// NewRedis returns a store that uses client. Close closes the client, too. The
// client must not read from replicas. It should respect the deadlines of contexts
// and not retry on its own, like the clients that RedisConfig.Client returns.
func NewRedis(client redis.UniversalClient, o RedisOptions) *Redis {
	r := &Redis{
		client:   client,
		prefix:   prefix(cmp.Or(o.Prefix, "caddy:preconditions:")),
		timeout:  cmp.Or(o.Timeout, defaultTimeout),
		replicas: o.Replicas,
		replies:  replies{warn: o.Warn},
	}
	r.evictions = newEvictions(client, r.timeout, o)
	r.checked.Store(new(time.Time))
	_, cluster := client.(clusterClient)
	r.markers = newMarkers(string(r.prefix)+markerKey, cluster)
	r.replies.several = r.markers.tags != nil
	r.wakeups = newWakeups(client, r.prefix.channel())
	r.releases = newReleases(r.release)
	if !cluster {
		r.together = &together{client: client, marker: r.markers.name}
	}
	r.attendant, r.peeking = &attendant{r}, &peeking{r}
	r.closing, r.close = context.WithCancel(context.Background())
	return r
}

// clusterClient holds the methods that only the client of a cluster has.
type clusterClient interface {
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	ReloadState(ctx context.Context)
	ForEachMaster(ctx context.Context, each func(context.Context, *redis.Client) error) error
}

// Read implements Store.
func (r *Redis) Read(ctx context.Context, key string, t Terms) (Entry, error) {
	name := r.prefix.entry(key)
	if e, done, err := readPlainly(ctx, r, name, t); done {
		return e, err
	}
	return readWithScript(ctx, r, name, t)
}

// Observe implements Store.
func (r *Redis) Observe(ctx context.Context, key string, before Entry, o Observation, t Terms) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if before.IsSpent(o.Observed) {
		return ErrSpent
	}
	known := ""
	if v, ok := before.Variants.Find(o.Variant); ok {
		known = pack(v.Observed)
	}
	_, err := r.run(ctx, observeScript, r.prefix.entry(key), t,
		before.Epoch, o.Variant, known, pack(o.Observed), o.Vary, o.Identity(), packTag(o.Backend))
	return err
}

// Claim implements Store.
func (r *Redis) Claim(ctx context.Context, key, epoch string, t Terms, replaces ...string) (Grant, Entry, error) {
	return r.grant(ctx, claimScript, Grant{Key: key, Token: NewToken()}, t, spendable([]any{epoch}, replaces)...)
}

// Pass implements Store.
func (r *Redis) Pass(ctx context.Context, key string, t Terms) (Grant, Entry, error) {
	return r.grant(ctx, passScript, Grant{Key: key, Token: NewToken(), Pass: true}, t)
}

// grant runs a script that takes g.
func (r *Redis) grant(ctx context.Context, s *script, g Grant, t Terms, args ...any) (Grant, Entry, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, Entry{}, err
	}
	reply, err := r.run(ctx, s, r.prefix.entry(g.Key), t, append([]any{g.Token}, args...)...)
	return granted(r, g, t, reply, err)
}

// Renew implements Store.
func (r *Redis) Renew(ctx context.Context, g Grant, t Terms) error {
	_, err := r.run(ctx, renewScript, r.prefix.entry(g.Key), t, lease(g))
	return err
}

// Settle implements Store.
func (r *Redis) Settle(ctx context.Context, g Grant, s Settlement, t Terms) error {
	var variant, value, vary, identity, backend string
	if o := s.Observation; o != nil {
		variant, value, vary, identity, backend = o.Variant, pack(o.Observed), o.Vary, o.Identity(), packTag(o.Backend)
	}
	args := []any{lease(g), g.settled(), flag(!s.Unchanged), variant, value, vary, identity, flag(s.Proven), s.Receipt, backend}
	settle := newCall(r, settleScript, r.prefix.entry(g.Key), t, spendable(args, s.Replaced)...)
	if s.Next == nil || r.together == nil || r.replicas > 0 {
		makeCalls(ctx, r, settle)
	} else {
		next := Grant{Key: g.Key, Token: NewToken()}
		claim := newCall(r, claimScript, r.prefix.entry(g.Key), t, next.Token, g.settled())
		makeCalls(ctx, r, settle, claim)
		*s.Next, _, _ = granted(r, next, t, claim.reply, claim.err)
	}
	if settle.err == nil && s.After != nil && len(settle.reply) >= firstVariant {
		if e, malformed := settle.reply.entry(); malformed == nil {
			*s.After = e
		}
	}
	return settle.err
}

// Spend implements Store.
func (r *Redis) Spend(ctx context.Context, g Grant, identities []string, t Terms) error {
	_, err := r.run(ctx, spendScript, r.prefix.entry(g.Key), t, spendable([]any{lease(g)}, identities)...)
	return err
}

// Wait implements Store.
func (r *Redis) Wait(ctx context.Context, key string, seen Entry) error {
	name := r.prefix.entry(key)
	wakeup := r.wakeups.add(name)
	defer r.wakeups.remove(name, wakeup)
	for {
		reply, err := r.run(ctx, waitScript, name, Terms{}, seen.Epoch, flag(seen.passing))
		if err != nil {
			return err
		}
		left, err := reply.wait()
		if err != nil || left == 0 {
			return err
		}
		timer := time.NewTimer(min(left, recheck))
		select {
		case moved := <-wakeup:
			if moved {
				timer.Stop()
				return nil
			}
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

// checkInterval is how long scripts that aren't strict rely on an earlier call to
// have checked whether the server may have lost data.
const checkInterval = 100 * time.Millisecond

// argv returns the arguments that all scripts on entries begin with.
func (p prefix) argv(r *replies, t Terms, check bool) []any {
	return append(r.argv(t, check), p.channel(), r.phrased(t).retention)
}

// retention returns the argument that says how long an entry is kept.
func (t Terms) retention() string {
	long := strconv.FormatInt(milliseconds(t.Retention), 10)
	if t.Brief == 0 || t.Brief >= t.Retention {
		return long
	}
	return long + " " + strconv.FormatInt(milliseconds(t.Brief), 10)
}

// flag returns the argument of a script that is true unless it is empty.
func flag(set bool) string {
	if set {
		return "1"
	}
	return ""
}

// lease returns the name of the field that holds the lease of g.
func lease(g Grant) string {
	if g.Pass {
		return "p:" + g.Token
	}
	return "c:" + g.Token
}

// milliseconds rounds up, because Redis would take a duration that was rounded down
// to zero for none at all.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
