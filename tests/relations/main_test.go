// Package relations tests writes that change, or are about, other resources than the
// one in their URL.
package relations

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
