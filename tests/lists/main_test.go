// Package lists tests the option items, which adds the tags of items to lists.
package lists

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
