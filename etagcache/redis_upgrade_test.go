package etagcache_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/etagcache/storetest"
)

// Gateways of this version and of the last one without a format number can share a store,
// in any order: during an upgrade, both are in use. The directory testdata/unnumbered has
// the scripts of that version.
func TestRedisBesideTheVersionWithoutANumber(t *testing.T) {
	for name, unnumbered := range map[string][2]bool{"it and this": {true, false}, "this and it": {false, true}} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			storetest.Suite{
				Open: func(t *testing.T) (a, b etagcache.Store) {
					flush(t, s)
					return openUnnumbered(t, s, unnumbered[0]), openUnnumbered(t, s, unnumbered[1])
				},
				Lose:    func(t *testing.T) { flush(t, s) },
				Forgets: true,
			}.Run(t)
		})
	}
}

func openUnnumbered(t *testing.T, s *redistest.Server, unnumbered bool) etagcache.Store {
	c := plain(s)
	c.Timeout = 5 * time.Second
	client, err := c.Client()
	same(t, err, nil)
	if unnumbered {
		client.AddHook(olderScripts{})
	}
	return closed(t, etagcache.NewRedis(client, etagcache.RedisOptions{Timeout: c.Timeout}))
}

// olderScripts replaces each script that a client runs by the older one.
type olderScripts struct{}

func (olderScripts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (olderScripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		replaceScript(cmd)
		return next(ctx, cmd)
	}
}

func (olderScripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			replaceScript(cmd)
		}
		return next(ctx, cmds)
	}
}

func replaceScript(cmd redis.Cmder) {
	args := cmd.Args()
	if args[0] != "evalsha" {
		return
	}
	if name := etagcache.ScriptName(args[1].(string)); name != "peek" { // the older version doesn't peek
		args[0], args[1] = "eval", olderScript(name)
	}
}

// olderScript returns the older script with this name. It takes the arguments that
// the newer one takes, and returns what that returns.
func olderScript(name string) string {
	files := []string{"generation", "prelude", "spent", "entry", name}
	common, first := "a[1], a[3], a[2], a[7], string.match(a[8], '^%d+'), a[6]", 9
	switch name {
	case "begin", "invalidate_all":
		files = []string{"generation", name}
		common, first = "a[1], a[3], a[2], a[6]", 7
	case "claim", "pass", "renew":
		common, first = common+", a[9], a[5]", 10
	}
	text := "local max_variants, max_spent, reservation = 64, 256, 1000\n"
	for _, file := range files {
		lua, err := os.ReadFile("testdata/unnumbered/" + file + ".lua")
		if err != nil {
			panic(err)
		}
		text += string(lua) + "\n"
	}
	return strings.NewReplacer("{common}", common, "{first}", strconv.Itoa(first), "{text}", text).Replace(`
local a = ARGV
local function run(ARGV)
{text}
end
local ARGV = { {common} }
for i = {first}, #a do
  table.insert(ARGV, a[i])
end
local reply = run(ARGV)
if #reply > 6 then
  for _ = 1, 5 do
    table.insert(reply, 8, 0)
  end
end
return reply
`)
}
