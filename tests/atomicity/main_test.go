// Package atomicity tests that of several writes based on the same state one is performed, and
// that no update is lost.
package atomicity

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
