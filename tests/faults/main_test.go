// Package faults tests that no update is lost while nodes, stores, backends and clients
// fail.
package faults

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
