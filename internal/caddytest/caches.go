package caddytest

import (
	"os/exec"
	"testing"
)

// NginxCache is nginx with proxy_cache in front of an origin. The directives say what
// it stores, and when it asks the origin all the same.
func NginxCache(origin, directives string) Backend {
	return Backend{
		Name:  "nginx as a cache",
		needs: []string{"nginx"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			config := configFile(t, dir, "nginx-cache.conf", "{address}", address, "{origin}", origin, "{directives}", directives)
			return exec.Command(programPath("nginx"), "-e", "stderr", "-p", dir, "-c", config)
		},
	}
}

// ApacheCache is Apache httpd with mod_cache in front of an origin. The directives are
// as in NginxCache.
func ApacheCache(origin, directives string) Backend {
	return Backend{
		Name:  "Apache httpd as a cache",
		needs: []string{"apache2", "/usr/lib/apache2/modules/mod_cache_disk.so"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			config := configFile(t, dir, "apache-cache.conf", "{address}", address, "{origin}", origin, "{directives}", directives)
			return apache(t, config, dir)
		},
	}
}

// Run starts one backend, and returns its address. It skips the test if something is
// missing that the backend needs.
func (b Backend) Run(t testing.TB) (address string) {
	t.Helper()
	b.OrSkip(t)
	return StartBackends(t, b)[b.Name]
}

// NginxCompressing is nginx with gzip in front of an origin. It weakens the tag of what it
// compresses.
func NginxCompressing(origin string) Backend {
	return Backend{
		Name:  "nginx that compresses",
		needs: []string{"nginx"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			config := configFile(t, dir, "nginx-gzip.conf", "{address}", address, "{origin}", origin)
			return exec.Command(programPath("nginx"), "-e", "stderr", "-p", dir, "-c", config)
		},
	}
}
