package docs_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// The rights that a user of Redis is to get are enough, however Redis is run.
func TestTheRedisRightsSuffice(t *testing.T) {
	line := regexp.MustCompile(`(?m)^ACL SETUSER caddy .*$`).FindString(readDocument(t, "docs/stores.md").text())
	if line == "" {
		t.Fatal("docs/stores.md doesn't tell them")
	}
	for _, deployment := range []struct {
		name, options string
		start         func(t testing.TB) (all, named []*redistest.Server)
	}{
		{"one server", "", func(t testing.TB) (all, named []*redistest.Server) {
			all = []*redistest.Server{redistest.Start(t)}
			return all, all
		}},
		{"cluster", "", func(t testing.TB) (all, named []*redistest.Server) {
			all = redistest.StartCluster(t)
			return all, all
		}},
		{"replica", "replicas 1\n", func(t testing.TB) (all, named []*redistest.Server) {
			master := redistest.Start(t)
			named = []*redistest.Server{master}
			return append(named, redistest.StartReplica(t, master)), named
		}},
	} {
		t.Run(deployment.name, func(t *testing.T) {
			servers, named := deployment.start(t)
			for _, server := range servers {
				var words []any
				for word := range strings.FieldsSeq(line) {
					words = append(words, word)
				}
				if err := server.Client().Do(t.Context(), words...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			var addresses []string
			for _, server := range named {
				addresses = append(addresses, server.Addr)
			}
			backend, address := serve(t, legacydocs.New(legacydocs.Options{})), freeAddress(t)
			send(t, "PUT", "http://"+backend+"/docs/a", "a").expect(t, 201)
			host, _, _ := strings.Cut(address, ":")
			endGrace(t, redis.NewUniversalClient(&redis.UniversalOptions{
				Addrs: addresses, IsClusterMode: deployment.name == "cluster", DisableIdentity: true,
			}), host+"/docs/a")
			admin := load(t, fmt.Sprintf("http://%s {\npreconditions {\nstore redis {\naddress %s\nusername caddy\npassword password\ntimeout 5s\n%s}\n}\nreverse_proxy %s\n}\n",
				address, strings.Join(addresses, " "), deployment.options, backend))
			url := "http://" + address + "/docs/a"
			send(t, "PUT", url, "b").expect(t, 204)
			tag := send(t, "GET", url, "").expect(t, 200).Header.Get("ETag")
			send(t, "PUT", url, "c", "If-Match", tag).expect(t, 204)
			for _, purge := range []string{`{"urls": ["http://**"]}`, `{"all": true}`} {
				send(t, "POST", "http://"+admin+"/preconditions/purge", purge, "Content-Type", "application/json").expect(t, 200)
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
