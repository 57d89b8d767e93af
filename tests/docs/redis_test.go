package docs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/etagcache/storetest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// deployments are the ways to run Redis that ask for different rights. A new user may use
// all channels by default in Redis 6, and none in Redis 7 and Valkey.
var deployments = []struct {
	name     string
	replicas int
	start    func(t testing.TB) (all, named []*redistest.Server)
}{
	{"one server", 0, func(t testing.TB) (all, named []*redistest.Server) {
		all = []*redistest.Server{redistest.Start(t)}
		return all, all
	}},
	{"one server, all channels", 0, func(t testing.TB) (all, named []*redistest.Server) {
		all = []*redistest.Server{redistest.Start(t, "--acl-pubsub-default", "allchannels")}
		return all, all
	}},
	{"cluster", 0, func(t testing.TB) (all, named []*redistest.Server) {
		all = redistest.StartCluster(t)
		return all, all
	}},
	{"replica", 1, func(t testing.TB) (all, named []*redistest.Server) {
		master := redistest.Start(t)
		named = []*redistest.Server{master}
		return append(named, redistest.StartReplica(t, master)), named
	}},
}

// addUser adds the user that the documentation recommends to all servers.
func addUser(t *testing.T, servers []*redistest.Server) {
	t.Helper()
	var words []any
	for word := range strings.FieldsSeq(caddytest.Shown(t, "docs/stores.md", "ACL SETUSER caddy").Text) {
		words = append(words, word)
	}
	for _, server := range servers {
		if err := server.Client().Do(t.Context(), words...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func addressesOf(servers []*redistest.Server) (addresses []string) {
	for _, server := range servers {
		addresses = append(addresses, server.Addr)
	}
	return addresses
}

// The rights that a user of Redis is to get are enough, however Redis is run.
func TestTheRedisRightsSuffice(t *testing.T) {
	for _, deployment := range deployments {
		t.Run(deployment.name, func(t *testing.T) {
			servers, named := deployment.start(t)
			addUser(t, servers)
			backend, address := caddytest.Serve(t, legacydocs.New(legacydocs.Options{})), caddytest.LocalAddress(t)
			caddytest.Send(t, "PUT", "http://"+backend+"/docs/a", "a").Expect(t, 201)
			host, _, _ := strings.Cut(address, ":")
			endGrace(t, redis.NewUniversalClient(&redis.UniversalOptions{
				Addrs: addressesOf(named), IsClusterMode: deployment.name == "cluster", DisableIdentity: true,
			}), host+"/docs/a")
			admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\npreconditions {\nstore redis {\naddress %s\nusername caddy\npassword password\ntimeout 5s\nreplicas %d\n}\n}\nreverse_proxy %s\n}\n",
				address, strings.Join(addressesOf(named), " "), deployment.replicas, backend))
			url := "http://" + address + "/docs/a"
			caddytest.Send(t, "PUT", url, "b").Expect(t, 204)
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Header.Get("ETag")
			caddytest.Send(t, "PUT", url, "c", "If-Match", tag).Expect(t, 204)
			for _, purge := range []string{`{"urls": ["http://**"]}`, `{"all": true}`} {
				caddytest.Send(t, "POST", admin+"/preconditions/purge", purge, "Content-Type", "application/json").Expect(t, 200)
			}
		})
	}
}

// endGrace lets the grace pass that begins with the first use of a Redis, at the master
// that has a key. A handler's own grace is longer than a test should wait. It closes the
// client.
func endGrace(t *testing.T, client redis.UniversalClient, key string) {
	t.Helper()
	store := etagcache.NewRedis(client, etagcache.RedisOptions{Timeout: 5 * time.Second})
	defer store.Close()
	terms := etagcache.Terms{Lease: time.Minute, Retention: time.Hour, Grace: time.Millisecond}
	for {
		grant, entry, err := store.Pass(t.Context(), key, terms)
		if err == nil {
			err = store.Settle(t.Context(), grant, etagcache.Settlement{}, terms)
		} else if errors.Is(err, etagcache.ErrBusy) {
			if err = store.Wait(t.Context(), key, entry); err == nil {
				continue
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// With these rights, Redis keeps the whole contract of stores.
func TestTheRedisRightsSufficeForTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	for _, deployment := range deployments {
		t.Run(deployment.name, func(t *testing.T) {
			t.Parallel()
			servers, named := deployment.start(t)
			addUser(t, servers)
			c := etagcache.RedisConfig{Addresses: addressesOf(named), Username: "caddy", Password: "password", Timeout: 5 * time.Second}
			storetest.Suite{Open: func(t *testing.T) (a, b etagcache.Store) {
				// The braces put all entries into one slot of a cluster.
				o := etagcache.RedisOptions{Prefix: "caddy:preconditions:{" + etagcache.NewToken() + "}", Replicas: deployment.replicas, Timeout: c.Timeout}
				return open(t, c, o), open(t, c, o)
			}, Apart: true}.Run(t)
		})
	}
}

func open(t *testing.T, c etagcache.RedisConfig, o etagcache.RedisOptions) etagcache.Store {
	t.Helper()
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	store := etagcache.NewRedis(client, o)
	t.Cleanup(func() { _ = store.Close() })
	return store
}
