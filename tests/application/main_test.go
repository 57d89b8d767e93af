// Package application tests the handler in front of an application of which hardly
// anything is changed through its own URL only.
package application

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
