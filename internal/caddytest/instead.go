package caddytest

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Instead returns what people build in place of the handler, in front of an origin and with
// a Redis. Both check and write in two steps, so they lose updates. The environment variable
// PRECONDITIONS_PACKAGES names a directory into which Debian's packages were unpacked, if
// they aren't installed.
func Instead(origin, redis string) []Backend {
	packages := os.Getenv("PRECONDITIONS_PACKAGES")
	return []Backend{
		{
			Name: "nginx and Lua",
			needs: []string{
				"nginx", filepath.Join(cmp.Or(packages, "/"), "usr/lib/nginx/modules/ngx_http_lua_module.so"),
				filepath.Join(cmp.Or(packages, "/"), "usr/share/lua/5.1/nginx/redis.lua"),
			},
			Start: func(t testing.TB, address, dir string) *exec.Cmd {
				host, port, _ := net.SplitHostPort(redis)
				config := configFile(t, dir, "nginx-lua.conf", "{address}", address, "{origin}", origin,
					"{redis_host}", host, "{redis_port}", port, "{packages}", packages)
				return exec.Command(programPath("nginx"), "-e", "stderr", "-p", dir, "-c", config)
			},
		},
		{
			Name:  "Express",
			needs: []string{"node", ours("node_modules/express"), ours("node_modules/redis")},
			Start: func(_ testing.TB, address, _ string) *exec.Cmd {
				host, port, _ := strings.Cut(address, ":")
				return exec.Command("node", ours("express-redis.js"), host, port, origin, redis)
			},
		},
	}
}

// Missing returns what the backend needs and isn't there.
func (b *Backend) Missing() []string { return b.missing() }

// ExpressWithChecks is an Express that checks preconditions before it writes, with a middleware
// as they are usually written. Without the checks, it is the same application without that
// middleware, and gives no tags.
func ExpressWithChecks(checks bool) Backend {
	return Backend{
		Name:  "Express with checks",
		needs: []string{"node", ours("node_modules/express")},
		Start: func(_ testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			cmd := exec.Command("node", ours("express-checks.js"), port)
			if checks {
				cmd.Args = append(cmd.Args, "checks")
			}
			return cmd
		},
	}
}
