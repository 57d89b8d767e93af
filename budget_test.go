package preconditions_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// TestRoundTrips counts the calls to Redis that a client waits for.
func TestRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	redisClient := server.Client()
	url := site(t, "store redis redis://"+server.Addr+"\ngrace 1ms\nwrite_etag off", legacydocs.New(legacydocs.Options{})) + "/docs/plan"

	// Each script is sent in full once.
	send(t, "PUT", url, "0").expect(t, 201)
	send(t, "PUT", url, "1", "If-Match", send(t, "GET", url, "").tag(t)).expect(t, 204)

	tag := send(t, "GET", url, "").expect(t, 200).tag(t)
	cost := func(f func()) int {
		before := scriptCalls(t, redisClient)
		f()
		return scriptCalls(t, redisClient) - before
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s took %d round trips, want %d", what, got, want)
		}
	}
	check("a read of what is known", cost(func() { send(t, "GET", url, "").expect(t, 200) }), 1)
	check("a write that is refused", cost(func() { send(t, "PUT", url, "2", "If-Match", `"old"`).expect(t, 412) }), 1)
	check("a write that passes", cost(func() { send(t, "PUT", url, "2", "If-Match", tag).expect(t, 204) }), 2)
	check("a write of what isn't known", cost(func() { send(t, "PUT", url, "3", "If-Match", tag).expect(t, 412) }), 3)
	check("a write without a condition", cost(func() { send(t, "PUT", url, "4").expect(t, 204) }), 2)
}

var evalCalls = regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`)

// scriptCalls returns how many scripts the server has run.
func scriptCalls(t *testing.T, c *redis.Client) (calls int) {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range evalCalls.FindAllStringSubmatch(info, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(fmt.Errorf("reading %q: %w", match[0], err))
		}
		calls += n
	}
	return calls
}
