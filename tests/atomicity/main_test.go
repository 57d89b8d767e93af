// Package atomicity tests that no update is lost: of several writes that are based
// on the same state, only one is performed. The backend's own record decides whether
// a write was lost, not the responses to the clients.
package atomicity

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
