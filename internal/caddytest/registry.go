package caddytest

import (
	"os/exec"
	"testing"
)

// Registry is Debian's docker-registry, an OCI registry, and is empty at first.
func Registry() Backend {
	return Backend{
		Name:  "docker-registry",
		needs: []string{"docker-registry"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			return exec.Command("docker-registry", "serve", configFile(t, dir, "registry.yml", "{address}", address))
		},
	}
}
