// Package reload tests what a config may say, and what becomes of state and requests when
// it is reloaded. Its tests replace the config of the process, so none is parallel.
package reload

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
