// Package relations tests writes that change resources other than the one in their
// URL, or whose conditions apply to such resources.
package relations

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
