// Package backends tests the handler in front of real programs, and in front of
// proxies with several upstreams.
package backends

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
