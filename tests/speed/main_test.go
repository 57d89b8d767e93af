// Package speed measures what the handler costs beside the same Caddy without it.
package speed

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
