package admin

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The answer to a purge says of how many of the named resources and groups a store had an
// entry. A misspelt URL shows in that.
func TestPurgeTellsWhatWasKnown(t *testing.T) {
	b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars"`, "/cars/2": `"cars"`})
	backend := caddytest.Serve(t, b)
	for name, store := range map[string]string{
		"memory":  "",
		"redis":   "store redis redis://" + caddytest.UsedRedis(t).Addr + " {\ntimeout 5s\n}\n",
		"cluster": "store redis redis://" + redistest.StartCluster(t)[0].Addr + " {\ncluster\ntimeout 5s\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := caddytest.Address(t)
			admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded(store, backend)))
			for _, tt := range []struct{ content, want string }{
				{`"urls": ["%s/cars/1"]`, `"resources":1,"known":1`},
				{`"urls": ["%s/cars/1", "%s/cars/2", "%s/crs/1"]`, `"resources":3,"known":2`},
				{`"urls": ["%s/crs/1"]`, `"resources":1,"known":0`},
				{`"urls": ["%s/crs/*"]`, `"resources":1,"known":0`},
				{`"urls": ["%s/cars/*", "%s/crs/1"]`, `"resources":4,"known":2`}, // one is /cars itself
				{`"keys": ["%h/cars/2", "CARS"]`, `"resources":2,"known":1`},
				{`"groups": [{"origin": "%s", "names": ["cars", "crs"]}]`, `"resources":0,"groups":2,"known":1`},
				{`"all": true`, `"resources":0,"all":true`},
			} {
				if name == "cluster" && strings.Contains(tt.content, "groups") {
					continue // in the grace that begins with its first use, nothing is learned of groups
				}
				for _, path := range []string{"/cars/1", "/cars/2"} {
					caddytest.Send(t, "GET", "http://"+address+path, "").Expect(t, 200)
				}
				a := caddytest.Purge(t, admin, "{"+strings.NewReplacer("%s", "http://"+address, "%h", caddytest.Host(t)).Replace(tt.content)+"}").Expect(t, 200)
				if !strings.Contains(a.Content, tt.want+"}") {
					t.Errorf("%s: got %s", tt.content, a.Content)
				}
			}
		})
	}
}

// shown is what the admin API and the command tell of resources.
type shown struct {
	Resources []struct {
		Store, Key, Epoch string
		Known, Claimed    bool
		Passes            int
		Kept              float64 `json:"kept_seconds"`
		Busy              float64 `json:"busy_seconds"`
		Groups            []string
		Variants          []struct{ State, ETag string }
	}
}

func parseShown(t testing.TB, text string) (s shown) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

// To show a resource doesn't create an entry of it, nor is it use: the store is only looked
// at.
func TestShowIsNoUse(t *testing.T) {
	docs := anywhere()
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded("store test show", caddytest.Serve(t, docs))))
	show := func(path string) shown {
		t.Helper()
		return parseShown(t, caddytest.Send(t, "GET", admin+"/preconditions/resource?url="+url.QueryEscape("http://"+address+path), "").Expect(t, 200).Content)
	}
	for range 2 {
		if r := show("/docs/a").Resources[0]; r.Known || r.Epoch != "" || r.Variants == nil {
			t.Errorf("got %+v", r)
		}
	}
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	tag := caddytest.Send(t, "GET", "http://"+address+"/docs/a", "").Expect(t, 200).Tag(t)
	calls := len(caddytest.Opened(t, "show").Terms())
	first := show("/docs/a").Resources[0]
	again := show("/docs/a").Resources[0]
	if !first.Known || first.Epoch == "" || first.Epoch != again.Epoch || first.Variants[0].ETag != tag || again.Kept > first.Kept || first.Kept <= 0 {
		t.Errorf("got %+v and %+v", first, again)
	}
	if n := len(caddytest.Opened(t, "show").Terms()); n != calls {
		t.Errorf("the store was used %d times", n-calls)
	}
}

// The command shows what is known of a resource, and whether a write is in flight.
func TestShowCommand(t *testing.T) {
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "a")
	address := caddytest.Address(t)
	admin := caddytest.LoadWithAdmin(t, fmt.Sprintf("http://%s {\n%s\n}\n", address, caddytest.Guarded("verify never", caddytest.Serve(t, docs))))
	at := strings.TrimPrefix(admin, "http://")
	url := "http://" + address + "/docs/a"
	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	key := caddytest.Host(t) + "/docs/a"
	for _, tt := range []struct {
		args   []string
		status int
		says   []string
	}{
		{[]string{url, "--address", at}, 0, []string{"resource  " + key + "\n", "store     memory\n", "in flight nothing\n", "\n  etag      " + tag + "\n", "unless it is used\n"}},
		{[]string{"--key", key, "--address", at}, 0, []string{"resource  " + key + "\n", tag}},
		{[]string{"--json", url, "--address", at}, 0, []string{`{"resources":[{"store":"memory","key":"` + key + `","known":true`}},
		{[]string{url + "2", "--address", at}, 0, []string{"resource  " + key + "2\n", "known     nothing\n"}},
		{[]string{"--json", "--key", "x", "--address", at}, 0, []string{`"known":false`}},
		{[]string{"http://docs.example.com/a", "--address", at}, 1, []string{"no site of this Caddy has the host docs.example.com: the sites are " + caddytest.Host(t)}},
		{[]string{url + "*", "--address", at}, 1, []string{"has an asterisk: give one URL"}},
		{[]string{"/docs/a", "--address", at}, 1, []string{"must begin with http"}},
		{[]string{"--address", at}, 1, []string{"accepts 1 arg"}},
		{[]string{url, url, "--address", at}, 1, []string{"accepts 1 arg"}},
		{[]string{url, "--address", caddytest.Address(t)}, 1, []string{"connection refused"}},
		{[]string{"--help"}, 0, []string{"Shows what a running Caddy knows of a resource"}},
	} {
		out, status := runCommand(t, append([]string{"show"}, tt.args...)...)
		for _, want := range tt.says {
			if status != tt.status || !strings.Contains(out, want) {
				t.Errorf("%v: exit code %d, want %d and %q\n%s", tt.args, status, tt.status, want, out)
			}
		}
	}

	write := g.Send(t.Context(), t, "PUT", url, "b", "If-Match", tag)
	if out, status := runCommand(t, "show", url, "--address", at); status != 0 || !strings.Contains(out, "in flight a claim, for ") {
		t.Errorf("during a conditional write: exit code %d\n%s", status, out)
	}
	g.Open()
	caddytest.ExpectResult(t, write, 204)
}

// The command shows what is in a store that nodes share, and says so if it can't ask.
func TestShowInRedis(t *testing.T) {
	b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars"`})
	server := caddytest.UsedRedis(t)
	node := caddytest.StartNode(t, caddytest.Guarded("store redis redis://"+server.Addr+" {\ntimeout 5s\n}", caddytest.Serve(t, b)))
	tag := caddytest.ReadTwice(t, node.URL+"/cars/1")
	out, status := runCommand(t, "show", "--json", node.URL+"/cars/1", "--address", "unix/"+node.Socket())
	if status != 0 {
		t.Fatalf("exit code %d\n%s", status, out)
	}
	r := parseShown(t, out).Resources[0]
	if !r.Known || r.Store != "redis" || len(r.Variants) != 1 || r.Variants[0].ETag != tag || strings.Join(r.Groups, " ") != "cars" {
		t.Errorf("got %+v", r)
	}
	server.Kill()
	if out, status := runCommand(t, "show", node.URL+"/cars/1", "--address", "unix/"+node.Socket()); status != 1 || !strings.Contains(out, "redis: the store is unavailable") {
		t.Errorf("exit code %d\n%s", status, out)
	}
}
