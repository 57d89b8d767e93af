package docs_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

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
			admin := load(t, fmt.Sprintf("http://%s {\npreconditions {\ngrace 1ms\nstore redis {\naddress %s\nusername caddy\npassword password\ntimeout 5s\n%s}\n}\nreverse_proxy %s\n}\n",
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
