// Package reload tests which configs are valid, and what happens to state and requests
// when the config is reloaded. Its tests replace the config of the process, so none is
// parallel.
package reload

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
