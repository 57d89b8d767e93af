// Package atomicity tests that no update is lost: of several writes that are based
// on the same state, only one is performed. Whether a write was lost is decided by
// the backend's own record, not by what the clients were told.
package atomicity

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
