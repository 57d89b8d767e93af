// Package origin tests what the handler makes of an origin that doesn't show the
// present: read replicas that lag behind, caches in between, and answers that say
// nothing about the resource.
package origin

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
