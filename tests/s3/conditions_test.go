package s3

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// op is shorter.
type op = caddytest.ObjectOperation

// onEverySDK runs a test with two nodes that share a Redis, in front of an object store that
// drops the conditions of writes.
func onEverySDK(t *testing.T, options string, test func(t *testing.T, nodes caddytest.Nodes, c *caddytest.ObjectClient)) {
	t.Helper()
	for _, sdk := range caddytest.ObjectSDKs {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			test(t, twoNodes(t, options, caddytest.ObjectStore(t)), caddytest.NewObjectClient(t, sdk))
		})
	}
}

// twoNodes are two nodes with the profile s3 that share a Redis.
func twoNodes(t *testing.T, options, store string) (nodes caddytest.Nodes) {
	t.Helper()
	redis := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\n", caddytest.UsedRedis(t).Addr)
	for _, m := range caddytest.StartNodes(t, 2, caddytest.Guarded(redis+"profile s3\n"+options, store)) {
		nodes = append(nodes, m.URL)
	}
	return nodes
}

const writers = 16

// contest lets clients do the same at the same moment, through all nodes, and returns how
// many succeeded. All others must get one of the codes.
func contest(t *testing.T, nodes caddytest.Nodes, c *caddytest.ObjectClient, o op, losers ...string) caddytest.ObjectResult {
	t.Helper()
	var all []<-chan caddytest.ObjectResult
	for i := range writers {
		o.Endpoint, o.Body = nodes[i%len(nodes)], fmt.Sprint(i, " after ", o.IfMatch, o.IfNoneMatch)
		all = append(all, c.Go(o))
	}
	winner, winners := outcomes(t, all, losers...)
	if winners != 1 {
		t.Errorf("%+v: %d winners", o, winners)
	}
	return winner
}

// outcomes waits for clients, and returns how many succeeded, and what the last of them got.
func outcomes(t *testing.T, all []<-chan caddytest.ObjectResult, losers ...string) (winner caddytest.ObjectResult, winners int) {
	t.Helper()
	for _, done := range all {
		r := <-done
		switch {
		case r.Status == 200:
			winners++
			winner = r
		case !strings.Contains(strings.Join(losers, " "), r.Code) || r.Code == "":
			t.Errorf("a loser got %d %s: %s", r.Status, r.Code, r.Text)
		}
	}
	return winner, winners
}

// Of sixteen concurrent writes of one object with the same condition, signed by an SDK and sent
// through two nodes, one wins.
func TestOneWinner(t *testing.T) {
	t.Parallel()
	onEverySDK(t, "", func(t *testing.T, nodes caddytest.Nodes, c *caddytest.ObjectClient) {
		won := contest(t, nodes, c, op{Op: "put", Bucket: "b", Key: "dir/new", IfNoneMatch: "*"}, "PreconditionFailed")
		got := c.Do(op{Op: "get", Endpoint: nodes.First(), Bucket: "b", Key: "dir/new"}).Expect(t, 200, "")
		if got.ETag != won.ETag {
			t.Errorf("the winner got %s, and a read %s", won.ETag, got.ETag)
		}
		for range 3 {
			won = contest(t, nodes, c, op{Op: "put", Bucket: "b", Key: "dir/new", IfMatch: won.ETag}, "PreconditionFailed")
		}
		contest(t, nodes, c, op{Op: "multipart", Bucket: "b", Key: "large", IfNoneMatch: "*"}, "PreconditionFailed")
		contest(t, nodes, c, op{Op: "copy", Bucket: "b", Key: "copy", Source: "b/large", IfNoneMatch: "*"}, "PreconditionFailed")
	})
}

// The same goes for a store of somebody else that drops conditions.
func TestOtherStore(t *testing.T) {
	t.Parallel()
	for _, sdk := range caddytest.ObjectSDKs {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			nodes, c := twoNodes(t, "", caddytest.OtherObjectStore(t)), caddytest.NewObjectClient(t, sdk)
			won := contest(t, nodes, c, op{Op: "put", Bucket: "b", Key: "dir/new", IfNoneMatch: "*"}, "PreconditionFailed")
			contest(t, nodes, c, op{Op: "put", Bucket: "b", Key: "dir/new", IfMatch: won.ETag}, "PreconditionFailed")
			contest(t, nodes, c, op{Op: "multipart", Bucket: "b", Key: "large", IfNoneMatch: "*"}, "PreconditionFailed")
			contest(t, nodes, c, op{Op: "copy", Bucket: "b", Key: "copy", Source: "b/large", IfNoneMatch: "*"}, "PreconditionFailed")
		})
	}
}
